"""Which tests run in which order: what is quick and tells most comes first, what needs the whole machine last."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

# A folder of tests/ that is named in neither runs between them.
FIRST = ("project", "doctor", "cli", "runtime", "servers", "bikeshare", "checks", "views")
LAST = ("chapters", "browser", "bootstrap", "course")
NEVER = ("benchmarks",)  # timings: `course bench` runs them


def folders(root: Path) -> list[str]:
    """Return the folders of tests/ that hold tests, relative to the root, in the order in which they run."""
    present = {path.relative_to(root / "tests").parts[0] for path in (root / "tests").rglob("test_*.py")}
    middle = sorted(present - {*FIRST, *LAST, *NEVER})
    return [f"tests/{name}" for name in (*FIRST, *middle, *LAST) if name in present]


def pytest_arguments(root: Path, given: Sequence[str]) -> list[str]:
    """Return pytest's arguments: what was given, and every folder unless a path was among it."""
    named = any((root / argument.split("::")[0]).exists() for argument in given if not argument.startswith("-"))
    return [*given] if named else [*given, *folders(root)]
