"""Every finished service takes a trace context as W3C says, and nobody is refused for what is in these headers."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.telemetry.every_service import services
from tests.telemetry.trace_contexts import CASES, SPAN, TRACE, Case

ROOT = Path(__file__).parents[2]
SECONDS = 60.0


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, list[Any]]]:
    """Ask every service in a process of its own: what traces cannot be taken out of a process again."""
    command = [sys.executable, "-m", "tests.telemetry.every_service"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=SECONDS)
    assert done.returncode == 0, done.stderr[-2000:]
    return dict(json.loads(done.stderr))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_trace_context_is_continued_or_begun(answers: dict[str, dict[str, list[Any]]], case: Case) -> None:
    """A valid one goes on with the caller's span as the parent, another one begins anew; each request has one span."""
    assert set(answers) == set(services()) and len(answers) > 15
    begun = set()
    for service, found in answers.items():
        status, trace, parent, state = found[case.name]
        assert status == found["no header"][0], (service, status)  # the cache says 502 here: it has no origin
        assert (trace == TRACE, parent) == ((True, SPAN) if case.goes_on else (False, "")), service
        assert state == case.state, service
        begun.add(trace)
    assert case.goes_on or len(begun) == len(answers), "each request has begun a trace of its own"
