"""Figures, not tests: measured only when this folder is asked for by name, as `course bench` does."""

from __future__ import annotations

from pathlib import Path

import pytest

HERE = Path(__file__).parent


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave this folder out of a run over all tests: a figure means nothing on a machine that is busy with them."""
    named = [Path(config.invocation_params.dir, argument.split("::")[0]).resolve() for argument in config.args]
    asked_for = any(path == HERE or HERE in path.parents for path in named)
    return True if HERE in collection_path.parents and not asked_for else None
