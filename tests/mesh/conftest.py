"""Towns of real Envoys; each is ended with its test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.mesh.envoys import Town


@pytest.fixture
def make_town() -> Iterator[Callable[..., Town]]:
    """Make towns; every one is closed at the end."""
    made: list[Town] = []

    def make(**fields: Any) -> Town:
        made.append(Town(**fields))
        return made[-1]

    yield make
    for town in made:
        town.close()


@pytest.fixture
def town(make_town: Callable[..., Town]) -> Town:
    """A town with the plainest mesh: rides calls pricing, of which there are two replicas. All are ready."""
    town = make_town()
    town.add("rides", calls=("pricing",))
    town.add("pricing", 1)
    town.add("pricing", 2)
    town.ready()
    return town
