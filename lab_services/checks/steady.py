"""Take out of a text what differs from run to run, so that stored outputs of a notebook stay true."""

from __future__ import annotations

import re

_ALWAYS = [
    (re.compile(pattern, flags), put)
    for pattern, put, flags in (
        (r"((?<=\")[^\"\n]*|[^\s\"']*)/\.checks/run-[^/\s\"']+(/workspace)?/?", "", 0),
        (r"\b(127\.0\.0\.1|localhost)(:|', )\d{2,5}\b", r"\1\2<port>", 0),
        (r"\b(port)([ =:]+)\d{2,5}\b", r"\1\2<port>", re.I),
        (r"\b(pid|process)([ =:\[]+)\d+\b", r"\1\2<pid>", re.I),
        (r"\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b", "<id>", re.I),
        (r"\b0x[0-9a-f]{6,}\b", "<address>", re.I),
        (r"\b(?=[0-9a-f]*[a-f])(?=[0-9a-f]*[0-9])[0-9a-f]{8,}\b", "<id>", 0),
        (r"\b\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d([.,]\d+)?)?(Z|[+-]\d\d:?\d\d)?", "<time>", 0),
        (r"\b\d\d:\d\d:\d\d([.,]\d+)?", "<time>", 0),
    )
]
_DURATION = re.compile(r"\b(\d+\.\d+ ?(s|sec|seconds?)|\d+(\.\d+)? ?(ms|us|\u00b5s|milliseconds?))\b")
_HEALTH = re.compile(r"/health/(live|ready)\b")


def steady(text: str, *, durations: bool = True) -> str:
    """Replace ports, process numbers, random ids, addresses, points in time and, if asked, measured durations."""
    for pattern, put in _ALWAYS:
        text = pattern.sub(put, text)
    return _DURATION.sub("<duration>", text) if durations else text


def is_probe(line: str) -> bool:
    """True for the line that a health probe has left in a log."""
    return _HEALTH.search(line) is not None


def steady_log(text: str) -> str:
    """Return log lines without what differs: health probes are left out, equal neighbours are shown once."""
    kept: list[str] = []
    for line in text.splitlines():
        line = steady(line).rstrip()
        if line and not is_probe(line) and kept[-1:] != [line]:
            kept.append(line)
    return "\n".join(kept)
