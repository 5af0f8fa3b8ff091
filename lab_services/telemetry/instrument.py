"""Instrument a service's process, before the service is imported and without a change of its code.

What it answers is watched by FastAPI itself (0.165 traces and measures as soon as there are providers, and knows its
routes; opentelemetry-instrumentation-fastapi finds each route a second time) and, for gRPC, by `grpc_server`. What it
asks others is watched by the official instrumentation of httpx and gRPC, and messages by `nats_calls`. Spans go to
OTEL_EXPORTER_OTLP_ENDPOINT, metrics to whoever asks at METRICS_PORT. A finished service also logs lines of JSON; a
learner's program keeps its own way to log.

A program that uses prometheus_client with PROMETHEUS_MULTIPROC_DIR must have this variable in its environment: with
METRICS_PORT the library is imported here, before a program could set it.
"""

from __future__ import annotations

import functools
import logging
import os
from collections.abc import Callable, MutableMapping
from typing import TYPE_CHECKING, Any

import fastapi
from opentelemetry import metrics

from lab_services.telemetry.observations import Listener, Observations

if TYPE_CHECKING:
    from opentelemetry.sdk.trace.export import SpanExporter

    from lab_services.telemetry.red_metrics import MetricsPort
    from lab_services.telemetry.span_sending import Spans

FINISHED = "lab_services."
HEALTH, METRICS = "/health/", "/metrics"


class Instrumentation:
    """What watches one process, from before the import of its service until its last span is sent."""

    def __init__(self, target: str, traces: bool, exporter: SpanExporter | None = None) -> None:
        """Instrument this process, which will serve `module:attribute`; spans go by OTLP unless told otherwise."""
        os.environ.setdefault("OTEL_SEMCONV_STABILITY_OPT_IN", "http")  # http.route, not http.target
        self.logs_json = target.startswith(FINISHED)
        self._port: MetricsPort | None = None
        self._spans: Spans | None = None
        self._lost: Callable[[int, str], object] = lambda count, reason: None
        listeners: list[Listener] = []
        if self.logs_json:
            listeners.append(self._log_json())
        if os.environ.get("METRICS_PORT"):
            listeners.append(self._count(int(os.environ["METRICS_PORT"])))
        metrics.set_meter_provider(Observations(listeners))
        if traces:
            self._trace(exporter)
        _watch_fastapi()

    def serving(self) -> None:
        """Open the metrics port: the process answers from now on."""
        if self._port is not None:
            self._port.open()

    def leaving(self) -> None:
        """Close the metrics port: a newer process answers, or nobody."""
        if self._port is not None:
            self._port.close()

    def end(self) -> None:
        """Close the metrics port and send the last spans, within a bound whatever the collector does."""
        self.leaving()
        spans, self._spans = self._spans, None
        if spans is not None and not spans.end():
            logging.getLogger("telemetry").warning("left before the last spans were sent")

    def watched(self, app: Any) -> Any:
        """Return an app with the layer of opentelemetry-instrumentation-asgi around it, unless FastAPI does that."""
        if isinstance(app, fastapi.FastAPI) or not callable(app):
            return app
        from opentelemetry.instrumentation.asgi import OpenTelemetryMiddleware

        return OpenTelemetryMiddleware(app, excluded_urls=f"{HEALTH}.*,{METRICS}$", exclude_spans=["receive", "send"])

    def grpc_interceptors(self) -> list[Any]:
        """Return what watches the calls of a gRPC server."""
        from lab_services.telemetry.grpc_server import WatchedCalls

        return [WatchedCalls()]

    def _log_json(self) -> Listener:
        from lab_services.telemetry.json_logs import instance_of_this_process, log_json, log_work

        log_json(os.environ.get("SERVICE_NAME", "service"), instance_of_this_process())
        return log_work

    def _count(self, port: int) -> Listener:
        from lab_services.telemetry.red_metrics import MetricsPort, RedMetrics

        self._port = MetricsPort(port)
        red = RedMetrics()
        self._lost = red.lost
        return red

    def _trace(self, exporter: SpanExporter | None) -> None:
        from lab_services.telemetry.outgoing import instrument_outgoing
        from lab_services.telemetry.span_sending import Spans

        self._spans = Spans(self._lost, exporter)
        self._spans.install()
        instrument_outgoing()
        if "NATS_URL" in os.environ:
            from lab_services.telemetry.nats_calls import instrument_nats

            instrument_nats()


def is_probe(scope: MutableMapping[str, Any]) -> bool:
    """Say whether a request only asks how the service is: such requests are neither traced nor counted."""
    path = str(scope.get("path", ""))
    return path.startswith(HEALTH) or path == METRICS


def _watch_fastapi() -> None:
    """Let every app that is made from now on watch its requests, one span for each; what it says itself is kept."""
    made = fastapi.FastAPI.__init__
    if getattr(made, "watched", False):
        return

    @functools.wraps(made)
    def make(app: fastapi.FastAPI, *args: Any, **settings: Any) -> None:
        wishes = {"operation_spans": False, "auto_configure": False, "exclude": is_probe}
        made(app, *args, **{**settings, "telemetry": {**wishes, **(settings.get("telemetry") or {})}})

    make.watched = True  # type: ignore[attr-defined]
    fastapi.FastAPI.__init__ = make  # type: ignore[method-assign, assignment]
