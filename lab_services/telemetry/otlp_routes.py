"""The addresses at which a trace store is told something: OTLP/HTTP. `app.include_router(otlp_routes.telling)`

`app.state.store` is the SpanStore. A batch is answered when it is kept, so what an exporter has flushed can be read.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import Response
from fastapi.routing import APIRoute
from opentelemetry.proto.collector.logs.v1 import logs_service_pb2 as logs
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as traces
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect

from .otlp_body import (
    INVALID_ARGUMENT,
    JSON,
    PROTOBUF,
    UNAVAILABLE,
    Refused,
    decoded,
    encoded,
    encoding_of,
    media_type,
    read_body,
    status_body,
    unpacked,
)
from .otlp_rows import logs_in, spans_in
from .span_store import SpanStore

RETRY_SECONDS = "1"
NO_METRICS = "this store keeps traces and logs; metrics are scraped by Prometheus"


class StatusRoute(APIRoute):
    """Answers every refusal with a Status, in the request's own encoding; in JSON to who speaks neither."""

    def get_route_handler(self) -> Callable[[Request], Any]:
        """Return the handler, with our own answer to what it raises."""
        inner = super().get_route_handler()

        async def handler(request: Request) -> Any:
            try:
                return await inner(request)
            except Refused as error:
                refused = error
            except ClientDisconnect:  # an exporter that was killed: nobody hears the answer
                refused = Refused(400, INVALID_ARGUMENT, "the body is cut off")
            except sqlite3.Error as error:  # the exporter keeps the batch and tries again
                refused = Refused(503, UNAVAILABLE, f"the store cannot write: {error}", {"Retry-After": RETRY_SECONDS})
            kind = PROTOBUF if media_type(request.headers) == PROTOBUF else JSON
            return Response(status_body(refused, kind), refused.http, refused.headers, media_type=kind)

        return handler


telling = APIRouter(route_class=StatusRoute)


@telling.post("/v1/traces")
async def take_spans(request: Request) -> Response:
    """Keep an ExportTraceServiceRequest; spans that cannot be kept are counted in OTLP's partial success."""

    def keep(export: Any) -> Any:
        batch = spans_in(export)
        _store(request).add_spans(batch.rows)
        answer = traces.ExportTraceServiceResponse()
        if batch.refused:
            answer.partial_success.rejected_spans = batch.refused.total()
            answer.partial_success.error_message = batch.complaint()
        return answer

    return await _taken(request, traces.ExportTraceServiceRequest(), keep)


@telling.post("/v1/logs")
async def take_logs(request: Request) -> Response:
    """Keep an ExportLogsServiceRequest. A record has no id, so one that is exported again is kept again."""

    def keep(export: Any) -> Any:
        batch = logs_in(export)
        _store(request).add_logs(batch.rows)
        answer = logs.ExportLogsServiceResponse()
        if batch.refused:
            answer.partial_success.rejected_log_records = batch.refused.total()
            answer.partial_success.error_message = batch.complaint()
        return answer

    return await _taken(request, logs.ExportLogsServiceRequest(), keep)


@telling.post("/v1/metrics")
async def leave_metrics(request: Request) -> Response:
    """Read metrics, keep none, and say so: a service that exports everything to one place goes on."""
    from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2 as metrics  # only who sends some needs it

    def leave(export: Any) -> Any:
        found = [each for told in export.resource_metrics for scope in told.scope_metrics for each in scope.metrics]
        kinds = [(each, each.WhichOneof("data")) for each in found]
        answer = metrics.ExportMetricsServiceResponse()
        if points := sum(len(getattr(each, kind).data_points) for each, kind in kinds if kind):
            answer.partial_success.rejected_data_points = points
            answer.partial_success.error_message = NO_METRICS
        return answer

    return await _taken(request, metrics.ExportMetricsServiceRequest(), leave)


async def _taken(request: Request, export: Any, use: Callable[[Any], Any]) -> Response:
    """Fill `export` from the request, use it in a thread of its own, and answer in the request's encoding."""
    kind = encoding_of(request.headers)
    body = await read_body(request.stream())
    coding = request.headers.get("content-encoding", "")

    def answer() -> bytes:
        return encoded(use(decoded(unpacked(body, coding), kind, export)), kind)

    return Response(await run_in_threadpool(answer), media_type=kind)


def _store(request: Request) -> SpanStore:
    store: SpanStore = request.app.state.store
    return store
