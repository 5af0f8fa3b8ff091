"""The `course` command: the same functions as in the notebooks, from a terminal.

Heavy imports stand inside the commands, so that `course --help` is quick and `course doctor` works on a broken set-up.
"""

from __future__ import annotations

import json
import os
import re
import signal
import sys
import time
from typing import TYPE_CHECKING, Annotated

import typer

from .errors import AlreadyRunning, LabError, NotRunning, RuntimeLost

if TYPE_CHECKING:
    from .lab import Lab

app = typer.Typer(
    help="Microservices by running them: the course from a terminal.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
NEWS_SECONDS = 0.5
PASS_ON = {"allow_extra_args": True, "ignore_unknown_options": True}
TERMINAL_WORDS = (
    (r'lab\.(check|solution|logs|hint)\("([^"]+)"\)', r"course \1 LAB \2"),
    (r"lab\.(check|solution|hint|review|reset)\(\)", r"course \1 LAB"),
    (r"lab\.start\(\)", "course up LAB"),
    (r"lab\.status\(\)", "course status"),
    (r'open_lab\("([^"]+)", shape="([^"]+)"\)', r"course up \1 --shape \2"),
    (r'open_lab\("([^"]+)"\)', r"course up \1"),
)
LabName = Annotated[str, typer.Argument(help="The lab, or the beginning of its name: 01")]
TaskName = Annotated[str | None, typer.Argument(help="The task: 1.2 (default: the whole lab)")]
EXTRAS = "The extra: ads (gRPC for the mesh of chapter 06), durable (an engine for sagas, for chapter 05)"
AsJson = Annotated[bool, typer.Option("--json", help="For programs: JSON on standard output.")]


def main() -> None:
    """Run the command line; an error of the course is four parts on standard error and exit status 1."""
    try:
        app()
    except LabError as error:
        print(in_terminal_words(str(error)), file=sys.stderr)
        sys.exit(1)


def show(thing: object) -> None:
    """Print the plain-text form of a view, with the commands of a terminal in place of a notebook's calls."""
    print(thing if isinstance(thing, str) else in_terminal_words(repr(thing)), flush=True)


def in_terminal_words(text: str) -> str:
    """Say `course check 01 1.2` where a notebook would type `lab.check("1.2")`; the lab is the one just named."""
    named = [word for word in sys.argv[2:3] if not word.startswith("-")]
    for call, command in TERMINAL_WORDS:
        text = re.sub(call, command.replace("LAB", named[0] if named else "01"), text)
    return text


@app.command("open", context_settings=PASS_ON, rich_help_panel="The course")
def open_course(
    context: typer.Context,
    no_browser: Annotated[bool, typer.Option("--no-browser", help="Only print the address.")] = False,
) -> None:
    """Open JupyterLab at chapter 00. Whatever follows goes to Jupyter itself."""
    from .notebook_server import open_notebooks
    from .runtime.spec import course_root
    from .runtime.workspace import work_root

    open_notebooks(course_root(), work_root(), browser=not no_browser, extra=context.args)


@app.command(context_settings=PASS_ON, rich_help_panel="The course")
def test(context: typer.Context) -> None:
    """Run all tests of the course, style and types among them. Whatever follows goes to pytest."""
    from .runtime.spec import course_root
    from .suite import pytest_arguments

    root = course_root()
    os.chdir(root)
    os.execv(sys.executable, [sys.executable, "-m", "pytest", *pytest_arguments(root, context.args)])


@app.command(rich_help_panel="The course")
def doctor(as_json: AsJson = False) -> None:
    """Look at this machine and name the command that mends each thing; exit status 0 when the course can start."""
    from .doctor import examine

    diagnosis = examine()
    show(json.dumps(diagnosis.as_dict(), indent=2) if as_json else diagnosis)
    raise typer.Exit(0 if diagnosis.ok else 1)


@app.command(rich_help_panel="The course")
def add(extra: Annotated[str, typer.Argument(help=EXTRAS)]) -> None:
    """Install packages that one section of a chapter asks for and the rest of the course does without."""
    from . import extras

    there = "is installed now" if extras.add(extra) else "was installed already"
    show(f"The extra {extra} {there}: {', '.join(extras.pins(extra))}.")


@app.command(rich_help_panel="A city")
def up(lab: LabName, shape: Annotated[str | None, typer.Option(help="Another system of the same lab.")] = None) -> None:
    """Start a lab's city here in the terminal; Ctrl-C stops it."""
    from . import open_lab

    for ending in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(ending, signal.default_int_handler)  # the same as Ctrl-C
    city = open_lab(lab, shape=shape)
    try:
        _start_what_can(city)
        print("Ctrl-C stops the city.", flush=True)
        _tell_news(city)
    except KeyboardInterrupt:
        print("Stopped by you.")
    finally:
        city.close()


def _tell_news(city: Lab) -> None:
    """Say what becomes of the services (a save that cannot run, a crash), until the city is stopped from elsewhere."""
    told: dict[str, str] = {}
    while True:
        time.sleep(NEWS_SECONDS)
        try:
            notes = {state.name: state.note for state in city.states()}
        except (NotRunning, RuntimeLost):
            print("The city was stopped from elsewhere.")
            return
        for name, note in notes.items():
            if note and note != told.get(name):
                print(f"{name}: {note}", flush=True)
        told = notes


def _start_what_can(city: Lab) -> None:
    try:
        city.start()
    except AlreadyRunning:
        raise
    except LabError as error:
        print(in_terminal_words(str(error)), file=sys.stderr)  # the rest of the city stays up
    show(city.status())
    show(city.status().details())


@app.command(rich_help_panel="A city")
def down(everything: Annotated[bool, typer.Option("--all", help="Also what runs now.")] = False) -> None:
    """Stop what earlier runs left behind; with --all every city of this folder."""
    from .runtime.registry import sweep

    show("\n".join(sweep(everything=everything)) or "Nothing was left to stop.")


@app.command(rich_help_panel="A city")
def status(as_json: AsJson = False) -> None:
    """Say which cities run now, in notebooks and terminals."""
    from .running import running_cities

    cities = running_cities()
    if as_json:
        show(json.dumps([city.as_dict() for city in cities], indent=2))
    else:
        show("\n".join(map(str, cities)) or "No city runs. Start one: course up 01, or lab.start() in a notebook.")


@app.command(rich_help_panel="A city")
def logs(
    lab: LabName,
    service: Annotated[str | None, typer.Argument(help="The service (default: list them)")] = None,
    lines: Annotated[int, typer.Option(min=1, help="How many of the last lines.")] = 20,
) -> None:
    """Show the last lines that a service of the latest run has printed; works after the end, too."""
    from .running import log_lines

    show("\n".join(log_lines(lab, service, lines)))


@app.command(rich_help_panel="A task")
def check(
    lab: LabName,
    task: TaskName = None,
    watch: Annotated[bool, typer.Option("--watch", help="Again after each save; Ctrl-C ends it.")] = False,
    as_json: AsJson = False,
) -> None:
    """Judge your files by their behaviour; exit status 0 when every check passes."""
    from .checks import run_checks, watch_checks

    if watch:
        print("Save a file and the checks run again. Ctrl-C ends it.", file=sys.stderr, flush=True)
    report = None
    for report in watch_checks(lab, task) if watch else (run_checks(lab, task),):
        show(json.dumps(report.as_dict()) if as_json else report)
    raise typer.Exit(0 if report and report.passed else 1)


@app.command(rich_help_panel="A task")
def hint(lab: LabName, task: TaskName = None) -> None:
    """Show the next hint for the first check that failed last time."""
    from . import checks
    from .runtime.spec import load_spec

    show(checks.hint(load_spec(lab).name, task))


@app.command(rich_help_panel="A task")
def solution(lab: LabName, task: TaskName = None) -> None:
    """Show one possible solution, once your checks pass or after three honest attempts."""
    from . import checks
    from .runtime.spec import load_spec

    show(checks.solution(load_spec(lab).name, task))


@app.command(rich_help_panel="A task")
def review(
    lab: LabName, number: Annotated[int | None, typer.Argument(help="Which change (default: the next)")] = None
) -> None:
    """Play the reviewer: find the bug in somebody's change before a check does."""
    from . import checks
    from .runtime.spec import load_spec

    show(checks.review(load_spec(lab).name, number))


@app.command(rich_help_panel="A task")
def reset(lab: LabName) -> None:
    """Begin a lab's files anew; your copy is kept beside."""
    from .runtime.spec import load_spec
    from .runtime.workspace import reset

    show(f"Your files are kept in {reset(load_spec(lab))}; the lab begins anew.")


@app.command(rich_help_panel="A task")
def update(lab: LabName) -> None:
    """Bring a newer starter into your copy: your changes stay, a conflict is laid beside as .new."""
    from .runtime.spec import load_spec
    from .runtime.workspace import update

    show(update(load_spec(lab)))


@app.command(rich_help_panel="A task")
def progress() -> None:
    """Show which tasks are done."""
    from . import checks

    show(checks.progress())


@app.command(rich_help_panel="For authors")
def bench(as_json: AsJson = False) -> None:
    """Measure the course itself, ratios within one run; the figures are kept below work/bench."""
    from .benchmark_report import run_benchmarks
    from .runtime.spec import course_root
    from .runtime.workspace import work_root

    report = run_benchmarks(course_root(), work_root() / "bench")
    show(json.dumps(report.as_dict(), indent=2) if as_json else report)
    raise typer.Exit(0 if report.passed else 1)


@app.command(rich_help_panel="For authors")
def render(chapter: Annotated[str, typer.Argument(help="The chapter: 01")]) -> None:
    """Run a chapter as a fresh learner would and store what it shows."""
    from .notebooks import render as render_chapter

    show(render_chapter(chapter))


if __name__ == "__main__":
    main()
