"""The tools that read code find nothing to say about it."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
RUN_SECONDS = 280


def run(*arguments: str) -> str:
    """Run a Python tool on the tree; return what it says when it is not content."""
    done = subprocess.run(
        [sys.executable, "-m", *arguments], cwd=ROOT, capture_output=True, text=True, timeout=RUN_SECONDS
    )
    return "" if done.returncode == 0 else done.stdout + done.stderr


def test_ruff_is_content_with_every_file() -> None:
    """ruff finds nothing in the package, the labs, the solutions, the tests and the chapters."""
    assert run("ruff", "check", "--no-cache", "--output-format=concise", ".") == ""


def test_mypy_is_content_with_the_package() -> None:
    """mypy in its strict mode finds nothing in lab_services."""
    assert run("mypy") == ""


def test_every_ignored_rule_carries_its_reason() -> None:
    """Each rule that pyproject.toml tells ruff to ignore has a comment on its line."""
    text = (ROOT / "pyproject.toml").read_text()
    lint = tomllib.loads(text)["tool"]["ruff"]["lint"]
    rules = [*lint["ignore"], *(rule for found in lint["per-file-ignores"].values() for rule in found)]
    silent = [rule for rule in rules for line in text.splitlines() if f'"{rule}"' in line and "#" not in line]
    assert rules and not silent, silent


@pytest.mark.parametrize("tool", ["ruff", "mypy", "pytest", "codespell"])
def test_the_settings_of_a_tool_stand_in_one_place(tool: str) -> None:
    """pyproject.toml holds the settings of every tool; no second file contradicts it."""
    strays = {
        "ruff": ["ruff.toml", ".ruff.toml"],
        "mypy": ["mypy.ini", ".mypy.ini", "setup.cfg"],
        "pytest": ["pytest.ini", "tox.ini"],
        "codespell": [".codespellrc"],
    }
    assert tool in tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]
    assert [name for name in strays[tool] if (ROOT / name).exists()] == []
