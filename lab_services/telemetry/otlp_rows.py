"""What exporters send, as rows of the store: spans and log records, and what cannot be taken, counted by its reason."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from json.encoder import encode_basestring_ascii as quoted
from typing import Any, NamedTuple

from .jaeger_tags import ERROR, KINDS, OK, listed, plain_value, string_tag, tags_of, true_tag

TRACE_BYTES, SPAN_BYTES = 16, 8
NO_TRACE, NO_SPAN = bytes(TRACE_BYTES), bytes(SPAN_BYTES)
LATEST = 2**63 - 1  # ns since 1970 that SQLite can hold: the year 2262
UNKNOWN_SERVICE = "unknown_service"


class Resource(NamedTuple):
    """Who tells: a service, one of its instances, and the tags of all it says of itself besides (JSON text)."""

    service: str
    instance: str
    tags: str


class SpanRow(NamedTuple):
    """One span. Ids are hexadecimal, times in ns since 1970, `kind` and `status` OTLP's numbers; the rest is JSON text.

    `tags` and `events` are in Jaeger's form; `links` is a list of [trace id, span id].
    """

    trace_id: str
    span_id: str
    parent_id: str
    name: str
    kind: int
    begins: int
    ends: int
    status: int
    tags: str
    events: str
    links: str


class LogRow(NamedTuple):
    """One log record. `at` is in ns since 1970; `attributes` is JSON text."""

    at: int
    trace_id: str
    span_id: str
    severity: str
    body: str
    attributes: str


class Batch(NamedTuple):
    """The rows of one export by who told them, and how many were refused for which reason."""

    rows: list[tuple[Resource, list[Any]]]
    refused: Counter[str]

    def complaint(self) -> str:
        """Return what OTLP's partial success says: each reason with its number."""
        return "; ".join(f"{number} with {reason}" for reason, number in self.refused.items())


def spans_in(export: Any) -> Batch:
    """Return the rows of an ExportTraceServiceRequest."""
    batch = Batch([], Counter())
    for told in export.resource_spans:
        rows = list(_span_rows(told.scope_spans, batch.refused))
        batch.rows.append((_resource(told.resource), rows))
    return batch


def logs_in(export: Any) -> Batch:
    """Return the rows of an ExportLogsServiceRequest."""
    batch = Batch([], Counter())
    for told in export.resource_logs:
        rows = list(_log_rows(told.scope_logs, batch.refused))
        batch.rows.append((_resource(told.resource), rows))
    return batch


def _resource(resource: Any) -> Resource:
    """Say who tells; attributes other than service.name stay tags, also the instance."""
    said = {each.key: each.value for each in resource.attributes}
    service, instance = (
        str(plain_value(said[key]) or "") if key in said else "" for key in ("service.name", "service.instance.id")
    )
    others = (each for each in resource.attributes if each.key != "service.name")
    return Resource(service or UNKNOWN_SERVICE, instance, listed(tags_of(others)))


def _span_rows(scopes: Iterable[Any], refused: Counter[str]) -> Iterator[SpanRow]:
    for scope in scopes:
        of_scope = _scope_tags(scope.scope)
        for span in scope.spans:
            if reason := _fault(span):
                refused[reason] += 1
            else:
                yield _span_row(span, of_scope)


def _fault(span: Any) -> str:
    """Return why a span cannot be taken, or nothing."""
    if len(span.trace_id) != TRACE_BYTES or span.trace_id == NO_TRACE:
        return f"a trace id that is not {TRACE_BYTES} bytes, or all zero"
    if len(span.span_id) != SPAN_BYTES or span.span_id == NO_SPAN:
        return f"a span id that is not {SPAN_BYTES} bytes, or all zero"
    if len(span.parent_span_id) not in (0, SPAN_BYTES):
        return f"a parent span id that is neither empty nor {SPAN_BYTES} bytes"
    if span.start_time_unix_nano > LATEST or span.end_time_unix_nano > LATEST:
        return "a time after the year 2262"
    return ""


def _span_row(span: Any, of_scope: list[str]) -> SpanRow:
    parent = span.parent_span_id
    code = span.status.code
    tags = tags_of(span.attributes) + of_scope
    if kind := KINDS.get(span.kind):
        tags.append(string_tag("span.kind", kind))
    if code:
        tags += _status_tags(code, span.status.message)
    if span.trace_state:
        tags.append(string_tag("w3c.tracestate", span.trace_state))
    return SpanRow(
        span.trace_id.hex(),
        span.span_id.hex(),
        parent.hex() if parent != NO_SPAN else "",
        span.name,
        span.kind,
        span.start_time_unix_nano,
        span.end_time_unix_nano,
        code,
        listed(tags),
        listed(map(_event, span.events)) if span.events else "[]",
        json.dumps([_link(each) for each in span.links if _has_ids(each)]) if span.links else "[]",
    )


def _status_tags(code: int, message: str) -> Iterator[str]:
    if code in (OK, ERROR):
        yield string_tag("otel.status_code", "OK" if code == OK else "ERROR")
    if code == ERROR:
        yield true_tag("error")
    if message:
        yield string_tag("otel.status_description", message)


def _scope_tags(scope: Any) -> list[str]:
    told = {"otel.scope.name": scope.name, "otel.scope.version": scope.version}
    return [string_tag(key, text) for key, text in told.items() if text]


def _event(event: Any) -> str:
    """Return an event as an entry of Jaeger's `logs`: a moment in µs, and fields."""
    fields = [string_tag("event", event.name), *tags_of(event.attributes)]
    return f'{{"timestamp":{event.time_unix_nano // 1000},"fields":{listed(fields)}}}'


def _has_ids(link: Any) -> bool:
    return len(link.trace_id) == TRACE_BYTES and len(link.span_id) == SPAN_BYTES


def _link(link: Any) -> list[str]:
    return [link.trace_id.hex(), link.span_id.hex()]


def _log_rows(scopes: Iterable[Any], refused: Counter[str]) -> Iterator[LogRow]:
    for scope in scopes:
        for record in scope.log_records:
            at = record.time_unix_nano or record.observed_time_unix_nano
            if at > LATEST:
                refused["a time after the year 2262"] += 1
                continue
            yield LogRow(
                at,
                # Ids of a wrong length are read as if there were none: so says OTLP's logs.proto.
                record.trace_id.hex() if _is_id(record.trace_id, TRACE_BYTES) else "",
                record.span_id.hex() if _is_id(record.span_id, SPAN_BYTES) else "",
                record.severity_text or severity(record.severity_number),
                _body(plain_value(record.body)),
                f"{{{','.join(map(_attribute, record.attributes))}}}",
            )


def _is_id(found: bytes, size: int) -> bool:
    return len(found) == size and any(found)


def _attribute(each: Any) -> str:
    return f"{quoted(each.key)}:{json.dumps(plain_value(each.value))}"


def _body(plain: Any) -> str:
    if plain is None:
        return ""
    return plain if isinstance(plain, str) else json.dumps(plain)


def severity(number: int) -> str:
    """Return the short name of OTLP's severity number (1 to 24, four for each name), or nothing."""
    names = ("TRACE", "DEBUG", "INFO", "WARN", "ERROR", "FATAL")
    return names[(number - 1) // 4] if 1 <= number <= 4 * len(names) else ""
