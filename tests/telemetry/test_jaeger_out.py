"""Answers in Jaeger's form, and questions that cannot be answered."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest
from opentelemetry.proto.common.v1.common_pb2 import InstrumentationScope
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from lab_services.telemetry.span_search import BadQuestion, duration
from tests.telemetry.exports import NOON, PROTOBUF, ask, export, log_export, pairs, send, span, value

US = NOON // 1000
ODD = {
    "text": "a", "empty": "", "yes": True, "no": False, "zero": 0, "big": 2**63 - 1, "half": 0.5, "nan": float("nan"),
    "bytes": b"\x00\xff", "list": ["a", 1, [True]], "map": {"a": {"b": 1}}, "none": None, "\u20ac \"'": "<b>\u2028",
}  # fmt: skip


def ids(found: list[dict[str, Any]]) -> list[int]:
    return [int(each["traceID"], 16) for each in found]


def search(web: httpx.Client, **asked: Any) -> list[int]:
    return ids(ask(web, "traces", **asked))


def test_every_kind_of_value_becomes_a_tag(web: httpx.Client, trace: int) -> None:
    """Types are Jaeger's; lists and maps are strings of JSON, and so is what JSON has no number for."""
    send(web, rides=[span(trace, 1, attributes=ODD)])
    tags = ask(web, f"traces/{trace:x}")[0]["spans"][0]["tags"]
    assert {tag["key"]: (tag["type"], tag["value"]) for tag in tags} == {
        "text": ("string", "a"), "empty": ("string", ""), "yes": ("bool", True), "no": ("bool", False),
        "zero": ("int64", 0), "big": ("int64", 2**63 - 1), "half": ("float64", 0.5), "nan": ("string", "nan"),
        "bytes": ("binary", "AP8="), "list": ("string", '["a", 1, [true]]'), "map": ("string", '{"a": {"b": 1}}'),
        "none": ("string", "null"), "\u20ac \"'": ("string", "<b>\u2028"),
    }  # fmt: skip


def test_a_span_is_said_whole(web: httpx.Client, trace: int) -> None:
    """Parent and links, events, status, kind, scope, times in \u00b5s, and the process that tells it."""
    other = span(trace, 9)
    one = span(
        trace, 2, 1, name="charge", kind=3, ms=5, takes=2.5, error="bank timed out",
        trace_state="a=b",
        events=[Span.Event(time_unix_nano=NOON + 6_000_000, name="exception", attributes=pairs({"try": 2}))],
        links=[Span.Link(trace_id=other.trace_id, span_id=other.span_id), Span.Link(trace_id=b"short")],
    )  # fmt: skip
    request = export(wallet=[one])
    request.resource_spans[0].scope_spans[0].scope.CopyFrom(InstrumentationScope(name="by hand", version="1"))
    assert web.post("/v1/traces", content=request.SerializeToString(), headers=PROTOBUF).status_code == 200
    (found,) = ask(web, f"traces/{trace:032x}")
    (told,) = found["spans"]
    assert found["processes"] == {
        "p1": {
            "serviceName": "wallet",
            "tags": [{"key": "service.instance.id", "type": "string", "value": "wallet-1"}],
        }
    }
    assert told["references"] == [
        {"refType": "CHILD_OF", "traceID": f"{trace:032x}", "spanID": "0000000000000001"},
        {"refType": "FOLLOWS_FROM", "traceID": f"{trace:032x}", "spanID": "0000000000000009"},
    ]
    assert {tag["key"]: tag["value"] for tag in told["tags"]} == {
        "span.kind": "client", "otel.status_code": "ERROR", "error": True, "otel.status_description": "bank timed out",
        "otel.scope.name": "by hand", "otel.scope.version": "1", "w3c.tracestate": "a=b",
    }  # fmt: skip
    fields = [{"key": "event", "type": "string", "value": "exception"}, {"key": "try", "type": "int64", "value": 2}]
    assert told["logs"] == [{"timestamp": US + 6000, "fields": fields}]
    assert (told["operationName"], told["startTime"], told["duration"]) == ("charge", US + 5000, 2500)
    assert (told["processID"], told["traceID"], told["warnings"]) == ("p1", f"{trace:032x}", None)


