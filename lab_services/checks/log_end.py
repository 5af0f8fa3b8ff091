"""The end of a service's log, as the sixth part of a failure: waited for, and cut at whole frames."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from typing import Any

from lab_services.checks.expectation import Failure
from lab_services.checks.steady import is_probe
from lab_services.views.traceback_lines import own_frames

LINES = 10
READ_LINES = 200  # a traceback of a web framework is long before its foreign frames are left out
LINE_CHARACTERS = 300
WAIT_SECONDS = 0.5
POLL_SECONDS = 0.05

_SERVER_ERROR = re.compile(r"\b50\d\b")
_TROUBLE = re.compile(
    r'Traceback \(most recent call last\)|^\S*(Error|Exception)\b|\bERROR\b|"level": "(error|critical)"', re.M
)
_RAW, _TRIMMED = "Traceback (most recent call last)", "Traceback, your files only"
_FRAME = re.compile(r'[\s|+-]*(File "|\.\.\. \d+ frames? outside)')


def log_end(city: Any, failure: Failure) -> str:
    """Return the last lines of the service that the failure names, once what it has to say is written.

    A traceback is written a moment after its 500 answer: so long, and at most WAIT_SECONDS, is waited for it.
    """
    deadline = time.monotonic() + WAIT_SECONDS
    awaited = bool(_SERVER_ERROR.search(failure.came))
    before, now = None, _read(city, failure.service)
    while time.monotonic() < deadline and (now != before or (awaited and not _TROUBLE.search("\n".join(now)))):
        time.sleep(POLL_SECONDS)
        before, now = now, _read(city, failure.service)
    return "\n".join(line[:LINE_CHARACTERS].replace(_RAW, _TRIMMED) for line in whole_end(now))


def whole_end(lines: Sequence[str]) -> list[str]:
    """Return the last lines, health probes left out, without the rest of a frame whose first line is cut off."""
    end = [line for line in lines if line.strip() and not is_probe(line)]
    cut = len(end) > LINES
    end = end[-LINES:]
    while cut and len(end) > 1 and end[0][:1] in " |+" and not _FRAME.match(end[0]):
        end = end[1:]
    return end


def _read(city: Any, service: str) -> list[str]:
    view = city.logs(service, lines=READ_LINES)
    lines = [line.decode(errors="backslashreplace") if isinstance(line, bytes) else line for line in view.lines]
    return lines if view.folder is None else own_frames(lines, view.folder)
