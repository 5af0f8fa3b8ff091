"""A clone as somebody has it who has just downloaded it, on a machine that has Python."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[2]
SETUP_SECONDS = 280


def bare_copy(target: Path) -> Path:
    """Copy what git would hand out, and nothing that a run has left."""
    left_by_runs = shutil.ignore_patterns("__pycache__", ".venv", "work", ".git", "*_cache", "artefacts", ".ipynb_*")
    return Path(shutil.copytree(ROOT, target / "clone", ignore=left_by_runs, symlinks=True))


def outside() -> str:
    """Return a Python that has none of the course's packages: the one below this environment."""
    return str(Path(getattr(sys, "_base_executable", sys.executable)))


def clean_environment(with_uv: bool) -> dict[str, str]:
    """Return the environment of a fresh terminal; uv from this environment is on PATH only when asked for."""
    dropped = {"VIRTUAL_ENV", "PYTHONPATH", "PYTHONHOME", "CONDA_PREFIX", "COURSE_WORK", "COURSE_ROOT"}
    kept = {name: value for name, value in os.environ.items() if name not in dropped}
    own = str(Path(sys.executable).parent)
    path = [part for part in kept.get("PATH", "").split(os.pathsep) if part != own]
    return {**kept, "PATH": os.pathsep.join([own, *path] if with_uv else path)}


def make_bare_clone() -> Path:
    """Make a bare copy, in a new folder of its own, and have the second command set it up and collect some tests."""
    folder = Path(tempfile.mkdtemp(prefix="bare-"))
    try:
        root = bare_copy(folder)
        arguments = [outside(), "-m", "lab_services", "test", "--collect-only", "-q", "tests/project"]
        done = subprocess.run(
            arguments, cwd=root, env=clean_environment(True), capture_output=True, text=True, timeout=SETUP_SECONDS
        )
        assert done.returncode == 0, done.stdout + done.stderr
        assert "tests collected" in done.stdout and "Setting up: done" in done.stdout
    except BaseException:
        shutil.rmtree(folder)
        raise
    return root
