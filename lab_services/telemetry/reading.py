"""Ask a trace store, ours or a real Jaeger, through Jaeger's query API; `read_logs` alone is answered by ours only.

    trace = read_trace(lab["traces"].url, trace_id)
    assert len(trace.roots()) == 1 and not trace.orphans()
    failed = find_traces(lab["traces"].url, service="rides", tags={"error": "true"})

Everything is read as it is now: a span that an exporter still holds back is not there yet.
"""

from __future__ import annotations

import json
import urllib.parse
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import httpx

from ..errors import LabError
from .spans import Dependency, Event, Link, LogRecord, Span, Trace

__all__ = [
    "Dependency",
    "Event",
    "Link",
    "LogRecord",
    "Span",
    "Trace",
    "find_traces",
    "read_dependencies",
    "read_logs",
    "read_operations",
    "read_services",
    "read_trace",
]

ANSWER_SECONDS = 10.0
MOST_TRACES = 20
_TAKEN = ("span.kind",)  # what has a field of its own
Read = TypeVar("Read")


def read_trace(url: str, trace_id: str) -> Trace:
    """Return a trace with all its spans until now; a trace that nobody has heard of yet has none.

    Raises:
        LabError: the store does not answer, or answers something else than Jaeger would.
    """
    found = _ask(url, f"/api/traces/{_part(trace_id)}", {}, _traces)
    return found[0] if found else Trace(trace_id)


def find_traces(
    url: str,
    *,
    service: str,
    operation: str = "",
    tags: Mapping[str, str] | None = None,
    start: float | None = None,
    end: float | None = None,
    min_seconds: float = 0,
    limit: int = MOST_TRACES,
) -> tuple[Trace, ...]:
    """Return whole traces in which one span is of this service and has all that is asked for; the latest first.

    `operation` is the name of the span. `tags` are compared as text: {"error": "true"}. The span began between `start`
    and `end`, in seconds since 1970, and took at least `min_seconds`.

    Raises:
        LabError: the store does not answer, or refuses the question.
    """
    asked = {"service": service, "operation": operation, "limit": str(limit)}
    asked["tags"] = json.dumps(dict(tags)) if tags else ""
    asked["start"], asked["end"] = ("" if each is None else str(int(each * 1e6)) for each in (start, end))
    asked["minDuration"] = f"{round(min_seconds * 1e6)}us" if min_seconds else ""
    found = _ask(url, "/api/traces", {key: value for key, value in asked.items() if value}, _traces)
    return tuple(sorted(found, key=lambda trace: max(span.start for span in trace.spans), reverse=True))


def read_services(url: str) -> tuple[str, ...]:
    """Return the names of all services that have told a span.

    Raises:
        LabError: the store does not answer.
    """
    return _ask(url, "/api/services", {}, lambda data: tuple(sorted(map(str, data))))


def read_operations(url: str, service: str) -> tuple[str, ...]:
    """Return the names of a service's spans, each once.

    Raises:
        LabError: the store does not answer.
    """
    path = f"/api/services/{_part(service)}/operations"
    return _ask(url, path, {}, lambda data: tuple(sorted(map(str, data))))


def read_dependencies(url: str, end: float | None = None, seconds: float | None = None) -> tuple[Dependency, ...]:
    """Return who has called whom how often in the last `seconds` before `end`, or at all.

    A real Jaeger wants both.

    Raises:
        LabError: the store does not answer.
    """
    asked = {"endTs": end, "lookback": seconds}
    there = {key: str(int(value * 1000)) for key, value in asked.items() if value is not None}
    return _ask(
        url,
        "/api/dependencies",
        there,
        lambda data: tuple(Dependency(each["parent"], each["child"], int(each["callCount"])) for each in data),
    )


def read_logs(
    url: str, *, trace: str = "", service: str = "", text: str = "", limit: int = 200
) -> tuple[LogRecord, ...]:
    """Return the last `limit` log records of a trace, of a service, with a text in them, as time went.

    Raises:
        LabError: the store does not answer, or refuses the question.
    """
    asked = {"trace": trace, "service": service, "text": text, "limit": str(limit)}
    there = {key: value for key, value in asked.items() if value}
    return _ask(url, "/api/logs", there, lambda data: tuple(map(_log_record, data)))


def _ask(url: str, path: str, asked: Mapping[str, str], read: Callable[[Any], Read]) -> Read:
    """Return what `read` makes of the data of an answer; of none, when the store has no such thing."""
    address = url.rstrip("/") + path
    tls = address.startswith("https:")  # else httpx reads all certificates of the machine for nothing, 30 ms each time
    try:
        answer = httpx.get(address, params=dict(asked), timeout=ANSWER_SECONDS, trust_env=False, verify=tls)
        frame = answer.json()
        if answer.status_code == 404 and "data" in frame:
            return read([])
        if answer.status_code == 200:
            return read(frame["data"] or [])
        evidence = f"{answer.status_code}: {answer.text[:300]}"
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        evidence = f"{type(error).__name__}: {error}"
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        evidence = f"the answer is not in Jaeger's form: {type(error).__name__}: {error}"
    next_step = "lab.status() shows whether the trace store runs; its address is that of Jaeger's query API"
    raise LabError(
        "The trace store has not answered the question", where=address, evidence=evidence, next_step=next_step
    )


def _part(text: str) -> str:
    return urllib.parse.quote(text, safe="")


def _traces(data: Any) -> tuple[Trace, ...]:
    return tuple(_trace(each) for each in data)


def _trace(told: Mapping[str, Any]) -> Trace:
    processes = told["processes"]
    spans = [_span(each, processes[each["processID"]]) for each in told["spans"]]
    return Trace(told["traceID"], tuple(sorted(spans, key=lambda span: span.start)))


def _span(told: Mapping[str, Any], process: Mapping[str, Any]) -> Span:
    tags, resource = _values(told["tags"]), _values(process["tags"])
    references = told["references"] or []
    return Span(
        service=process["serviceName"],
        instance=str(resource.get("service.instance.id", "")),
        name=told["operationName"],
        kind=str(tags.get("span.kind", "")),
        start=told["startTime"] / 1e6,
        seconds=told["duration"] / 1e6,
        error=tags.get("error") in (True, "true") or tags.get("otel.status_code") == "ERROR",
        attributes={key: value for key, value in tags.items() if key not in _TAKEN},
        events=tuple(_event(each) for each in told["logs"] or []),
        resource=resource,
        trace_id=told["traceID"],
        span_id=told["spanID"],
        parent=next((each["spanID"] for each in references if _is_parent(each, told)), ""),
        links=tuple(Link(each["traceID"], each["spanID"]) for each in references if not _is_parent(each, told)),
    )


def _is_parent(reference: Mapping[str, Any], span: Mapping[str, Any]) -> bool:
    return bool(reference["refType"] == "CHILD_OF" and reference["traceID"] == span["traceID"])


def _event(told: Mapping[str, Any]) -> Event:
    fields = _values(told["fields"])
    return Event(str(fields.pop("event", "")), told["timestamp"] / 1e6, fields)


def _values(tags: Any) -> dict[str, Any]:
    return {tag["key"]: tag["value"] for tag in tags or []}


def _log_record(told: Mapping[str, Any]) -> LogRecord:
    return LogRecord(
        told["service"],
        told["instance"],
        told["severity"],
        told["body"],
        told["timestamp"] / 1e6,
        told["traceID"],
        told["spanID"],
        told["attributes"],
    )
