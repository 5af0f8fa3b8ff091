"""How a trace goes on where no library can carry it: through a row of a table, and from a message to the work on it.

Only the API of OpenTelemetry is used: in a process that is not instrumented all of this does nothing. What is carried
is a traceparent (W3C Trace Context), in an event as CloudEvents' distributed tracing extension has it.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from time import perf_counter
from typing import Any

from opentelemetry import context as contexts
from opentelemetry import metrics, propagate, trace
from opentelemetry.trace import Link, SpanKind

KEY = "traceparent"
SCHEMA = ";\n    CREATE TABLE IF NOT EXISTS carried(key TEXT PRIMARY KEY, traceparent TEXT)"
_tracer = trace.get_tracer("bikeshare")
_meter = metrics.get_meter("bikeshare")
_seconds = _meter.create_histogram("messaging.process.duration", "s")
_active = _meter.create_up_down_counter("messaging.process.active_messages")


def traceparent() -> str:
    """Return the current span in one line, or nothing."""
    carrier: dict[str, str] = {}
    propagate.inject(carrier)
    return carrier.get(KEY, "")


@contextmanager
def resumed(parent: str) -> Iterator[None]:
    """Go on with the span that wrote a row; without one begin nothing."""
    token = contexts.attach(propagate.extract({KEY: parent} if parent else {}))
    try:
        yield
    finally:
        contexts.detach(token)


def remember(db: sqlite3.Connection, key: str) -> None:
    """Write down, beside a row, in which trace it was written."""
    if parent := traceparent():
        db.execute("INSERT OR IGNORE INTO carried VALUES (?, ?)", [key, parent])


def forget(db: sqlite3.Connection, key: str) -> None:
    """Forget the trace of a row that is gone; without a trace there is no question to the database."""
    if _tracing():
        db.execute("DELETE FROM carried WHERE key = ?", [key])


def recall(db: sqlite3.Connection, key: str) -> str:
    """Return the traceparent of a row, or nothing."""
    if not _tracing():
        return ""
    row = db.execute("SELECT traceparent FROM carried WHERE key = ?", [key]).fetchone()
    return str(row[0]) if row else ""


def _tracing() -> bool:
    return not isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider)


def _watched() -> bool:
    """Say whether anybody traces or measures; the API has no such question, and a provider of its own is none."""
    return _tracing() or not type(metrics.get_meter_provider()).__module__.startswith("opentelemetry.metrics")


def stamped(db: sqlite3.Connection, key: str, content: bytes) -> bytes:
    """Return an event (JSON) with the span that it is written in; what a clock writes has the first span of `key`."""
    remember(db, key)
    parent = traceparent() or recall(db, key)
    return json.dumps({**json.loads(content), KEY: parent}, separators=(",", ":")).encode() if parent else content


def stamp_of(content: bytes) -> str:
    """Return the traceparent of an event, or nothing."""
    if b'"traceparent"' not in content:
        return ""
    try:
        found = json.loads(content)
    except ValueError:
        return ""
    parent = found.get(KEY) if isinstance(found, dict) else None
    return parent if isinstance(parent, str) else ""


@contextmanager
def handling(message: Any, *calm: type[Exception]) -> Iterator[None]:
    """Work on one message of a stream in a span of its own, the child of whoever said it.

    An exception marks the span as an error, unless it is one of `calm`.
    """
    if not _watched():
        yield
        return
    parent = propagate.extract(message.headers or {})
    pattern = _pattern(message.subject)
    facts = _facts(message, pattern)
    spanning = _tracer.start_as_current_span(
        f"process {pattern}", parent, SpanKind.CONSUMER, facts, record_exception=False, set_status_on_exception=False
    )
    with spanning as span, _measured(pattern) as outcome:
        try:
            yield
        except Exception as error:
            if not isinstance(error, calm):
                outcome["error.type"] = type(error).__name__
                span.set_attribute("error.type", type(error).__name__)
                span.set_status(trace.StatusCode.ERROR, type(error).__name__)
            raise


@contextmanager
def handling_batch(batch: Sequence[Any]) -> Iterator[None]:
    """Work on many messages at once: one span, with a link to whoever said each of them."""
    if not batch or not _watched():
        yield
        return
    said = [trace.get_current_span(propagate.extract(each.headers or {})).get_span_context() for each in batch]
    links = [Link(each) for each in said if each.is_valid]
    pattern = _pattern(batch[0].subject)
    facts = {**_facts(batch[0], pattern), "messaging.batch.message_count": len(batch)}
    with _tracer.start_as_current_span(f"process {pattern}", contexts.Context(), SpanKind.CONSUMER, facts, links):
        yield


@contextmanager
def _measured(pattern: str) -> Iterator[dict[str, str]]:
    outcome, began = {"messaging.destination.template": pattern}, perf_counter()
    _active.add(1)
    try:
        yield outcome
    finally:
        _active.add(-1)
        _seconds.record(perf_counter() - began, outcome)


def _facts(message: Any, pattern: str) -> dict[str, Any]:
    at = message.metadata
    facts = {
        "messaging.system": "nats",
        "messaging.operation.name": "process",
        "messaging.operation.type": "process",
        "messaging.destination.name": at.stream,
        "messaging.destination.template": pattern,
        "messaging.consumer.group.name": at.consumer,
        "messaging.nats.deliveries": at.num_delivered,
    }
    told = (message.headers or {}).get("Nats-Msg-Id")
    return {**facts, "messaging.message.id": told} if told else facts


def _pattern(subject: str) -> str:
    """Return the subject without the ride, which is its last part: "ride.ended.*"."""
    begin, dot, _ = subject.rpartition(".")
    return f"{begin}{dot}*"
