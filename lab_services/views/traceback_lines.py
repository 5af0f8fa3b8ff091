"""Trim a Python traceback in a log to the frames that the learner wrote."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from .plain_text import counted

# The bars are those of an exception group (PEP 654), which indents the tracebacks inside it.
_FRAME = re.compile(r'^(?P<indent>[\s|+-]*)File "(?P<file>[^"]*)", line \d+')


def own_frames(lines: Iterable[str], folder: Path) -> list[str]:
    """Return the lines with each foreign frame left out and counted, and own files named relative to the folder.

    Of a traceback without any own frame the last one stays, as evidence.
    """
    kept: list[str] = []
    foreign: list[list[str]] = []
    for block in _blocks(list(lines)):
        if (own := _own_name(block, folder)) is not None:
            kept += _counted(foreign) + own
            foreign = []
        elif _FRAME.match(block[0]):
            foreign.append(block)
        else:
            kept += _ended(foreign, kept) + block
            foreign = []
    return kept + _ended(foreign, kept)


def _blocks(lines: list[str]) -> Iterable[list[str]]:
    """Cut the log into blocks: a frame with its source lines, or any other single line."""
    at = 0
    while at < len(lines):
        end = at + 1
        if frame := _FRAME.match(lines[at]):
            deeper = frame["indent"] + "  "
            while end < len(lines) and lines[end].startswith(deeper) and not _FRAME.match(lines[end]):
                end += 1
        yield lines[at:end]
        at = end


def _own_name(block: Sequence[str], folder: Path) -> list[str] | None:
    """Return the block with its file named relative to the folder; None when it is no frame or not below it."""
    frame = _FRAME.match(block[0])
    if frame is None or frame["file"].startswith("<"):
        return None
    for root in (folder, folder.resolve()):
        path = root / frame["file"]
        if path.is_relative_to(root) and ".." not in path.parts:
            named = block[0].replace(frame["file"], path.relative_to(root).as_posix(), 1)
            return [named, *block[1:]]
    return None


def _ended(foreign: list[list[str]], kept: list[str]) -> list[str]:
    """Close a run of foreign frames at the end of a traceback."""
    if not foreign or (kept and _FRAME.match(_last_frame(kept))):
        return _counted(foreign)
    return _counted(foreign[:-1]) + foreign[-1]


def _last_frame(kept: list[str]) -> str:
    """Return the nearest frame above in the same traceback, or an empty line."""
    for line in reversed(kept):
        if _FRAME.match(line) or "Traceback (most recent call last)" in line:
            return line
    return ""


def _counted(foreign: list[list[str]]) -> list[str]:
    if not foreign:
        return []
    frame = _FRAME.match(foreign[0][0])
    indent = frame["indent"] if frame else ""
    return [f"{indent}... {counted(len(foreign), 'frame')} outside your files"]
