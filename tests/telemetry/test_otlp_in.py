"""What the store takes from exporters, and how it refuses."""

from __future__ import annotations

import base64
import gzip
import json
import logging
import socket
import sqlite3
import zlib
from collections.abc import Iterator

import httpx
import pytest
from google.protobuf.json_format import MessageToDict
from google.rpc.status_pb2 import Status
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceResponse
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord

from lab_services.telemetry.otlp_body import MOST_BYTES
from tests.telemetry.exports import NOON, PROTOBUF, ask, export, log_export, pairs, send, span, value

JSON = {"content-type": "application/json"}
ENCODINGS = {"application/x-protobuf": PROTOBUF, "application/json": JSON}


def in_json(trace: int, **fields: object) -> bytes:
    """Return an export as OTLP/JSON writes it: hexadecimal ids, camelCase, numbers of 64 bits as strings."""
    one = {
        "traceId": f"{trace:032X}",
        "spanId": "00000000000000aa",
        "name": "start",
        "kind": 2,
        "startTimeUnixNano": str(NOON),
        "endTimeUnixNano": NOON + 5_000_000,
        "attributes": [
            {"key": "traceId", "value": {"stringValue": "not an id"}},
            {"key": "bytes", "value": {"bytesValue": "AP8="}},
            {"key": "count", "value": {"intValue": "7"}},
        ],
        "status": {"code": 2},
        "nobody.knows": [{"traceId": 5}],
        **fields,
    }
    attributes = [{"key": "service.name", "value": {"stringValue": "rides"}}]
    told = {"resource": {"attributes": attributes}, "scopeSpans": [{"spans": [one]}]}
    return json.dumps({"resourceSpans": [told]}).encode()


def spans_of(web: httpx.Client, trace: int) -> list[dict[str, object]]:
    return list(ask(web, f"traces/{trace:x}")[0]["spans"])


@pytest.mark.parametrize("coding", ["", "identity", "gzip", "GZIP", "deflate"])
def test_a_batch_is_taken_packed_or_not(web: httpx.Client, trace: int, coding: str) -> None:
    """Protobuf in each content coding is answered with 200 and an empty response: nothing was refused."""
    body = export(rides=[span(trace, 1)], pricing=[span(trace, 2, 1)]).SerializeToString()
    packed = {"gzip": gzip.compress, "deflate": zlib.compress}.get(coding.lower(), bytes)(body)
    headers = PROTOBUF | ({"content-encoding": coding} if coding else {})
    answer = web.post("/v1/traces", content=packed, headers=headers)
    assert (answer.status_code, answer.content, answer.headers["content-type"]) == (200, b"", PROTOBUF["content-type"])
    assert len(spans_of(web, trace)) == 2


def test_json_is_taken_and_answered_in_json(web: httpx.Client, trace: int) -> None:
    """Ids are hexadecimal in either case, an attribute of that name is none, and unknown fields are left out."""
    answer = web.post("/v1/traces", content=in_json(trace), headers={"content-type": "application/json; charset=utf-8"})
    assert answer.status_code == 200 and answer.json() == {}
    assert answer.headers["content-type"] == "application/json"
    (found,) = spans_of(web, trace)
    tags = {tag["key"]: (tag["type"], tag["value"]) for tag in found["tags"]}  # type: ignore[attr-defined]
    assert tags["traceId"] == ("string", "not an id") and tags["count"] == ("int64", 7)
    assert tags["bytes"] == ("binary", base64.b64encode(b"\x00\xff").decode())
    assert tags["error"] == ("bool", True) and tags["span.kind"] == ("string", "server")
    assert (found["spanID"], found["duration"]) == ("00000000000000aa", 5000)


@pytest.mark.parametrize("path", ["/v1/traces", "/v1/logs", "/v1/metrics"])
def test_an_empty_export_is_a_good_one(web: httpx.Client, path: str) -> None:
    """No bytes are a message of protobuf without fields; in JSON it is {}."""
    assert web.post(path, content=b"", headers=PROTOBUF).status_code == 200
    assert web.post(path, content=b"{}", headers=JSON).json() == {}


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ({"trace": b""}, "trace id"),
        ({"trace": bytes(16)}, "trace id"),
        ({"trace": b"x" * 15}, "trace id"),
        ({"own": bytes(8)}, "span id"),
        ({"own": b"x" * 16}, "span id"),
        ({"parent": b"x"}, "parent span id"),
        ({"start_time_unix_nano": 2**64 - 1}, "2262"),
    ],
)
def test_spans_that_cannot_be_kept_are_counted_and_the_rest_is_kept(
    web: httpx.Client, trace: int, wrong: dict[str, object], reason: str
) -> None:
    """OTLP's partial success says how many and why; the good spans of the batch are there."""
    bad = span(**{"trace": trace, "own": 2, "parent": 1, **wrong})  # type: ignore[arg-type]
    answer = send(web, rides=[span(trace, 1), bad], pricing=[bad])
    said = ExportTraceServiceResponse.FromString(answer.content).partial_success
    assert said.rejected_spans == 2 and said.error_message.startswith("2 with ") and reason in said.error_message
    assert len(spans_of(web, trace)) == 1


