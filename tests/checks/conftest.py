"""The toy course as a fixture."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.checks.toy_course import Course


@pytest.fixture
def course(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Course]:
    """The toy course; it is the course of every function that asks for one."""
    monkeypatch.setenv("COURSE_ROOT", str(tmp_path))
    monkeypatch.setenv("COURSE_WORK", str(tmp_path / "work"))
    made = Course(tmp_path)
    yield made
    assert made.left_over() == [], "a check run left its folder behind"
