"""The tree looks as the design says, and the names that notebooks use stay as they are."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import lab_services

ROOT = Path(__file__).parents[2]
TOP_LEVEL = {
    *("chapters", "labs", "lab_services", "solutions", "tests", ".ci", ".github", ".gitignore"),
    *("environment.yml", "pyproject.toml", "requirements.txt"),
    *("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "LICENSE"),
}
LAB_METHODS = {
    *("start", "stop", "restart", "kill", "pause", "resume", "scale"),
    *("status", "logs", "topology", "trace", "laws"),
    *("check", "hint", "solution", "reset", "review"),
}
INSIDE = {"close", "launch", "reload", "edge", "states", "take_shape"}  # for checks and the course, not for notebooks
IMPORT_SECONDS = 0.15
TRIES = 5


def tracked() -> list[str]:
    """Return the paths that git knows, or every path of a tree that came without git."""
    if (ROOT / ".git").exists():
        listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True)
        return [path for path in listed.stdout.split("\0") if path]
    return [path.name for path in ROOT.iterdir() if path.name not in {".venv", "work"}]


def test_the_top_level_holds_what_the_design_names_and_nothing_else() -> None:
    """Every committed file stands below one of the fifteen names of the design."""
    found = {path.split("/")[0] for path in tracked()}
    assert found - TOP_LEVEL == set(), "stray names at the top level"
    assert TOP_LEVEL - found == set(), "missing names at the top level"


def test_the_package_exports_three_names() -> None:
    """A notebook imports open_lab, Lab and LabError from lab_services, and nothing else."""
    assert sorted(lab_services.__all__) == ["Lab", "LabError", "open_lab"] == dir(lab_services)
    for name in lab_services.__all__:
        assert getattr(lab_services, name).__module__.startswith("lab_services.")
    with pytest.raises(AttributeError, match="helpers"):
        _ = lab_services.helpers


def test_a_lab_has_the_methods_of_the_design() -> None:
    """The public methods of Lab are those that the design lists for notebooks, plus the few that checks use."""
    public = {name for name in dir(lab_services.Lab) if not name.startswith("_")}
    assert public == LAB_METHODS | INSIDE
    assert hasattr(lab_services.Lab, "__getitem__")


def test_importing_open_lab_is_quick() -> None:
    """`from lab_services import open_lab` takes a fresh interpreter at most 0.15 s of CPU time, in the best of five."""
    code = (
        "import time; begin = time.process_time(); from lab_services import open_lab; "
        "print(time.process_time() - begin)"
    )
    seconds = [
        float(subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True).stdout)
        for _ in range(TRIES)
    ]
    assert min(seconds) <= IMPORT_SECONDS, seconds


def test_importing_the_package_needs_only_the_standard_library() -> None:
    """The set-up can import lab_services where no package is installed (-S leaves site-packages out)."""
    code = "import lab_services, lab_services.bootstrap, lab_services.errors, lab_services.bootstrap_trouble"
    done = subprocess.run([sys.executable, "-S", "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_arrows_between_the_modules_only_run_down() -> None:
    """The runtime knows no bikes and no views; the services of the city know nothing of the runtime."""
    rooms = ("bikeshare", "runtime", "servers", "views", "broker", "mesh", "telemetry", "checks", "lab", "cli")
    forbidden = {
        "measuring": rooms,
        "runtime": ("bikeshare", "views", "broker", "checks", "lab", "cli"),
        "servers": ("bikeshare", "views", "broker", "checks", "lab", "cli"),
        "bikeshare": ("runtime", "servers", "broker", "checks", "lab", "cli"),
        "views": ("broker", "checks", "cli", "lab"),
        "broker": ("cli",),
        "mesh": ("bikeshare", "runtime", "views", "broker", "checks", "lab", "cli"),
        "telemetry": ("bikeshare", "runtime", "servers", "views", "broker", "mesh", "checks", "lab", "cli"),
    }
    broken = [
        f"{file.relative_to(ROOT)} imports {name}"
        for part, others in forbidden.items()
        for file in sorted((ROOT / "lab_services" / part).rglob("*.py"))
        for name in imported(file)
        if name.startswith("lab_services.") and name.split(".")[1] in others
    ]
    assert not broken, broken


def imported(file: Path) -> set[str]:
    """Return the full names of the modules that a file imports, relative imports resolved."""
    package = file.relative_to(ROOT).with_suffix("").parts
    names: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = [*package[: -node.level], node.module] if node.level else [node.module]
            stem = ".".join(part for part in base if part)
            names |= {stem, *(f"{stem}.{alias.name}" for alias in node.names)}
    return names
