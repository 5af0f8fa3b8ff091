"""Spans leave in a thread of their own: a collector that fails, hangs or is full never holds up whoever made them."""

from __future__ import annotations

import json
import logging
import threading
from collections import Counter
from collections.abc import Sequence

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.trace import StatusCode

from lab_services.telemetry.span_sending import BATCH_SPANS, QUEUE_SPANS, Spans


class Collector(SpanExporter):
    """Takes spans while its gate is open, and fails as long as it is told to."""

    def __init__(self) -> None:
        self.gate, self.reached = threading.Event(), threading.Event()
        self.fails = False
        self.taken: list[ReadableSpan] = []

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self.reached.set()
        self.gate.wait()
        if self.fails:
            return SpanExportResult.FAILURE
        self.taken += spans
        return SpanExportResult.SUCCESS


def test_a_collector_that_hangs_blocks_nobody_and_what_is_lost_is_counted() -> None:
    """Far more spans than the queue holds are ended at once; each is sent in the end, or counted as dropped."""
    collector, lost = Collector(), Counter[str]()
    spans = Spans(lambda count, reason: lost.update({reason: count}), collector)
    tracer = spans.provider.get_tracer("test")
    made = 2 * QUEUE_SPANS
    for number in range(made):
        tracer.start_span(str(number)).end()
    assert collector.reached.wait(10)
    assert made - QUEUE_SPANS - 2 * BATCH_SPANS <= lost["queue full"] <= made - QUEUE_SPANS
    assert not spans.end(0.05), "the collector hangs, and the process leaves all the same"
    collector.gate.set()
    assert len(collector.taken) + lost["queue full"] <= made


def test_the_last_spans_are_sent_when_the_process_leaves() -> None:
    """What ended a moment ago is not lost by leaving; what ends afterwards is counted."""
    collector, lost = Collector(), Counter[str]()
    collector.gate.set()
    spans = Spans(lambda count, reason: lost.update({reason: count}), collector)
    tracer = spans.provider.get_tracer("test")
    for _ in range(3):
        tracer.start_span("last").end()
    assert spans.end(10) and len(collector.taken) == 3
    tracer.start_span("too late").end()
    assert lost == {"already shutdown": 1}


def test_a_collector_that_fails_is_told_of_once(caplog: pytest.LogCaptureFixture) -> None:
    """The log says when spans begin to be lost and when they are sent again, not at each batch."""
    collector, lost = Collector(), Counter[str]()
    collector.gate.set()
    collector.fails = True
    spans = Spans(lambda count, reason: lost.update({reason: count}), collector)
    tracer = spans.provider.get_tracer("test")
    with caplog.at_level(logging.WARNING, "telemetry"):
        for fails in (True, True, False, False):
            collector.fails = fails
            tracer.start_span("one").end()
            spans.provider.force_flush()
    assert [record.message for record in caplog.records if record.name == "telemetry"] == [
        "spans cannot be sent, and are dropped",
        "spans are sent again",
    ]
    assert lost == {"export failed": 2} and len(collector.taken) == 2
    assert spans.end(10)


def test_what_leaves_has_the_types_of_errors_and_not_their_texts() -> None:
    """An exception that names a rider is a type in the span; queries and whole addresses are left out."""
    collector = Collector()
    collector.gate.set()
    spans = Spans(lambda count, reason: None, collector)
    facts = {
        "http.route": "/wallets/{rider_id}/rides/{ride_id}",
        "url.path": "/wallets/ada/rides/r-1",
        "url.query": "token=open",
        "url.full": "http://127.0.0.1:80/wallets/ada?token=open",
        "http.request.header.authorization": "Bearer open",
        "note": "password in postgres://ada:open@db/1",
    }
    with pytest.raises(KeyError), spans.provider.get_tracer("test").start_as_current_span("asked", attributes=facts):
        raise KeyError("ada")
    assert spans.end(10)
    (sent,) = collector.taken
    assert dict(sent.attributes or {}) == {
        "http.route": "/wallets/{rider_id}/rides/{ride_id}",
        "url.path": "/wallets/{rider_id}/rides/r-1",
        "url.full": "http://127.0.0.1:80/",
        "note": "password in postgres://[hidden]@db/1",
    }
    assert (sent.status.status_code, sent.status.description) == (StatusCode.ERROR, "KeyError")
    assert [dict(event.attributes or {}) for event in sent.events] == [{"exception.type": "KeyError"}]
    assert not {"ada", "open"} & set(json.loads(sent.to_json())["attributes"].values())
