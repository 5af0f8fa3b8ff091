"""The labs are judged in a work folder of their own, away from a learner's."""

from __future__ import annotations

from collections.abc import Iterator

import pytest


@pytest.fixture(scope="session", autouse=True)
def own_work(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Point COURSE_WORK at an empty folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COURSE_WORK", str(tmp_path_factory.mktemp("work")))
        yield
