"""The labs are judged in a work folder of their own, away from a learner's."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.ahead import AHEAD
from tests.course.judged import judge_ahead, judge_early


@pytest.fixture(scope="session", autouse=True)
def own_work(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Point COURSE_WORK at an empty folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COURSE_WORK", str(tmp_path_factory.mktemp("work")))
        yield


@pytest.fixture(scope="session")
def judged_ahead(request: pytest.FixtureRequest, own_work: None) -> Iterator[None]:
    """Have all that the selected tests ask about judged in their order, several at once, with nothing else beside."""
    AHEAD.take_back(judge_early)
    AHEAD.wait()
    asked = [
        item.callspec.params
        for item in request.session.items
        if "judged_ahead" in getattr(item, "fixturenames", ()) and hasattr(item, "callspec")
    ]
    pool = judge_ahead((each["lab"], each["variant"]) for each in asked)
    yield
    pool.shutdown(cancel_futures=True)
