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
    parsed = [(text, json.loads(text)) for text in lines if text.strip()]
    riders = {line["trace_id"]: line["rider_id"] for text, line in parsed if "rider_id" in line}
    found = []
    for text, line in parsed:
        trace = line.get("trace_id")
        if "error" in text and trace in riders:
            found.append(Failure(trace, riders[trace], line["service"], line["event"]))
    return found


# --- end 7.3 ---
