"""The reader against our store, told by the real OpenTelemetry SDK, and against answers that Jaeger would not give."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread

import pytest
import requests
from opentelemetry import trace as api
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import SpanKind, set_span_in_context

from lab_services.errors import LabError
from lab_services.telemetry.reading import (
    Dependency,
    Link,
    Trace,
    find_traces,
    read_dependencies,
    read_logs,
    read_operations,
    read_services,
    read_trace,
)

SECONDS = 10


def provider(url: str, service: str, compression: Compression = Compression.Gzip) -> TracerProvider:
    """Return what a service of the real SDK tells its spans to."""
    session = requests.Session()
    session.trust_env = False
    exporter = OTLPSpanExporter(f"{url}/v1/traces", session=session, timeout=SECONDS, compression=compression)
    made = TracerProvider(
        resource=Resource.create({"service.name": service, "service.instance.id": f"{service}-1"}),
        shutdown_on_exit=False,
    )
    made.add_span_processor(BatchSpanProcessor(exporter))
    return made


@pytest.fixture(scope="module")
def told(web: object) -> Iterator[str]:
    """A ride, told by the SDKs of two services; its trace id."""
    url = str(web.base_url)  # type: ignore[attr-defined]
    ride, book = provider(url, "sdk-rides"), provider(url, "sdk-wallet", Compression.NoCompression)
    with ride.get_tracer("test").start_as_current_span("POST /rides", kind=SpanKind.SERVER) as root:
        with ride.get_tracer("test").start_as_current_span("PUT", kind=SpanKind.CLIENT) as call:
            above = set_span_in_context(api.NonRecordingSpan(call.get_span_context()))
            linked = [api.Link(root.get_span_context())]
            with pytest.raises(TimeoutError):
                with book.get_tracer("test", "1.0").start_as_current_span(
                    "PUT /holds/{id}", above, SpanKind.SERVER, {"cents": 500, "ok": False, "ids": ["a", "b"]}, linked
                ):
                    raise TimeoutError("the bank is silent")
    for each in (ride, book):
        assert each.force_flush(SECONDS * 1000)
        each.shutdown()
    yield f"{root.get_span_context().trace_id:032x}"


def test_what_the_sdk_tells_is_read_back(url: str, told: str) -> None:
    """Kinds, nesting, attributes, the exception as an event and its status, the resource and links."""
    trace = read_trace(url, told)
    assert trace.edges() == [("sdk-rides", "server", "sdk-wallet")] and len(trace.spans) == 3
    (root,) = trace.roots()
    assert (root.service, root.instance, root.kind, root.error) == ("sdk-rides", "sdk-rides-1", "server", False)
    (hold,) = trace.spans_of("sdk-wallet")
    assert (hold.name, hold.error) == ("PUT /holds/{id}", True) and trace.orphans() == ()
    assert (hold.attributes["cents"], hold.attributes["ok"]) == (500, False)
    assert json.loads(str(hold.attributes["ids"])) == ["a", "b"]
    assert hold.attributes["otel.scope.version"] == "1.0" and hold.resource["telemetry.sdk.language"] == "python"
    (event,) = hold.events
    assert event.name == "exception" and event.attributes["exception.message"] == "the bank is silent"
    assert root.start <= hold.start <= event.at and 0 <= hold.seconds <= root.seconds
    assert hold.links == (Link(told, root.span_id),)


def test_traces_are_found_by_what_they_are_like(url: str, told: str) -> None:
    """Service, operation, tags, times: all of them narrow the search; whole traces come back."""
    (found,) = find_traces(
        url, service="sdk-wallet", operation="PUT /holds/{id}", tags={"error": "true", "cents": "500"}
    )
    assert found == read_trace(url, told)
    start = found.spans[0].start
    assert find_traces(url, service="sdk-rides", start=start - 1, end=start + 1) == (found,)
    assert find_traces(url, service="sdk-rides", end=start - 1) == ()
    assert find_traces(url, service="sdk-rides", min_seconds=3600) == ()
    assert find_traces(url, service="sdk-rides", tags={"error": "true"}) == ()


def test_the_store_lists_what_it_knows(url: str, told: str) -> None:
    """Services, operations, dependencies."""
    assert {"sdk-rides", "sdk-wallet"} <= set(read_services(url))
    assert read_operations(url, "sdk-rides") == ("POST /rides", "PUT") and read_operations(url, "no/body") == ()
    assert Dependency("sdk-rides", "sdk-wallet", 1) in read_dependencies(url)
    start = read_trace(url, told).spans[0].start
    assert Dependency("sdk-rides", "sdk-wallet", 1) in read_dependencies(url, start + 60, 120)


def test_a_trace_that_has_not_arrived_is_empty(url: str) -> None:
    """Whoever waits for a trace can ask for it before its first span is there."""
    assert read_trace(url, "feed") == Trace("feed")


def test_logs_of_the_sdk_are_read_back(url: str, told: str) -> None:
    """A logging handler of the real SDK exports records; the one inside a span carries its ids."""
    from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
    from opentelemetry.sdk._logs import LoggerProvider
    from opentelemetry.sdk._logs.export import BatchLogRecordProcessor

    session = requests.Session()
    session.trust_env = False
    logs = LoggerProvider(Resource.create({"service.name": "sdk-log"}), shutdown_on_exit=False)
    logs.add_log_record_processor(BatchLogRecordProcessor(OTLPLogExporter(f"{url}/v1/logs", session=session)))
    from opentelemetry._logs import LogRecord, SeverityNumber

    inside = set_span_in_context(
        api.NonRecordingSpan(api.SpanContext(int(told, 16), 7, False, api.TraceFlags(api.TraceFlags.SAMPLED)))
    )
    logs.get_logger("test").emit(
        LogRecord(body="hold refused", severity_number=SeverityNumber.WARN, attributes={"cents": 500}, context=inside)
    )
    assert logs.force_flush(SECONDS * 1000)
    logs.shutdown()
    (record,) = read_logs(url, trace=told)
    assert (record.service, record.severity, record.body) == ("sdk-log", "WARN", "hold refused")
    assert record.span_id == "0000000000000007" and record.attributes == {"cents": 500}
    assert read_logs(url, service="sdk-log", text="refused") == (record,) and logging.WARN == 30


@contextmanager
def answering(status: int, body: bytes) -> Iterator[str]:
    """Run a server that gives one answer to everything."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *arguments: object) -> None:
            """Say nothing."""

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever, args=[0.01])
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join(SECONDS)


