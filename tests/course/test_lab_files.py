"""What a lab folder holds: zones, hints and checks of a size that a learner can take in, and nothing else."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from lab_services.runtime.zones import differs_outside_zones, zones
from tests.course.judged import LABS, ROOT, SPARED, WRONG, spec_of

ZONE_LINES = 25
CHECK_LINES = 15  # of body; a call of `expect` counts as one
HINT_WORDS = 100
RUNGS = 3
LEAST_WRONG, LEAST_DAGGERED, LEAST_SPARED = 8, 4, 2  # of every lab from chapter 01 on
GENERATED = {"__pycache__"}

each_lab = pytest.mark.parametrize("lab", LABS)
chapter_labs = pytest.mark.parametrize("lab", [lab for lab in LABS if not lab.startswith("00")])


def files_of(folder: Path) -> list[str]:
    """Return the names of what lies in a folder, without what Python writes there."""
    return sorted(path.name for path in folder.iterdir() if path.name not in GENERATED)


def with_zones(folder: Path) -> list[Path]:
    """Return the files of a folder that may have zones."""
    return sorted(path for path in folder.glob("*.*") if path.suffix in (".py", ".ts", ".proto", ".conf", ".yml"))


def check_functions(lab: str) -> list[ast.FunctionDef]:
    """Return the check functions of a lab."""
    trees = [ast.parse(path.read_text(encoding="utf-8")) for path in sorted(spec_of(lab).folder.glob("test_*.py"))]
    found = [node for tree in trees for node in tree.body if isinstance(node, ast.FunctionDef)]
    return [function for function in found if function.name.startswith("test_")]


def body_lines(function: ast.FunctionDef) -> int:
    """Count the lines of a body without its docstring; a statement that calls `expect` is one line."""
    first = function.body[1].lineno
    lines = set(range(first, (function.end_lineno or first) + 1))
    for node in ast.walk(function):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call) and _is_expect(node.value.func):
            lines -= set(range(node.lineno + 1, (node.end_lineno or node.lineno) + 1))
    return len(lines)


def _is_expect(function: ast.expr) -> bool:
    return isinstance(function, ast.Name) and function.id == "expect"


def test_there_is_a_lab_for_each_of_the_first_two_chapters() -> None:
    """Labs 00 and 01 are there, so that everything below holds something."""
    assert [lab[:2] for lab in LABS][:2] == ["00", "01"]


@each_lab
def test_every_task_has_a_zone_in_each_of_its_files(lab: str) -> None:
    """The files of a task have a zone of that task, and no zone belongs to no task."""
    spec = spec_of(lab)
    marked = {(zone.task, path.name) for path in with_zones(spec.folder) for zone in zones(path.read_text())}
    assert marked == {(task.id, file) for task in spec.tasks.values() for file in task.files}


@each_lab
def test_a_zone_is_small(lab: str) -> None:
    """No zone has more than 25 lines, neither in the starter nor in the solution."""
    folders = [spec_of(lab).folder, ROOT / "solutions" / lab]
    found = [(path, zone) for folder in folders for path in with_zones(folder) for zone in zones(path.read_text())]
    long = {f"{path.parent}/{path.name} {zone.task}": len(zone.lines) for path, zone in found}
    assert not {name: lines for name, lines in long.items() if lines > ZONE_LINES}


@each_lab
def test_the_solution_differs_only_inside_the_zones(lab: str) -> None:
    """A solution changes what its task asks for, and nothing else."""
    folder = spec_of(lab).folder
    for path in sorted((ROOT / "solutions" / lab).glob("*.*")):
        starter, solution = (folder / path.name).read_text(), path.read_text()
        assert differs_outside_zones(starter, solution) == [], path.name
        assert starter != solution, f"{path.name} is no different from the starter"


@each_lab
def test_the_solution_says_why(lab: str) -> None:
    """Every zone of a solution carries a comment with the reason."""
    for path in with_zones(ROOT / "solutions" / lab):
        for zone in zones(path.read_text()):
            sign = "# " if path.suffix in (".py", ".yml") else "// "
            assert any(sign in line for line in zone.lines), f"{path.name}, zone {zone.task}"


@each_lab
def test_the_solution_folder_holds_the_files_of_the_tasks(lab: str) -> None:
    """solutions/ has exactly the files that tasks change."""
    wanted = {file for task in spec_of(lab).tasks.values() for file in task.files}
    assert set(files_of(ROOT / "solutions" / lab)) == wanted


@each_lab
def test_no_stray_file_lies_in_a_lab(lab: str) -> None:
    """A lab folder holds lab.toml, its checks, and programs that lab.toml, a task or another program uses."""
    folder = spec_of(lab).folder
    texts = {path.name: path.read_text() for path in folder.glob("*.*")}
    programs = [name for name in texts if name != "lab.toml" and not name.startswith("test_")]
    users = {name: "\n".join(text for other, text in texts.items() if other != name) for name in programs}
    stray = [name for name in programs if not re.search(rf"\b{re.escape(Path(name).stem)}\b", users[name])]
    assert stray == [] and files_of(folder) == sorted(texts)


@each_lab
def test_every_check_belongs_to_a_task(lab: str) -> None:
    """No check of a lab is written and then never judged."""
    listed = {check for task in spec_of(lab).tasks.values() for check in task.checks}
    assert {function.name for function in check_functions(lab)} == listed


@each_lab
def test_every_task_has_something_red_and_three_rungs_of_hints(lab: str) -> None:
    """Each task has a check that fails on the starter, and a ladder of three hints; ladders for a check too."""
    for task in spec_of(lab).tasks.values():
        assert task.red, task.id
        ladders = {"": task.hints, **task.hints_for}
        assert {name: len(ladder) for name, ladder in ladders.items()} == dict.fromkeys(ladders, RUNGS), task.id


@each_lab
def test_a_hint_is_short(lab: str) -> None:
    """No hint has more than 100 words."""
    for task in spec_of(lab).tasks.values():
        for hint in [*task.hints, *(hint for ladder in task.hints_for.values() for hint in ladder)]:
            assert len(hint.split()) <= HINT_WORDS, f"{task.id}: {hint[:60]}"


@each_lab
def test_a_check_is_short(lab: str) -> None:
    """A check has at most 15 lines, a call of `expect` with its six parts counted as one."""
    assert not {f.name: n for f in check_functions(lab) if (n := body_lines(f)) > CHECK_LINES}


@each_lab
def test_a_check_can_fail(lab: str) -> None:
    """Every check calls `expect`, which says in six parts what is wrong."""
    silent = [f.name for f in check_functions(lab) if not any(_expects(node) for node in ast.walk(f))]
    assert silent == []


def _expects(node: ast.AST) -> bool:
    return isinstance(node, ast.Call) and _is_expect(node.func)


@each_lab
def test_the_checks_do_not_sleep(lab: str) -> None:
    """No check waits for a time; it polls with a limit."""
    assert not [path.name for path in spec_of(lab).folder.glob("test_*.py") if "sleep(" in path.read_text()]


@chapter_labs
def test_a_chapter_has_enough_wrong_answers(lab: str) -> None:
    """Each lab from chapter 01 on has 8 wrong answers at least, 4 of them with a dagger, and 2 spared designs."""
    wrong = [each for name, each in WRONG if name == lab]
    spared = [each for name, each in SPARED if name == lab]
    assert len(wrong) >= LEAST_WRONG and len(spared) >= LEAST_SPARED
    assert sum(each.dagger for each in wrong) >= LEAST_DAGGERED


@chapter_labs
def test_every_task_has_wrong_answers_and_a_spared_design(lab: str) -> None:
    """No task is without a wrong answer that its own checks must kill, nor without a design that they must spare."""
    for task in spec_of(lab).tasks.values():
        assert [each.id for name, each in WRONG if name == lab and each.killed_by in task.checks], task.id
        changed = [{edit.file for edit in each.edits} for name, each in SPARED if name == lab]
        assert any(files & set(task.files) for files in changed), task.id
