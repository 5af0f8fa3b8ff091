"""The calls of a ride: a span for each attempt, and its trace in the headers. Learner's file of task 7.2.

A span is begun by `tracer.start_as_current_span(name, context, kind)`, where `context` None means: a child of the
current span. `inject(headers)` writes the current span into a dict, as W3C `traceparent`.

`with calling(what, headers, kind) as span:` is one call (kind CLIENT) or the telling of one message (kind PRODUCER):
one span named `what`, a child of the current one. `headers`, which go along, name this very span: what the other side
does is caused by it. An exception leaves the block as it came.

`await asking(what, send)` calls `await send(headers)` up to TRIES times: again after httpx.TransportError and after a
status of 500 and more, until there is another answer. It returns the last response, or raises the last TransportError.
Every attempt is a span of kind CLIENT, with headers of its own, and a child of what is current where `asking` was
called: attempts are siblings.

Errors: a span has the status ERROR when it ends by an exception, which it records, and when it is an attempt that is
answered with 500 and more. A refusal (4xx) is no ERROR of the service that answers it; of the attempt it may be one.
"""

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager

import httpx
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.propagate import inject
from opentelemetry.trace import Span, SpanKind, StatusCode

__all__ = ["Context", "StatusCode", "asking", "calling"]  # what you may need is imported

TRIES = 3
Send = Callable[[dict[str, str]], Awaitable[httpx.Response]]
tracer = trace.get_tracer("city")


# --- your turn 7.2 ---
@contextmanager
def calling(what: str, headers: dict[str, str], kind: SpanKind = SpanKind.CLIENT) -> Iterator[Span]:
    with tracer.start_as_current_span(what, kind=kind) as span:  # an exception that leaves it is recorded, as an ERROR
        inject(headers)  # inside: this span causes what the other side does, and not the one around it
        yield span


async def asking(what: str, send: Send) -> httpx.Response:
    for left in reversed(range(TRIES)):
        headers: dict[str, str] = {}
        try:  # around the span: whoever catches inside hides the error from it
            with calling(what, headers) as span:
                answer = await send(headers)
                if answer.status_code >= 500:
                    span.set_status(StatusCode.ERROR)  # httpx raises nothing for it
        except httpx.TransportError:
            if not left:
                raise
        else:
            if answer.status_code < 500 or not left:
                break
    return answer


# --- end 7.2 ---
