"""Whose line is it? The trace id of a request, wherever the work for it is done, and nowhere else.

A caller says it in the header `traceparent` (W3C Trace Context), by HTTP as by NATS: 00-<trace id>-<span id>-01.

| function             | what it promises                                                                             |
| -------------------- | -------------------------------------------------------------------------------------------- |
| `trace_of(headers)`  | whatever is logged inside of the `with` has the trace id of these headers, also by tasks that |
|                      | are begun there; of a new trace when they have none, or one that is not valid. What is logged |
|                      | behind it has none: the same task, or thread, works for somebody else next                   |
| `headers()`          | what a call or a message of this request says to the next service; {} outside of a request   |
| `carried(call)`      | the same call, for another thread to make: what that logs meanwhile has the trace id of the   |
|                      | request that asked for it. What the thread logs before and behind has not                    |

Requests are worked on at the same time. `bind_contextvars` of structlog puts a field into each line of the context in
which it is called (`contextvars`): `merge_contextvars` in log_lines.py takes it from there.
"""

import re
import secrets
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from structlog import contextvars

VALID = re.compile("(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")


def trace_in(headers: Mapping[str, str] | None) -> str:
    """Return the trace id that the headers say; "" when they say none, or one that is not valid."""
    found = VALID.fullmatch((headers or {}).get("traceparent", ""))
    return found[1] if found else ""


def new_trace() -> str:
    """Return a trace id that nobody has (32 hexadecimal digits)."""
    return secrets.token_hex(16)


def new_span() -> str:
    """Return a span id that nobody has (16 hexadecimal digits)."""
    return secrets.token_hex(8)


# --- your turn 7.3 ---
@contextmanager
def trace_of(headers: Mapping[str, str] | None) -> Iterator[None]:
    """Have what is logged inside belong to the trace of these headers."""
    # Bound for the block alone: a worker's next message, or one without a header, must not go under this trace.
    with contextvars.bound_contextvars(trace_id=trace_in(headers) or new_trace()):
        yield


def headers() -> dict[str, str]:
    """Return what tells the next service of the trace."""
    trace = contextvars.get_contextvars().get("trace_id")
    return {"traceparent": f"00-{trace}-{new_span()}-01"} if trace else {}


def carried(call: Callable[[], None]) -> Callable[[], None]:
    """Return the call, for another thread to make."""
    trace = contextvars.get_contextvars().get("trace_id")  # now, in the request; the thread has a context of its own

    def made() -> None:
        with contextvars.bound_contextvars(trace_id=trace):
            call()

    return made


# --- end 7.3 ---