def test_an_id_in_json_that_is_no_hexadecimal_spoils_its_span_alone(web: httpx.Client, trace: int) -> None:
    """The answer is a partial success in JSON, where numbers of 64 bits are strings."""
    answer = web.post("/v1/traces", content=in_json(trace, spanId="not hex"), headers=JSON)
    assert answer.status_code == 200 and answer.json()["partialSuccess"]["rejectedSpans"] == "1"


def test_a_parent_of_zeros_is_none(web: httpx.Client, trace: int) -> None:
    """Some exporters write eight zero bytes for a root."""
    send(web, rides=[span(trace, 1, bytes(8))])
    assert spans_of(web, trace)[0]["references"] == []


def test_a_span_that_is_sent_again_replaces_itself(web: httpx.Client, trace: int) -> None:
    """An exporter that saw no answer sends the batch again: the span is there once, as it was told last."""
    send(web, rides=[span(trace, 1, name="first")])
    send(web, rides=[span(trace, 1, name="second"), span(trace, 1, name="third")], pricing=[span(trace, 2)])
    assert [each["operationName"] for each in spans_of(web, trace)] == ["third", "work"]


def test_one_id_told_by_two_processes_is_two_spans(web: httpx.Client, trace: int) -> None:
    """A service that makes its spans with the id of another must not hide the other's span."""
    send(web, rides=[span(trace, 1)], pricing=[span(trace, 1)])
    assert len(spans_of(web, trace)) == 2


BOMB = gzip.compress(bytes(MOST_BYTES + 1))
CUT = gzip.compress(b"some bytes")[:-3]


@pytest.mark.parametrize("kind", list(ENCODINGS))
@pytest.mark.parametrize(
    ("body", "headers", "status", "why"),
    [
        (b"\xff\xff\xff", {}, 400, "is no Export"),
        (b"[" * 100_000, {}, 400, "is no Export"),
        (b"\n\xff\xff\xff\xff\x0f", {}, 400, "is no Export"),
        (b"not gzip", {"content-encoding": "gzip"}, 400, "is no gzip"),
        (b"", {"content-encoding": "gzip"}, 400, "cut off"),
        (CUT, {"content-encoding": "gzip"}, 400, "cut off"),
        (gzip.compress(b"") * 2, {"content-encoding": "gzip"}, 400, "goes on"),
        (b"", {"content-encoding": "br"}, 415, "unpacks gzip"),
        (BOMB, {"content-encoding": "gzip"}, 413, "smaller batches"),
        (bytes(MOST_BYTES + 1), {}, 413, "smaller batches"),
    ],
    ids=["bytes", "deep", "length", "no gzip", "empty gzip", "cut", "two", "brotli", "bomb", "large"],
)
def test_what_cannot_be_read_is_refused_with_a_status(
    web: httpx.Client, kind: str, body: bytes, headers: dict[str, str], status: int, why: str
) -> None:
    """The refusal carries a google.rpc.Status in the request's own encoding, for traces and logs alike."""
    for path in ("/v1/traces", "/v1/logs"):
        answer = web.post(path, content=body, headers=ENCODINGS[kind] | headers)
        assert answer.status_code == status and answer.headers["content-type"] == kind
        if kind == "application/json":
            said = answer.json()
            assert why in said["message"] and said["code"]
        else:
            assert why in Status.FromString(answer.content).message


@pytest.mark.parametrize(
    "text",
    ["", "[]", "7", "null", '{"resourceSpans": 5}', '{"resourceSpans": [5]}', '{"resourceSpans": {"a": 1}}',
     '{"resourceSpans": [{"scopeSpans": [{"spans": [{"name": "\\ud800"}]}]}]}',
     '{"resourceSpans": [{"scopeSpans": [{"spans": [{"startTimeUnixNano": -1}]}]}]}',
     '{"resourceSpans": [{"scopeSpans": [{"spans": [{"startTimeUnixNano": 1e400}]}]}]}'],
)  # fmt: skip
def test_json_that_is_no_export_is_refused(web: httpx.Client, text: str) -> None:
    """Values of a wrong type, half a character, numbers out of range: 400, and nothing of our code in the answer."""
    answer = web.post("/v1/traces", content=text.encode(), headers=JSON)
    assert answer.status_code == 400 and set(answer.json()) == {"code", "message"}
    assert "Traceback" not in answer.text


