"""Answers in the form of Jaeger's query API, the one that its own page is drawn from: `/api/traces` and its like.

Source: Jaeger's `model/json/model.go` and `cmd/query/app/http_handler.go`. Times are in µs since 1970, durations in µs.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from sqlite3 import Row
from typing import Any

from .otlp_rows import Resource


def answer(data: Any, errors: list[dict[str, Any]] | None = None) -> dict[str, Any]:
    """Return the frame around every answer."""
    total = len(data) if isinstance(data, list) else 0
    return {"data": data, "total": total, "limit": 0, "offset": 0, "errors": errors}


def refusal(code: int, why: str) -> dict[str, Any]:
    """Return the frame around what went wrong."""
    return answer(None, [{"code": code, "msg": why}])


def trace(trace_id: str, rows: Sequence[Row]) -> dict[str, Any]:
    """Return a trace: its spans, and the processes that have told them, one for each service and instance."""
    names: dict[Resource, str] = {}
    spans = [_span(row, names.setdefault(_process(row), f"p{len(names) + 1}")) for row in rows]
    processes = {
        name: {"serviceName": process.service, "tags": json.loads(process.tags)} for process, name in names.items()
    }
    return {"traceID": trace_id, "spans": spans, "processes": processes, "warnings": None}


def _process(row: Row) -> Resource:
    return Resource(row["service"], row["instance"], row["process_tags"])


def _span(row: Row, process: str) -> dict[str, Any]:
    length = row["ends"] - row["begins"]
    return {
        "traceID": row["trace_id"],
        "spanID": row["span_id"],
        "operationName": row["name"],
        "references": _references(row),
        "startTime": row["begins"] // 1000,
        "duration": max(length, 0) // 1000,
        "tags": json.loads(row["tags"]),
        "logs": json.loads(row["events"]),
        "processID": process,
        "warnings": ["it ends before it begins: its duration is shown as 0"] if length < 0 else None,
    }


def _references(row: Row) -> list[dict[str, str]]:
    """Return the parent, then the links."""
    parents = [(row["trace_id"], row["parent_id"])] if row["parent_id"] else []
    found = [("CHILD_OF", *each) for each in parents] + [("FOLLOWS_FROM", *each) for each in json.loads(row["links"])]
    return [{"refType": kind, "traceID": trace_id, "spanID": span_id} for kind, trace_id, span_id in found]


def log_record(row: Row) -> dict[str, Any]:
    """Return a log record; this form is the course's own, for Jaeger keeps no logs."""
    return {
        "timestamp": row["at"] // 1000,
        "time": datetime.fromtimestamp(row["at"] / 1e9, UTC).isoformat(timespec="milliseconds"),
        "service": row["service"],
        "instance": row["instance"],
        "severity": row["severity"],
        "body": row["body"],
        "traceID": row["trace_id"],
        "spanID": row["span_id"],
        "attributes": json.loads(row["attributes"]),
    }