ASKS: list[Callable[[str], object]] = [
    lambda url: read_trace(url, "1"),
    lambda url: find_traces(url, service="rides"),
    lambda url: read_dependencies(url),
    lambda url: read_logs(url),
]


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (200, b"<html>"),
        (200, b"[]"),
        (200, b'{"data": [7]}'),
        (200, b'{"data": 7}'),
        (500, b"{}"),
        (404, b"{}"),
        (404, b"7"),
    ],
)
def test_an_answer_that_is_not_jaegers_is_an_error_in_four_parts(status: int, body: bytes) -> None:
    """A page of something else, a broken frame, a 500: what, where, the evidence and what to do."""
    with answering(status, body) as url:
        for ask in ASKS:
            with pytest.raises(LabError) as caught:
                ask(url)
            assert caught.value.where.startswith(url) and caught.value.evidence and caught.value.next_step


def test_a_frame_without_data_is_nothing_found() -> None:
    """Jaeger writes null where there is nothing."""
    with answering(200, b'{"data": null}') as url:
        assert [ask(url) for ask in ASKS] == [Trace("1"), (), (), ()]


def test_a_store_that_does_not_run_is_named() -> None:
    """A refused connection and an address that is none are LabErrors with the reason."""
    for url in ("http://127.0.0.1:9", "nonsense", "http://127.0.0.1:port"):
        with pytest.raises(LabError, match="trace store") as caught:
            read_trace(url, "1")
        assert caught.value.evidence


def test_a_refused_question_says_why(url: str) -> None:
    """The store's own words are the evidence."""
    with pytest.raises(LabError) as caught:
        find_traces(url, service="rides", limit=0)
    assert "'limit'" in caught.value.evidence
