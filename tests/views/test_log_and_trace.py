"""Logs, tracebacks in them, and one id followed through all of them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from lab_services.views import LogView, TraceLine, TraceView
from lab_services.views.logs import LINES
from tests.views.both_forms import html_cells, soup_of, text_cells


def _lines_of_html(view: LogView) -> list[str]:
    return [line.rstrip() for line in soup_of(view).pre.get_text().split("\n")]


def test_both_forms_show_the_same_lines() -> None:
    """Escapes, bytes that are no text, and markup come out alike in HTML and in plain text."""
    view = LogView("rides", ["<b>bold</b> & more\n", b"\xff\xfe\x00", "a\tb", "\x1b[32mINFO\x1b[0m up"])
    assert _lines_of_html(view) == view.shown() == [line[2:] for line in str(view).split("\n")[1:]]
    assert view.shown() == ["<b>bold</b> & more", r"\xff\xfe" + "\u2400", "a   b", "INFO up"]


def test_only_the_end_of_an_endless_log_is_shown_and_the_rest_counted() -> None:
    """What the caller has left out and what the view leaves out are one number."""
    view = LogView("rides", (f"line {number}" for number in range(LINES + 50)), dropped=1000)
    assert len(view.shown()) == LINES and view.shown()[-1] == f"line {LINES + 49}"
    assert str(view).split("\n")[0] == f"log of rides: last {LINES} lines, 1,050 older lines left out"


def test_a_silent_service_is_said_to_be_silent() -> None:
    """An empty log is a sentence, not an empty box."""
    assert str(LogView("rides", ())) == "log of rides: nothing written yet"
    assert soup_of(LogView("rides", ())).pre is None


def _real_traceback(folder: Path, program: str) -> list[str]:
    """Run the learner's file, which json calls back, and return what Python itself printed."""
    (folder / "rides.py").write_text(program)
    done = subprocess.run(
        [sys.executable, str(folder / "rides.py")], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 1
    return done.stderr.splitlines()


def test_a_traceback_shows_the_frames_of_the_learner_only(tmp_path: Path) -> None:
    """Of a real traceback, the learner's frames stay with their source, named without the machine's folders."""
    program = "import json\ndef start(_):\n    raise KeyError('ada')\njson.loads('{}', object_hook=start)\n"
    shown = LogView("rides", ["before", *_real_traceback(tmp_path, program), "after"], folder=tmp_path).shown()
    assert "json" not in "".join(line for line in shown if "File" in line)
    assert '  File "rides.py", line 3, in start' in shown and "    raise KeyError('ada')" in shown
    assert any(line.startswith("  ... ") and line.endswith(" outside your files") for line in shown)
    assert shown[0] == "before" and shown[-2:] == ["KeyError: 'ada'", "after"]
    assert not any(str(tmp_path) in line for line in shown)


def test_a_group_of_errors_is_trimmed_as_well(tmp_path: Path) -> None:
    """The indented tracebacks of an exception group lose their foreign frames too."""
    program = (
        "import json\ndef start(_):\n    raise KeyError('ada')\n"
        "try:\n    json.loads('{}', object_hook=start)\nexcept KeyError as one:\n"
        "    raise ExceptionGroup('rides', [one]) from None\n"
    )
    shown = LogView("rides", _real_traceback(tmp_path, program), folder=tmp_path).shown()
    frames = [line for line in shown if "File " in line]
    assert len(frames) == 3 and all('File "rides.py"' in line for line in frames)
    assert any("frame" in line and "outside your files" in line for line in shown)
    assert any("KeyError: 'ada'" in line for line in shown)


def test_a_traceback_without_a_frame_of_the_learner_keeps_its_last_one(tmp_path: Path) -> None:
    """When only foreign code is on the stack, where it broke is still evidence."""
    frames = [line for number in (1, 2) for line in (f'  File "/lib/server.py", line {number}, in run', "    call()")]
    log = ["Traceback (most recent call last):", *frames, "OSError: disk full"]
    shown = LogView("rides", log, folder=tmp_path).shown()
    assert shown == [
        "Traceback (most recent call last):",
        "  ... 1 frame outside your files",
        '  File "/lib/server.py", line 2, in run',
        "    call()",
        "OSError: disk full",
    ]


def test_a_folder_with_a_like_name_is_not_the_learners(tmp_path: Path) -> None:
    """Neither a sibling folder that begins alike nor a way out of the folder counts as the learner's file."""
    own, other = tmp_path / "rides", tmp_path / "rides.before-reset-1"
    lines = ["Traceback (most recent call last):", f'  File "{own}/rides.py", line 1, in a']
    lines += [f'  File "{other}/rides.py", line 2, in b', f'  File "{own}/../x.py", line 3, in c', "ValueError: no"]
    assert LogView("rides", lines, folder=own).shown()[1:] == [
        '  File "rides.py", line 1, in a',
        "  ... 2 frames outside your files",
        "ValueError: no",
    ]


FOUND = [
    TraceLine("wallet", "hold for r-1", 2.0),
    TraceLine("rides", "POST /rides r-1", 1.0),
    TraceLine("rides", "r-17 is another ride", 1.5),
    TraceLine("stations", 'taken {"ride":"r-1"}', 2.0),
    TraceLine("notices", "xr-1 is none", 3.0),
]


def test_a_trace_is_the_lines_with_the_id_in_order_of_time() -> None:
    """Lines of all services, by time, with equal times in the order given; a longer id is another id."""
    view = TraceView("r-1", FOUND)
    assert [line.service for line in view.steps()] == ["rides", "wallet", "stations"]
    assert str(view).split("\n")[0] == "r-1: 3 lines, rides -> wallet -> stations"
    assert html_cells(view) == text_cells(view)


def test_an_id_nobody_wrote_is_said() -> None:
    """A trace that finds nothing says so, also for an empty id, which would be in every line."""
    for view in (TraceView("r-2", FOUND), TraceView("", FOUND)):
        assert view.steps() == [] and "no service has written" in str(view) and "no service" in view._repr_html_()


def test_an_id_is_text_and_not_a_pattern() -> None:
    """Dots and brackets in an id stand for themselves."""
    assert [line.text for line in TraceView("a.b(", [("x", "a.b( here"), ("y", "aXb( no")]).steps()] == ["a.b( here"]


def test_moments_are_told_only_when_asked_for() -> None:
    """Times differ from run to run, so only times() tells the milliseconds since the first line."""
    assert text_cells(TraceView("r-1", FOUND).times())[1:] == [
        ["1", "rides", "0"],
        ["2", "wallet", "1,000"],
        ["3", "stations", "1,000"],
    ]
