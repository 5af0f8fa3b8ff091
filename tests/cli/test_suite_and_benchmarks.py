"""In which order the tests run, and how figures are kept."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from lab_services import notebook_server, suite

ROOT = Path(__file__).parents[2]
RUN_SECONDS = 60


def test_no_folder_with_tests_is_left_out() -> None:
    """`course test` names every folder of tests/ that holds a test, each once; timings are for `course bench`."""
    holding = {path.relative_to(ROOT / "tests").parts[0] for path in (ROOT / "tests").rglob("test_*.py")}
    holding -= {"benchmarks"}
    named = suite.folders(ROOT)
    assert {f"tests/{name}" for name in holding} == set(named) and len(named) == len(holding)


def test_a_folder_that_nobody_ordered_runs_before_the_slow_ones(tmp_path: Path) -> None:
    """A new folder of tests is found by itself, between the quick ones and those that need the whole machine."""
    for name in ("benchmarks", "browser", "new", "project"):
        (tmp_path / "tests" / name).mkdir(parents=True)
        (tmp_path / "tests" / name / "test_x.py").touch()
    (tmp_path / "tests" / "empty").mkdir()
    assert suite.folders(tmp_path) == ["tests/project", "tests/new", "tests/browser"]


@pytest.mark.parametrize(
    ("given", "everything"),
    [([], True), (["-x", "-k", "wallet"], True), (["tests/cli"], False), (["tests/cli::y"], False)],
)
def test_a_path_replaces_the_whole_suite(given: list[str], everything: bool) -> None:
    """Options are added to the whole suite; a path that exists stands in its place."""
    arguments = suite.pytest_arguments(ROOT, given)
    assert arguments[: len(given)] == given
    assert (len(arguments) > len(given)) is everything


BENCHMARK = """
def test_fast(record_property):
    record_property("figure", "six services, warm"); record_property("value", 0.08); record_property("limit", 0.1)
    record_property("seconds", [1.0, 0.08])

def test_slow(record_property):
    record_property("value", 0.9); record_property("limit", 0.1)
    assert 0.9 <= 0.1

def test_without_a_figure():
    pass
"""


def run_bench(root: Path) -> subprocess.CompletedProcess[str]:
    """Run the benchmarks of a folder in a process of their own."""
    code = (
        "import sys; from pathlib import Path; from lab_services.benchmark_report import run_benchmarks; "
        "report = run_benchmarks(Path(sys.argv[1]), Path(sys.argv[1]) / 'bench', ['-p', 'no:cacheprovider']); "
        "print(report); sys.exit(0 if report.passed else 3)"
    )
    command = [sys.executable, "-c", code, str(root)]
    env = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}  # the plugins of this environment have no part in this
    return subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=RUN_SECONDS)


def test_figures_are_shown_and_kept_also_when_one_is_missed(tmp_path: Path) -> None:
    """Each figure is a row with its limit; a missed one is named, fails the run and is kept as well."""
    (tmp_path / "tests" / "benchmarks").mkdir(parents=True)
    (tmp_path / "tests" / "benchmarks" / "test_x.py").write_text(BENCHMARK)
    done = run_bench(tmp_path)
    assert done.returncode == 3, done.stdout + done.stderr
    assert "six services, warm" in done.stdout and "MISSED" in done.stdout
    (kept,) = [json.loads(path.read_text()) for path in (tmp_path / "bench").glob("*.json")]
    assert [(figure["value"], figure["limit"], figure["passed"]) for figure in kept["figures"]] == [
        (0.08, 0.1, True),
        (0.9, 0.1, False),
    ]
    assert kept["figures"][0]["more"] == {"seconds": [1.0, 0.08]}


def test_benchmarks_that_measure_nothing_are_an_error(tmp_path: Path) -> None:
    """A run without a single figure is never taken for a good one."""
    (tmp_path / "tests" / "benchmarks").mkdir(parents=True)
    done = run_bench(tmp_path)
    assert done.returncode not in (0, 3) and "measured nothing" in done.stderr


def test_jupyter_listens_on_loopback_and_keeps_its_token(tmp_path: Path) -> None:
    """Nothing in the arguments opens the server to others or takes its token away."""
    arguments = notebook_server.arguments(tmp_path, tmp_path / "layouts", browser=False, extra=["--debug"])
    assert "--ServerApp.ip=127.0.0.1" in arguments and arguments[-1] == "--debug"
    assert "--no-browser" in arguments
    assert not [argument for argument in arguments if "token" in argument.lower() or "password" in argument.lower()]


def test_the_first_layout_is_laid_once(tmp_path: Path) -> None:
    """The table of contents is open at the first start; a layout that the learner changed is never touched."""
    layouts = tmp_path / "layouts"
    notebook_server.keep_first_layout(layouts)
    (file,) = layouts.iterdir()
    assert (
        json.loads(file.read_text())["data"]["layout-restorer:data"]["left"]["current"]
        == notebook_server.TABLE_OF_CONTENTS
    )
    file.write_text("{}")
    notebook_server.keep_first_layout(layouts)
    assert [path.read_text() for path in layouts.iterdir()] == ["{}"]
