"""The folder of a run: empty at its start, and what the run before has left stays beside it, once."""

from __future__ import annotations

import os
import shutil
from pathlib import Path


def fresh_folder(path: Path) -> Path:
    """Return an empty folder at `path`; what was there is kept once, beside it, as <name>.before."""
    before = path.with_name(path.name + ".before")
    if path.exists():
        shutil.rmtree(before, ignore_errors=True)
        os.replace(path, before)
    path.mkdir(parents=True)
    return path
