"""The tools that read code find nothing to say about it."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from lab_services import extras

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
    """mypy in its strict mode finds nothing in lab_services; what needs an extra that is missing is left out."""
    assert run("mypy", *(f"--exclude=^{path.relative_to(ROOT).as_posix()}$" for path in of_missing_extras())) == ""


def of_missing_extras() -> list[Path]:
    """Return the modules that import a package of an extra which is not installed: nobody can say what types it has."""
    missing = {pin.split("==")[0] for name in extras.names() for pin in extras.missing(name)}
    imports = tuple(f"from {package}" for package in missing)
    modules = (ROOT / "lab_services").rglob("*.py")
    return [path for path in modules if any(line.startswith(imports) for line in path.read_text().splitlines())]


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
