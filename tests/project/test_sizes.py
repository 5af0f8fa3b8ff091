"""Code that learners read stays short enough to be read in one sitting."""

from __future__ import annotations

import ast
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SERVICE_LINES = 120
MODULE_LINES = 250  # the design says about 200
FUNCTION_LINES = 40  # the design says about 10: this is where a function is surely two
SERVICE_FUNCTION_LINES = 25
CELL_LINES = 12
CHECK_LINES = 25  # the design says 15 of body; with the arguments of `expect` on lines of their own
NOT_SERVICES = {"__init__.py", "problems.py", "laws.py"}
WORDS_TO_AVOID = ("utils", "helpers", "helper", "manager", "common", "data")


def modules() -> list[Path]:
    """Return every module of the package."""
    return sorted((ROOT / "lab_services").rglob("*.py"))


def services() -> list[Path]:
    """Return the services that learners read: the finished ones, the starters and the solutions."""
    finished = [p for p in (ROOT / "lab_services" / "bikeshare").glob("*.py") if _serves(p)]
    return sorted([*finished, *(p for p in _lab_files() if _serves(p))])


def _serves(path: Path) -> bool:
    return path.name not in NOT_SERVICES and "FastAPI(" in path.read_text()


def _lab_files() -> Iterator[Path]:
    for folder in ("labs", "solutions"):
        yield from (p for p in (ROOT / folder).glob("*/*.py") if not p.name.startswith("test_"))


def functions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    """Yield every function of a module, nested ones too."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def body_lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Count the lines of a function's body without its docstring."""
    first = function.body[1] if ast.get_docstring(function) and len(function.body) > 1 else function.body[0]
    return (function.end_lineno or 0) - first.lineno + 1


def too_long(paths: list[Path], limit: int, *, tests_only: bool = False) -> list[str]:
    """Name the functions whose bodies are longer than the limit."""
    return [
        f"{path.relative_to(ROOT)}:{f.lineno} {f.name}: {body_lines(f)} lines, {limit} at most"
        for path in paths
        for f in functions(path)
        if body_lines(f) > limit and (not tests_only or f.name.startswith("test_"))
    ]


def test_a_service_has_at_most_120_lines() -> None:
    """Every service that a learner reads, starter, solution or finished, has 120 lines at most."""
    long = {str(p.relative_to(ROOT)): n for p in services() if (n := len(p.read_text().splitlines())) > SERVICE_LINES}
    assert services() and not long, long


def test_a_function_of_a_service_is_short() -> None:
    """No function that a learner reads has a body of more than 25 lines."""
    assert not too_long(services(), SERVICE_FUNCTION_LINES)


def test_a_module_of_the_package_is_readable() -> None:
    """Every module has 250 lines at most; the two that only list what can be done (cli.py, lab.py) are spared."""
    lists = {ROOT / "lab_services" / "cli.py", ROOT / "lab_services" / "lab.py"}
    sizes = {p: len(p.read_text().splitlines()) for p in modules() if p not in lists}
    assert not {str(p.relative_to(ROOT)): n for p, n in sizes.items() if n > MODULE_LINES}


def test_a_function_of_the_package_does_one_thing() -> None:
    """No function of the package has a body of more than 40 lines."""
    assert not too_long(modules(), FUNCTION_LINES)


def test_a_check_is_short() -> None:
    """A check that judges learners has a body of 25 lines at most."""
    assert not too_long(sorted((ROOT / "labs").glob("*/test_*.py")), CHECK_LINES, tests_only=True)


def test_a_cell_has_at_most_12_lines() -> None:
    """A code cell of a chapter has 12 lines at most."""
    long = []
    for path in sorted((ROOT / "chapters").glob("*.ipynb")):
        for cell in json.loads(path.read_text())["cells"]:
            lines = "".join(cell["source"]).strip().splitlines()
            if cell["cell_type"] == "code" and len(lines) > CELL_LINES:
                long.append(f"{path.name} {cell.get('id')}: {len(lines)} lines")
    assert not long, long


def test_names_are_words_of_the_field() -> None:
    """No module is called utils, helpers, manager, common or data."""
    assert not [str(p) for p in modules() if p.stem in WORDS_TO_AVOID or p.parent.name in WORDS_TO_AVOID]


@pytest.mark.parametrize("folder", ["tests", "labs"])
def test_every_test_says_what_it_states(folder: str) -> None:
    """Every test and every check has a docstring: the fact it states, in one sentence."""
    silent = [
        f"{path.relative_to(ROOT)}:{f.lineno} {f.name}"
        for path in sorted((ROOT / folder).rglob("test_*.py"))
        for f in functions(path)
        if f.name.startswith("test_") and f.col_offset in (0, 4) and not ast.get_docstring(f)
    ]
    assert not silent, silent
