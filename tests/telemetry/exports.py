"""OTLP messages in a few words, and a trace store to send them to."""

from __future__ import annotations

from typing import Any

import httpx
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, KeyValue, KeyValueList
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

PROTOBUF = {"content-type": "application/x-protobuf"}
NOON = 1_800_000_000 * 10**9  # ns since 1970, a moment of no meaning


def value(plain: Any) -> AnyValue:
    """Return a plain value as OTLP writes it."""
    if isinstance(plain, bool):
        return AnyValue(bool_value=plain)
    if isinstance(plain, int):
        return AnyValue(int_value=plain)
    if isinstance(plain, float):
        return AnyValue(double_value=plain)
    if isinstance(plain, bytes):
        return AnyValue(bytes_value=plain)
    if isinstance(plain, list):
        return AnyValue(array_value=ArrayValue(values=map(value, plain)))
    if isinstance(plain, dict):
        return AnyValue(kvlist_value=KeyValueList(values=pairs(plain)))
    return AnyValue() if plain is None else AnyValue(string_value=plain)


def pairs(plain: dict[str, Any]) -> list[KeyValue]:
    """Return attributes."""
    return [KeyValue(key=key, value=value(each)) for key, each in plain.items()]


def number(size: int, text: int | bytes) -> bytes:
    """Return an id of `size` bytes from a small number; bytes stay as they are."""
    return text if isinstance(text, bytes) else text.to_bytes(size, "big")


def span(
    trace: int | bytes, own: int | bytes, parent: int | bytes = b"", *, ms: float = 0, takes: float = 1, **fields: Any
) -> Span:
    """Return a span that begins `ms` after noon and takes `takes` ms; `error` is what went wrong."""
    attributes = pairs(fields.pop("attributes", {}))
    if (error := fields.pop("error", None)) is not None:
        fields["status"] = Status(code=2, message=error)
    begins = NOON + int(ms * 10**6)
    return Span(
        trace_id=number(16, trace),
        span_id=number(8, own),
        parent_span_id=number(8, parent),
        attributes=attributes,
        **{
            "name": "work",
            "start_time_unix_nano": begins,
            "end_time_unix_nano": begins + int(takes * 10**6),
            **fields,
        },
    )


def resource(service: str, instance: str = "", **more: Any) -> Resource:
    """Return who tells."""
    named = {"service.name": service, "service.instance.id": instance}
    return Resource(attributes=pairs({key: text for key, text in named.items() if text} | more))


def export(**told: list[Span]) -> ExportTraceServiceRequest:
    """Return one export of the spans of several processes: `rides=[...]`, `rides_2=[...]` is the instance rides-2."""
    request = ExportTraceServiceRequest()
    for process, spans in told.items():
        service, _, instance = process.partition("_")
        of_process = request.resource_spans.add(resource=resource(service, f"{service}-{instance or 1}"))
        of_process.scope_spans.add().spans.extend(spans)
    return request


def log_export(service: str, *records: LogRecord) -> ExportLogsServiceRequest:
    """Return one export of log records."""
    request = ExportLogsServiceRequest()
    of_process = request.resource_logs.add(resource=resource(service, f"{service}-1"))
    of_process.scope_logs.add().log_records.extend(records)
    return request


def send(web: httpx.Client, **told: list[Span]) -> httpx.Response:
    """Export spans and see that the store takes them."""
    answer = web.post("/v1/traces", content=export(**told).SerializeToString(), headers=PROTOBUF)
    assert answer.status_code == 200, answer.text
    return answer


def ask(web: httpx.Client, path: str, status: int = 200, **parameters: Any) -> Any:
    """Ask Jaeger's query API; return the data, or the first error when the status is not 200."""
    answer = web.get(f"/api/{path}", params=parameters)
    assert answer.status_code == status, answer.text
    frame = answer.json()
    assert set(frame) == {"data", "total", "limit", "offset", "errors"}
    if status != 200:
        assert frame["data"] is None and frame["errors"][0]["code"] == status
        return frame["errors"][0]["msg"]
    assert frame["errors"] is None and frame["total"] == len(frame["data"])
    return frame["data"]
