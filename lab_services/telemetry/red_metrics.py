"""Rate, errors and duration of what a service answers, as metrics of Prometheus, and the port where it reads them.

Names and units by https://prometheus.io/docs/practices/naming/. Every label has few values, whatever callers send: a
path that no route has is "unmatched", a method that HTTP does not know "_OTHER", a subject is cut to its pattern.
"""

from __future__ import annotations

import logging
import socket
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, make_server

from opentelemetry import trace
from prometheus_client import (
    REGISTRY,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
    make_wsgi_app,
)
from prometheus_client.exposition import ThreadingWSGIServer

from lab_services.telemetry import observations as seen

HOST = "127.0.0.1"
BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.75, 1.0, 2.5, 5.0)  # the objective is 0.5 s
MOST_VALUES = 100  # of one label; what comes then is "other"
UNMATCHED, OTHER = "unmatched", "other"
log = logging.getLogger("telemetry")


@dataclass(frozen=True)
class _Family:
    """What is kept of one kind of work; `labels` makes the values of the labels from the facts of a measurement."""

    total: Counter
    seconds: Histogram
    active: Gauge
    labels: Callable[[Mapping[str, Any]], tuple[str, ...]]


class RedMetrics:
    """Counts and times requests, calls and messages; hears of them as a listener of Observations."""

    def __init__(self, registry: CollectorRegistry = REGISTRY) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]  # a second series beside each counter, which nobody here reads
        self._values: dict[str, set[str]] = {}
        http = ("method", "route", "status")
        self._families = {
            "http": _Family(
                Counter("http_server_requests", "HTTP requests answered.", http, registry=registry),
                _histogram("http_server_request_duration_seconds", "Time until an answer was sent.", http, registry),
                Gauge("http_server_active_requests", "HTTP requests in progress.", registry=registry),
                self._http,
            ),
            "rpc": _Family(
                Counter("grpc_server_calls", "gRPC calls answered.", ("method", "code"), registry=registry),
                _histogram("grpc_server_call_duration_seconds", "Time of a call.", ("method", "code"), registry),
                Gauge("grpc_server_active_calls", "gRPC calls in progress.", registry=registry),
                self._rpc,
            ),
            "messaging": _Family(
                Counter("messages_handled", "Messages handled.", ("subject", "outcome"), registry=registry),
                _histogram("message_handling_duration_seconds", "Time of a message.", ("subject", "outcome"), registry),
                Gauge("messages_active", "Messages being handled.", registry=registry),
                self._message,
            ),
        }
        self._dropped = Counter("spans_dropped", "Spans that no collector has got.", ("reason",), registry=registry)

    def __call__(self, name: str, value: float, facts: seen.Facts) -> None:
        """Take one measurement; of a span that is kept, its trace id goes along as an exemplar."""
        family = self._families[name.partition(".")[0]]
        if name in seen.ACTIVES:
            family.active.inc(value)
            return
        labels, exemplar = family.labels(facts), _exemplar()
        family.total.labels(*labels).inc()
        family.seconds.labels(*labels).observe(value, exemplar)

    def lost(self, count: int, reason: str) -> None:
        """Count spans that were dropped."""
        self._dropped.labels(reason).inc(count)

    def _http(self, facts: seen.Facts) -> tuple[str, ...]:
        status = facts.get("http.response.status_code", "none")  # none: the caller went away
        route = self._few("route", str(facts.get("http.route", UNMATCHED)))
        return str(facts.get("http.request.method", "_OTHER")), route, str(status)

    def _rpc(self, facts: seen.Facts) -> tuple[str, ...]:
        return self._few("rpc", str(facts["rpc.method"])), str(facts["rpc.response.status_code"])

    def _message(self, facts: seen.Facts) -> tuple[str, ...]:
        subject = self._few("subject", str(facts["messaging.destination.template"]))
        return subject, "failed" if "error.type" in facts else "done"

    def _few(self, label: str, value: str) -> str:
        """Return the value, or "other" when the label has too many already."""
        values = self._values.setdefault(label, set())
        if value not in values:
            if len(values) >= MOST_VALUES:
                return OTHER
            values.add(value)
        return value


def _histogram(name: str, about: str, labels: tuple[str, ...], registry: CollectorRegistry) -> Histogram:
    return Histogram(name, about, labels, buckets=BUCKETS, registry=registry)


def _exemplar() -> dict[str, str] | None:
    context = trace.get_current_span().get_span_context()
    sampled = context.is_valid and context.trace_flags.sampled
    return {"trace_id": trace.format_trace_id(context.trace_id)} if sampled else None


class _Server(ThreadingWSGIServer):
    allow_reuse_address = True
    allow_reuse_port = True  # the lab has reserved the number, and at a restart the older process still listens
    daemon_threads = True


class _Silent(WSGIRequestHandler):
    timeout = 5.0  # seconds without a byte; a scrape is done in some milliseconds

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing: a scrape every second is no news."""


class MetricsPort:
    """GET /metrics on 127.0.0.1, as text or as OpenMetrics by what is asked for; in threads of its own."""

    def __init__(self, number: int, registry: CollectorRegistry = REGISTRY) -> None:
        self._number, self._registry = number, registry
        self._server: Any = None

    def open(self) -> None:
        """Answer from now on; a port that cannot be had is logged, and the service goes on without."""
        try:
            self._server = make_server(HOST, self._number, make_wsgi_app(self._registry), _Server, _Silent)
        except OSError as error:
            log.warning("nobody can read the metrics: port %d: %s", self._number, error)
            return
        threading.Thread(target=self._server.serve_forever, args=[0.05], name="metrics", daemon=True).start()

    def close(self) -> None:
        """Answer no more: whoever asks next is answered by the newer process, or refused."""
        server, self._server = self._server, None
        if server is None:
            return
        with suppress(OSError):  # BSD and macOS refuse this of a socket that listens, and go on until the next look
            server.socket.shutdown(socket.SHUT_RDWR)  # a close alone waits for the loop, and is sent callers meanwhile
        server.shutdown()
        server.server_close()