def test_each_instance_is_a_process_of_its_own(web: httpx.Client, trace: int) -> None:
    """Two replicas of pricing are two processes of one service; two batches of one replica are one."""
    send(web, pricing_1=[span(trace, 1)], pricing_2=[span(trace, 2, ms=1)])
    send(web, pricing_1=[span(trace, 3, ms=2)])
    (found,) = ask(web, f"traces/{trace:x}")
    assert [each["processID"] for each in found["spans"]] == ["p1", "p2", "p1"]
    assert [each["tags"][0]["value"] for each in found["processes"].values()] == ["pricing-1", "pricing-2"]


def test_a_span_that_ends_before_it_begins_is_shown_with_a_warning(web: httpx.Client, trace: int) -> None:
    """A clock that was set back makes no negative duration."""
    send(web, rides=[span(trace, 1, takes=-3)])
    (told,) = ask(web, f"traces/{trace:x}")[0]["spans"]
    assert told["duration"] == 0 and "ends before it begins" in told["warnings"][0]


def test_services_and_operations_are_listed_once(web: httpx.Client, trace: int) -> None:
    """Names are sorted; a slash in a service's name is part of it; whoever says no name is unknown_service."""
    request = export(depot=[span(trace, 1, name="b"), span(trace, 2, name="a"), span(trace, 3, name="b")])
    request.resource_spans.add().scope_spans.add().spans.append(span(trace, 4))
    request.resource_spans.add().CopyFrom(export(**{"north/depot": [span(trace, 5, name="c")]}).resource_spans[0])
    assert web.post("/v1/traces", content=request.SerializeToString(), headers=PROTOBUF).status_code == 200
    assert {"depot", "north/depot", "unknown_service"} <= set(ask(web, "services"))
    assert ask(web, "services/depot/operations") == ["a", "b"]
    assert ask(web, "services/north%2Fdepot/operations") == ask(web, "services/north/depot/operations") == ["c"]
    assert ask(web, "services/nobody/operations") == []


def test_a_search_looks_for_one_span_that_fits_in_all(web: httpx.Client) -> None:
    """Service, operation, tags, moment and duration: whole traces come back, those with the latest span first."""
    first, second, third = 0xA1, 0xA2, 0xA3
    send(web, finder=[span(first, 1, name="start", ms=0, takes=10, attributes={"http.status": 500, "bike": "b-1"})])
    send(web, finder=[span(second, 1, name="start", ms=100, takes=20, error="no")], other=[span(second, 2, 1, ms=101)])
    send(web, finder=[span(third, 1, name="end", ms=200, takes=30, attributes={"share": 0.5, "bike": "b-2"})])
    assert search(web, service="finder") == [third, second, first]
    assert search(web, service="finder", limit=2) == [third, second]
    assert search(web, service="finder", operation="start") == [second, first]
    assert search(web, service="finder", tags='{"error":"true"}') == [second]
    assert search(web, service="other", tags='{"error":"true"}') == []
    assert search(web, service="finder", tags='{"http.status":"500","bike":"b-1"}') == [first]
    assert search(web, service="finder", tag=["http.status:500", "bike:b-2"]) == []
    assert search(web, service="finder", tag="share:0.5") == [third]
    assert search(web, service="finder", tag="service.instance.id:finder-1", limit=1) == [third]
    assert search(web, service="finder", minDuration="15ms", maxDuration="0.025s") == [second]
    assert search(web, service="finder", start=US + 50_000, end=US + 150_000) == [second]
    assert search(web, service="nobody") == []
    found = ask(web, "traces", service="finder", operation="start", limit=1)
    assert len(found[0]["spans"]) == 2
    assert ids(ask(web, "traces", traceID=[f"{first:x}", "ffff"])) == [first]


def test_a_tag_of_an_event_is_found(web: httpx.Client, trace: int) -> None:
    """An exception's type stands in an event: Jaeger's search finds it there."""
    event = Span.Event(name="exception", attributes=pairs({"exception.type": "Timeout"}))
    send(web, thrower=[span(trace, 1, events=[event])])
    assert search(web, service="thrower", tags='{"exception.type":"Timeout"}') == [trace]


