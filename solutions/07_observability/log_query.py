"""Whose tap has failed? `find_failures(lines)` reads what all services have written, and joins it by the trace id.

`lines` can be gone through once, and is longer than the memory: keep what a trace needs, not its lines. The lines of
the services come interleaved, and not in the order in which they were written.

| the lines of one trace                                                        | a failure?                         |
| ----------------------------------------------------------------------------- | ---------------------------------- |
| one with level `error` or `critical`, and, of any service, one with a rider_id | yes, once, whatever comes first   |
| these, and one with event `ride_started`                                      | no: another try has mended it      |
| other levels alone, whatever their texts and fields say of errors             | no                                 |
| an error, and nowhere a rider_id                                              | no: it was nobody's tap            |

A line that is no JSON object, or has no trace_id, is passed over, and the next one is read: half a line, a traceback of
many lines, an empty line, a number, 100,000 times `[`. A field counts when it is a text that is not empty: `text_of`.

The failures are in the order in which their first error lines came; `service` and `event` are those of that line.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Failure:
    """One tap that has failed by our own fault."""

    trace_id: str
    rider_id: str
    service: str
    event: str


def text_of(line: Any, field: str) -> str:
    """Return a field of a parsed line; "" when the line is no object, or the field no text."""
    value = line.get(field) if isinstance(line, dict) else None
    return value if isinstance(value, str) else ""


# --- your turn 7.3 ---
def find_failures(lines: Iterable[str]) -> list[Failure]:
    """Return the taps that have failed by our own fault."""
    riders: dict[str, str] = {}  # three facts of each trace, so that its lines may come in any order, and be forgotten
    errors: dict[str, tuple[str, str]] = {}
    mended: set[str] = set()
    for text in lines:
        try:
            line = json.loads(text)
        except (ValueError, RecursionError):  # `[[[[...` is no ValueError
            continue
        if not (trace := text_of(line, "trace_id")):
            continue
        if rider := text_of(line, "rider_id"):
            riders.setdefault(trace, rider)
        if text_of(line, "event") == "ride_started":
            mended.add(trace)
        if text_of(line, "level") in ("error", "critical"):
            errors.setdefault(trace, (text_of(line, "service"), text_of(line, "event")))
    return [Failure(t, riders[t], *error) for t, error in errors.items() if t in riders and t not in mended]


# --- end 7.3 ---
