"""The labs are judged in a work folder of their own, away from a learner's."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.ahead import AHEAD
from tests.course.judged import judge_ahead


@pytest.fixture(scope="session", autouse=True)
def own_work(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Point COURSE_WORK at an empty folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COURSE_WORK", str(tmp_path_factory.mktemp("work")))
        yield


@pytest.fixture(scope="session")
def starters_ahead(request: pytest.FixtureRequest, own_work: None) -> Iterator[None]:
    """Have the starters judged, several at once, in the tests' order."""
    yield from judging("starters_ahead", request)


@pytest.fixture(scope="session")
def variants_ahead(request: pytest.FixtureRequest, own_work: None) -> Iterator[None]:
    """Have the wrong answers and spared designs of all selected tests judged, several at once, in the tests' order."""
    yield from judging("variants_ahead", request)


def judging(fixture: str, request: pytest.FixtureRequest) -> Iterator[None]:
    """Judge what the tests with this fixture are about, with nothing else beside it."""
    AHEAD.wait()
    asked = [item.callspec.params for item in request.session.items if fixture in getattr(item, "fixturenames", ())]
    pool = judge_ahead((each["lab"], each.get("wrong") or each.get("spared")) for each in asked)
    yield
    pool.shutdown(cancel_futures=True)