@pytest.mark.parametrize(
    ("path", "asked", "why"),
    [
        ("traces", {}, "'service' is required"),
        ("traces", {"service": "a", "limit": "0"}, "'limit'"),
        ("traces", {"service": "a", "limit": "9" * 5000}, "'limit'"),
        ("traces", {"service": "a", "start": "yesterday"}, "'start'"),
        ("traces", {"service": "a", "minDuration": "5"}, "a duration is"),
        ("traces", {"service": "a", "maxDuration": "-1s"}, "a duration is"),
        ("traces", {"service": "a", "tags": "error=true"}, "'tags'"),
        ("traces", {"service": "a", "tags": '{"error":true}'}, "'tags'"),
        ("traces", {"service": "a", "tags": "[" * 2000}, "'tags'"),
        ("traces", {"service": "a", "tag": "error"}, "'tag'"),
        ("traces", {"traceID": "x"}, "a trace id is"),
        ("traces/' OR 1=1", {}, "a trace id is"),
        ("dependencies", {"endTs": "now"}, "'endTs'"),
        ("logs", {"trace": "0" * 33}, "a trace id is"),
        ("logs", {"limit": "many"}, "'limit'"),
    ],
)
def test_a_question_that_makes_no_sense_is_refused(
    web: httpx.Client, path: str, asked: dict[str, str], why: str
) -> None:
    """400 in Jaeger's frame, with the parameter's name; nothing endless is echoed."""
    said = ask(web, path, 400, **asked)
    assert why in said and len(said) < 200


def test_a_trace_that_nobody_knows_is_not_found(web: httpx.Client) -> None:
    """404 in Jaeger's own words."""
    assert ask(web, "traces/feed", 404) == "trace not found"


def test_dependencies_count_the_calls_between_services(web: httpx.Client, trace: int) -> None:
    """A call is a span whose parent is another service's; calls inside a service and orphans are none."""
    send(
        web,
        alpha=[span(trace, 1), span(trace, 2, 1), span(trace, 3, 1)],
        beta=[span(trace, 4, 2), span(trace, 5, 3), span(trace, 6, 5)],
        gamma=[span(trace, 7, 6, ms=5000), span(trace, 8, 99)],
    )
    there = [each for each in ask(web, "dependencies") if each["parent"] in {"alpha", "beta", "gamma"}]
    expected = [
        {"parent": "alpha", "child": "beta", "callCount": 2},
        {"parent": "beta", "child": "gamma", "callCount": 1},
    ]
    assert there == expected
    noon = NOON // 10**6
    then = ask(web, "dependencies", endTs=noon + 1000, lookback=2000)
    assert expected[0] in then and expected[1] not in then


def test_logs_are_found_by_trace_service_and_text(web: httpx.Client, trace: int) -> None:
    """The last ones, as time went; the text may stand in the body or in an attribute, and is no pattern."""
    records = [
        LogRecord(
            time_unix_nano=NOON + at, body=value(f"line {at} 100%"), attributes=pairs({"rider": f"ada{at}"}),
            trace_id=trace.to_bytes(16, "big") if at % 2 else b"",
        )
        for at in (3, 1, 2)
    ]  # fmt: skip
    sent = log_export("scribe", *records).SerializeToString()
    assert web.post("/v1/logs", content=sent, headers=PROTOBUF).status_code == 200

    def bodies(**asked: Any) -> list[str]:
        return [each["body"] for each in ask(web, "logs", **asked)]

    assert bodies(service="scribe") == ["line 1 100%", "line 2 100%", "line 3 100%"]
    assert bodies(service="scribe", limit=1) == ["line 3 100%"]
    assert bodies(trace=f"{trace:032X}") == ["line 1 100%", "line 3 100%"]
    assert bodies(service="scribe", text="ada2") == ["line 2 100%"]
    assert bodies(service="scribe", text="100%") and not bodies(service="scribe", text="1%0")
    assert bodies(service="nobody") == []


def test_durations_are_written_as_in_go() -> None:
    """Units may be combined; a number alone is none, except 0."""
    assert [duration(text) for text in ("0", "1s", "1.5ms", "2us", "2\u00b5s", "1h2m3s", ".5s")] == [
        0, 10**9, 1_500_000, 2000, 2000, 3723 * 10**9, 5 * 10**8,
    ]  # fmt: skip
    for wrong in ("", "s", "1", "1 s", "-1s", "1s ", "1d", "1e3s"):
        with pytest.raises(BadQuestion):
            duration(wrong)
    assert duration("9" * 40 + "h") == 2**63 - 1


def test_every_answer_is_json(web: httpx.Client, trace: int) -> None:
    """The text that the store has put together by hand can be read by any reader of strict JSON."""
    send(web, rides=[span(trace, 1, name='"\\\x00\x1f\u2028', attributes=ODD | {'"\\\n': '"\\\n'})])
    answer = web.get(f"/api/traces/{trace:x}")
    found = json.loads(answer.text, parse_constant=lambda word: pytest.fail(f"{word} is no JSON"))
    assert found["data"][0]["spans"][0]["operationName"] == '"\\\x00\x1f\u2028'
