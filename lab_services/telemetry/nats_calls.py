"""Messages at the broker: who says something is a span, who hears it is a span, and the message carries the trace.

The context of whoever speaks goes into the headers of the message (traceparent). The span of whoever hears it is a
CHILD of the speaker's and no link: in this city a message has one cause, so one ride is one trace, which a link would
cut at every message. The price is that a trace lasts as long as its last message waits. A batch that is worked on as
one (bikeshare/carried.py) has many causes: its span has links.

Names and attributes by https://opentelemetry.io/docs/specs/semconv/messaging/. Not traced: what keeps the broker and
its clients going ($JS..., acknowledgements, answers to an inbox) and the bell that wakes a relay, which says nothing.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from time import perf_counter
from typing import Any

from opentelemetry import metrics, propagate, trace
from opentelemetry.trace import SpanKind
from wrapt import wrap_function_wrapper

from lab_services.telemetry.observations import MESSAGE_ACTIVE, MESSAGE_DURATION

QUIET = ("$", "_INBOX.", "outbox.")
INBOX = "_INBOX."
_speaking: ContextVar[bool] = ContextVar("speaking", default=False)  # a request is a publication inside
Say = Callable[..., Awaitable[Any]]


def instrument_nats() -> None:
    """Trace every client of nats-py in this process, those that are made already too."""
    from nats.aio.client import Client
    from nats.js import JetStreamContext

    said = {
        (Client, "publish"): SpanKind.PRODUCER,
        (JetStreamContext, "publish"): SpanKind.PRODUCER,
        (Client, "request"): SpanKind.CLIENT,  # it waits for the answer of a listener
    }
    for (owner, name), kind in said.items():
        wrap_function_wrapper(owner, name, _said(inspect.signature(getattr(owner, name)), kind))
    wrap_function_wrapper(Client, "subscribe", _subscribed(inspect.signature(Client.subscribe)))


def template(subject: str) -> str:
    """Return the pattern of a subject: "ride.ended.*" for "ride.ended.r-7", "lock.*.battery" for "lock.l-07.battery".

    A part that names one thing has a digit in it, or is the last of three and more.
    """
    parts = subject.split(".")
    one = [any(letter.isdigit() or letter == "%" for letter in part) for part in parts]
    if len(parts) > 2 and not any(one):
        one[-1] = True
    return ".".join("*" if named else part for part, named in zip(parts, one, strict=True))


def _said(signature: inspect.Signature, kind: SpanKind) -> Callable[..., Awaitable[Any]]:
    tracer = trace.get_tracer(__name__)

    async def say(wrapped: Say, client: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        given = signature.bind(client, *args, **kwargs).arguments
        subject = str(given["subject"])
        if _speaking.get() or subject.startswith(QUIET):
            return await wrapped(*args, **kwargs)
        pattern, headers = template(subject), dict(given.get("headers") or {})
        facts = {
            "messaging.system": "nats",
            "messaging.operation.name": "request" if kind is SpanKind.CLIENT else "publish",
            "messaging.operation.type": "send",
            "messaging.destination.name": pattern,
            "messaging.destination.template": pattern,
            "messaging.message.body.size": len(given.get("payload") or b""),
        }
        if message_id := headers.get("Nats-Msg-Id"):
            facts["messaging.message.id"] = str(message_id)
        token = _speaking.set(True)
        try:
            with tracer.start_as_current_span(
                f"{facts['messaging.operation.name']} {pattern}", kind=kind, attributes=facts
            ):
                propagate.inject(headers)
                del given["self"]
                return await wrapped(**{**given, "headers": headers or None})
        finally:
            _speaking.reset(token)

    return say


def _subscribed(signature: inspect.Signature) -> Callable[..., Awaitable[Any]]:
    async def subscribe(wrapped: Say, client: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        given = signature.bind(client, *args, **kwargs).arguments
        work = given.get("cb")
        if work is None or str(given["subject"]).startswith(QUIET):
            return await wrapped(*args, **kwargs)
        del given["self"]
        return await wrapped(**{**given, "cb": _heard(work)})

    return subscribe


def _heard(work: Callable[[Any], Awaitable[None]]) -> Callable[[Any], Awaitable[None]]:
    """Return the callback of a subscription, watched; a listener that is asked for an answer is a server."""

    async def hear(message: Any) -> None:
        asked = str(message.reply or "").startswith(INBOX)
        with processing(message.subject, message.headers, SpanKind.SERVER if asked else SpanKind.CONSUMER):
            await work(message)

    return hear


@contextmanager
def processing(subject: str, headers: dict[str, str] | None, kind: SpanKind) -> Iterator[None]:
    """Watch the work on one message; an exception marks the span and the measurement, and goes on."""
    meter, pattern = metrics.get_meter(__name__), template(subject)
    facts = {
        "messaging.system": "nats",
        "messaging.operation.name": "process",
        "messaging.destination.template": pattern,
    }
    active, began = meter.create_up_down_counter(MESSAGE_ACTIVE), perf_counter()
    outcome = {"messaging.destination.template": pattern}
    active.add(1)
    try:
        with trace.get_tracer(__name__).start_as_current_span(
            f"process {pattern}",
            propagate.extract(headers or {}),
            kind,
            {**facts, "messaging.operation.type": "process", "messaging.destination.name": pattern},
        ):
            try:
                yield
            except Exception as error:
                outcome["error.type"] = type(error).__name__
                raise
            finally:
                meter.create_histogram(MESSAGE_DURATION, "s").record(perf_counter() - began, outcome)
    finally:
        active.add(-1)
