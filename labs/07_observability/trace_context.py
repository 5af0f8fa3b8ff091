"""The trace of a ride where no library carries it: over threads, queues and messages. Learner's file of task 7.2.

A span is begun by `tracer.start_as_current_span(name, context, kind)`, where `context` None means: a child of the
current span. `extract(headers)` returns a new context with the span that `headers` name (W3C `traceparent`); it is
empty when they name none, or are malformed.

`here()` returns what tells the trace of whoever calls it; `with there(place):` puts what is done inside into that
trace: later, in a thread of a pool, or in a task that was there before. Behind it the thread or the task is as it was
before.

`with hearing(what, message) as span:` is the work on one message (`message.headers` may be None; `message.data` is what
it says): a span of kind CONSUMER named `what`. It is a child of the span that the headers name, or it is the root of a
trace and has a link to that span: both are right. Where the sender's span is not sampled, this one is not either. A
message whose headers name no span begins a trace of its own, whatever this task has worked on before. An exception
leaves the block as it came, is recorded by the span, and makes its status ERROR.

Nothing of a rider goes into a span, neither who it is nor the card: whoever looks at traces may not see that.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from nats.aio.msg import Msg
from opentelemetry import context, trace
from opentelemetry.context import Context
from opentelemetry.propagate import extract, inject
from opentelemetry.trace import Link, Span, SpanKind

__all__ = ["Context", "Link", "hearing", "here", "inject", "there"]  # what you may need is imported

tracer = trace.get_tracer("city")


# --- your turn 7.2 ---
def here() -> Span:
    return trace.get_current_span()


@contextmanager
def there(place: Span) -> Iterator[None]:
    yield


@contextmanager
def hearing(what: str, message: Msg) -> Iterator[Span]:
    if message.headers:
        context.attach(extract(message.headers))
    with tracer.start_as_current_span(what, kind=SpanKind.CONSUMER) as span:
        span.set_attribute("messaging.message.body", message.data.decode(errors="replace"))
        yield span


# --- end 7.2 ---
