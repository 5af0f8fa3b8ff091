"""What a check says when it fails: six parts, each of them for a person.

    sent      what the check did
    expected  what a right service answers
    came      what came instead
    why       why it matters in the city
    look      where to look in the learner's files
    log       the last log lines of the service involved (added by the plugin)

The first five are written by the check, in `expect`.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any

SHOWN_CHARACTERS = 600
SHOWN_LINES = 12
UNPRINTABLE = "\N{REPLACEMENT CHARACTER}"


@dataclass(frozen=True)
class Failure:
    """The six parts of a failed check; `service` names whose log belongs to it."""

    sent: str
    expected: str
    came: str
    why: str
    look: str
    log: str = ""
    service: str = ""

    def as_dict(self) -> dict[str, str]:
        """Return plain strings, so that the failure can be written as JSON."""
        return asdict(self)


class CheckFailed(AssertionError):
    """The service did something else than the check expected."""

    def __init__(self, failure: Failure) -> None:
        self.failure = failure
        super().__init__(f"sent: {failure.sent}; expected: {failure.expected}; came: {failure.came}")


def expect(
    condition: object,
    *,
    sent: object,
    expected: object,
    came: object,
    why: str,
    look: str,
    service: str = "",
) -> None:
    """Raise CheckFailed with its parts unless the condition holds.

    Args:
        condition: what must be true; only its truth counts.
        sent: what the check did, for example "POST /rides for ada at A1".
        expected: what a right service answers.
        came: what came: an httpx response, an exception, rows, a number; a long one is shortened.
        why: why it matters in the city.
        look: file and function to look at.
        service: the service whose last log lines belong to the failure.
    """
    if condition:
        return
    raise CheckFailed(Failure(describe(sent), describe(expected), describe(came), why, look, service=service))


def describe(value: object) -> str:
    """Return a short, printable text for anything that can come back from a service."""
    return shorten(_text(value))


def shorten(text: str, characters: int = SHOWN_CHARACTERS, lines: int = SHOWN_LINES) -> str:
    """Cut a text to a number of lines and characters, and say how much was left out."""
    text = _printable(text).strip()
    kept = "\n".join(text.splitlines()[:lines])[:characters].rstrip()
    left_out = len(text) - len(kept)
    return f"{kept} ... ({left_out} characters more)" if left_out > 0 else kept


def _text(value: object) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, BaseException):
        return f"{type(value).__name__}: {value}" if str(value) else type(value).__name__
    if isinstance(value, bytes):
        return repr(value[: SHOWN_CHARACTERS * 2])
    if hasattr(value, "status_code") and hasattr(value, "text"):
        return _response(value)
    if isinstance(value, (dict, list)):
        return json.dumps(value, ensure_ascii=False, default=repr)
    return repr(value)


def _response(answer: Any) -> str:
    reason = getattr(answer, "reason_phrase", "")
    return f"{answer.status_code} {reason}".rstrip() + (f"\n{answer.text}" if answer.text else ", without a body")


def _printable(text: str) -> str:
    """Replace what would ring, clear or colour a terminal."""
    return "".join(letter if letter.isprintable() or letter in "\n\t" else UNPRINTABLE for letter in text)
