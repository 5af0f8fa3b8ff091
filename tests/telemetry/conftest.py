"""One trace store for all tests of this folder; each test has traces of its own."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import httpx
import pytest

from tests.bikeshare.town import in_this_process

_TRACES = itertools.count(1)


@pytest.fixture(scope="session")
def web(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """A client of the finished trace store, which runs in a thread of this process."""
    with pytest.MonkeyPatch.context() as settings:
        settings.setenv("DATA_DIR", str(tmp_path_factory.mktemp("traces")))
        from lab_services.bikeshare.traces import app

        with in_this_process(app) as web:
            yield web


@pytest.fixture
def url(web: httpx.Client) -> str:
    """The address of the store."""
    return str(web.base_url)


@pytest.fixture
def trace() -> int:
    """The id of a trace that no other test has."""
    return next(_TRACES)