@pytest.mark.parametrize("kind", ["text/plain", "", "multipart/form-data"])
def test_another_media_type_is_refused(web: httpx.Client, kind: str) -> None:
    """415 says what is taken; who speaks neither encoding is answered in JSON."""
    answer = web.post("/v1/traces", content=b"spans", headers={"content-type": kind})
    assert answer.status_code == 415 and "application/x-protobuf" in answer.headers["accept"]
    assert answer.json()["code"] == 3


def test_a_body_in_parts_that_never_ends_is_refused(web: httpx.Client) -> None:
    """Without a Content-Length the bound holds as well, and the client hears why."""

    def parts() -> Iterator[bytes]:
        for _ in range(MOST_BYTES // 2**20 + 3):
            yield bytes(2**20)

    answer = web.post("/v1/traces", content=parts(), headers=PROTOBUF)
    assert answer.status_code == 413 and answer.headers["connection"] == "close"


def test_an_exporter_that_dies_while_it_sends_harms_nobody(
    web: httpx.Client, trace: int, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half of a body keeps nothing, the store goes on, and no traceback is in its log."""
    monkeypatch.setattr(logging.getLogger("uvicorn.error"), "handlers", [caplog.handler])
    body = export(rides=[span(trace, 1)]).SerializeToString()
    head = f"POST /v1/traces HTTP/1.1\r\nHost: a\r\nContent-Type: application/x-protobuf\r\nContent-Length: {len(body)}"
    with socket.create_connection((web.base_url.host, web.base_url.port or 0), 5) as line:
        line.sendall(f"{head}\r\nExpect: 100-continue\r\n\r\n".encode())
        assert line.recv(100).startswith(b"HTTP/1.1 100 ")  # the store reads the body
        line.sendall(body[:-1])
    send(web, rides=[span(trace, 2)])
    assert [each["spanID"] for each in spans_of(web, trace)] == ["0000000000000002"]
    assert caplog.text == ""


def test_metrics_are_read_and_left(web: httpx.Client) -> None:
    """Whoever exports everything to one place goes on, and is told that its points are not kept."""
    request = ExportMetricsServiceRequest()
    metric = request.resource_metrics.add().scope_metrics.add().metrics.add(name="rides_total")
    metric.sum.data_points.add(as_int=3)
    metric.sum.data_points.add(as_int=4)
    answer = web.post("/v1/metrics", content=request.SerializeToString(), headers=PROTOBUF)
    said = ExportMetricsServiceResponse.FromString(answer.content).partial_success
    assert answer.status_code == 200 and said.rejected_data_points == 2 and "Prometheus" in said.error_message
    assert web.post("/v1/metrics", content=b"\xff", headers=PROTOBUF).status_code == 400


def test_log_records_are_kept_with_their_trace(web: httpx.Client, trace: int) -> None:
    """A record without a time has the one at which it was seen; ids of a wrong length are none; NaN is a word."""
    trace_id = trace.to_bytes(16, "big")
    odd = {"price": float("nan"), "list": [1, None, {"a": b"\x00"}], "none": None}
    records = [
        LogRecord(
            time_unix_nano=NOON + 2 * 10**9,
            severity_number=17,
            body=value("bank timed out"),
            attributes=pairs(odd),
            trace_id=trace_id,
            span_id=b"12345678",
        ),
        LogRecord(
            observed_time_unix_nano=NOON, severity_text="info", body=value({"a": 1}), trace_id=trace_id, span_id=b"7"
        ),
        LogRecord(time_unix_nano=2**64 - 1, trace_id=trace_id),
    ]
    answer = web.post("/v1/logs", content=log_export("wallet", *records).SerializeToString(), headers=PROTOBUF)
    said = ExportLogsServiceResponse.FromString(answer.content).partial_success
    assert MessageToDict(said) == {"rejectedLogRecords": "1", "errorMessage": "1 with a time after the year 2262"}
    first, second = ask(web, "logs", trace=f"{trace:x}")
    assert (first["severity"], first["body"], first["spanID"]) == ("info", '{"a": 1}', "")
    assert (second["severity"], second["body"], second["instance"]) == ("ERROR", "bank timed out", "wallet-1")
    assert second["attributes"] == {"price": "nan", "list": [1, None, {"a": "AA=="}], "none": None}
    assert second["time"] == "2027-01-15T08:00:02.000+00:00" and second["timestamp"] == (NOON + 2 * 10**9) // 1000


def test_a_store_that_cannot_write_asks_to_try_again(web: httpx.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """503 and Retry-After are what an exporter keeps its batch for; the Status says UNAVAILABLE."""
    from lab_services.bikeshare.traces import app

    def full(told: object) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr(app.state.store, "add_spans", full)
    answer = web.post("/v1/traces", content=export(rides=[span(1, 1)]).SerializeToString(), headers=PROTOBUF)
    said = Status.FromString(answer.content)
    assert (answer.status_code, answer.headers["retry-after"], said.code) == (503, "1", 14)
    assert "disk is full" in said.message
