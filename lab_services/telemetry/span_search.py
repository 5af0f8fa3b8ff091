"""What is asked of the store: services, operations, traces by what one of their spans is like, who calls whom, logs."""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from json.encoder import encode_basestring_ascii as quoted
from typing import Any

from .otlp_rows import LATEST

MOST_TRACES, MOST_LOG_LINES = 1_500, 10_000  # Jaeger's own limit, and ours
_UNITS = {"ns": 1, "us": 10**3, "µs": 10**3, "ms": 10**6, "s": 10**9, "m": 60 * 10**9, "h": 3600 * 10**9}
_DURATION = re.compile(rf"([0-9]+(?:\.[0-9]*)?|\.[0-9]+)({'|'.join(_UNITS)})")
_COLUMNS = "spans.*, service, instance, resources.tags AS process_tags"
# The latest first, so that a search ends with the last trace that is wanted: no order has to be made of all that fit.
_LATEST_SPANS = f"SELECT {_COLUMNS} FROM spans INDEXED BY spans_in_time CROSS JOIN resources USING (resource)"
_CALLS = """SELECT caller.service AS parent, called.service AS child, count(*) AS callCount
    FROM spans JOIN spans AS parents ON parents.trace_id = spans.trace_id AND parents.span_id = spans.parent_id
    JOIN resources AS called ON called.resource = spans.resource
    JOIN resources AS caller ON caller.resource = parents.resource
    WHERE caller.service <> called.service AND spans.begins BETWEEN ? AND ?
    GROUP BY 1, 2 ORDER BY 1, 2"""


class BadQuestion(ValueError):
    """A question that cannot be answered: a parameter is missing or not what it should be."""


@dataclass(frozen=True)
class Wanted:
    """What one span of a trace has to be like: all of it. Times in ns since 1970, durations in ns."""

    service: str
    operation: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)
    start: int = 0
    end: int = LATEST
    shortest: int = 0
    longest: int = LATEST
    limit: int = 20


def services(db: sqlite3.Connection) -> list[str]:
    """Return the names of all services that have told spans."""
    told = "SELECT DISTINCT service FROM resources WHERE resource IN (SELECT resource FROM spans) ORDER BY service"
    return [row["service"] for row in db.execute(told)]


def operations(db: sqlite3.Connection, service: str) -> list[str]:
    """Return the names of the spans of a service."""
    named = "SELECT DISTINCT name FROM spans JOIN resources USING (resource) WHERE service = ? ORDER BY name"
    return [row["name"] for row in db.execute(named, [service])]


def spans_of_trace(db: sqlite3.Connection, trace_id: str) -> list[sqlite3.Row]:
    """Return the spans of a trace as they began, each with its service, instance and process_tags."""
    of_trace = f"SELECT {_COLUMNS} FROM spans JOIN resources USING (resource) WHERE trace_id = ?"
    return db.execute(f"{of_trace} ORDER BY begins, arrival", [trace_id]).fetchall()


def find_traces(db: sqlite3.Connection, wanted: Wanted) -> list[str]:
    """Return the ids of the traces with such a span, those with the latest first, at most `wanted.limit`."""
    found: dict[str, None] = {}
    for row in _candidates(db, wanted):
        if row["trace_id"] not in found and _has_tags(row, wanted.tags):
            found[row["trace_id"]] = None
            if len(found) == wanted.limit:
                break
    return list(found)


def _candidates(db: sqlite3.Connection, wanted: Wanted) -> Iterator[sqlite3.Row]:
    """Yield the spans that fit, the latest first; of their tags, keys and values are only looked for as text."""
    clauses = ["service = ?", "begins BETWEEN ? AND ?", "max(ends - begins, 0) BETWEEN ? AND ?"]
    values: list[Any] = [wanted.service, wanted.start, wanted.end, wanted.shortest, wanted.longest]
    if wanted.operation:
        clauses.append("name = ?")
        values.append(wanted.operation)
    for key, value in wanted.tags.items():
        clauses += ["instr(spans.tags || spans.events || resources.tags, ?)"] * 2
        values += [f'"key":{quoted(key)}', quoted(value)[1:-1]]
    yield from db.execute(f"{_LATEST_SPANS} WHERE {' AND '.join(clauses)} ORDER BY begins DESC", values)


def _has_tags(row: sqlite3.Row, wanted: Mapping[str, str]) -> bool:
    """Say whether a span, its process or one of its events has each tag, compared as text, as Jaeger does."""
    if not wanted:
        return True
    tags = [*json.loads(row["tags"]), *json.loads(row["process_tags"])]
    tags += [tag for event in json.loads(row["events"]) for tag in event["fields"]]
    there = {(tag["key"], as_text(tag["value"])) for tag in tags}
    return wanted.items() <= there


def as_text(value: object) -> str:
    """Return the value of a tag as a question writes it: `GET`, or as JSON has it, `true`, `500`, `0.5`."""
    return value if isinstance(value, str) else json.dumps(value)


def calls(db: sqlite3.Connection, start: int, end: int) -> list[dict[str, Any]]:
    """Return parent, child and callCount for each pair of services: spans whose parent is another service's."""
    return [dict(row) for row in db.execute(_CALLS, [start, end])]


def logs(db: sqlite3.Connection, trace: str, service: str, text: str, limit: int) -> list[sqlite3.Row]:
    """Return the last log records that fit, as time went; `text` is part of the body or of the attributes."""
    clauses = {"trace_id = ?": trace, "service = ?": service, "instr(body || char(10) || attributes, ?)": text}
    asked = {clause: value for clause, value in clauses.items() if value}
    where = f"WHERE {' AND '.join(asked)}" if asked else ""
    newest = f"SELECT * FROM logs JOIN resources USING (resource) {where} ORDER BY at DESC, arrival DESC LIMIT ?"
    return db.execute(newest, [*asked.values(), limit]).fetchall()[::-1]


def duration(text: str) -> int:
    """Return the ns of a duration as Jaeger takes it from Go: `1.5s`, `300ms`, `1m30s`, `0`.

    Raises:
        BadQuestion: it is none.
    """
    if text == "0":
        return 0
    parts = _DURATION.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise BadQuestion(f"a duration is a number with one of {', '.join(_UNITS)}, not {text[:40]!r}")
    return min(sum(round(float(number) * _UNITS[unit]) for number, unit in parts), LATEST)
