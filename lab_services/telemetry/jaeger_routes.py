"""The addresses at which a trace store is asked: Jaeger's query API, and /api/logs.

    app.include_router(jaeger_routes.asking)

`app.state.store` is the SpanStore.
"""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Callable, Mapping
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response
from starlette.datastructures import QueryParams

from . import jaeger_json, span_search
from .otlp_rows import LATEST
from .span_search import MOST_LOG_LINES, MOST_TRACES, BadQuestion, Wanted, duration

TRACES, LOG_LINES = 20, 200  # when nobody says how many
Ask = Callable[[sqlite3.Connection, Request], list[Any]]
asking = APIRouter(prefix="/api")


def _question(path: str) -> Callable[[Ask], Ask]:
    """Answer a question from one unchanging picture of the store, in Jaeger's frame, errors too."""

    def register(ask: Ask) -> Ask:
        @asking.get(path, name=ask.__name__, description=ask.__doc__)
        def handler(request: Request) -> Response:
            try:
                with request.app.state.store.reading() as db:
                    return JSONResponse(jaeger_json.answer(ask(db, request)))
            except BadQuestion as error:
                return JSONResponse(jaeger_json.refusal(400, str(error)), 400)
            except LookupError as error:
                return JSONResponse(jaeger_json.refusal(404, str(error)), 404)

        return ask

    return register


@_question("/services")
def show_services(db: sqlite3.Connection, request: Request) -> list[Any]:
    """Return the names of the services."""
    return span_search.services(db)


@_question("/services/{service:path}/operations")
def show_operations(db: sqlite3.Connection, request: Request) -> list[Any]:
    """Return the names of a service's spans."""
    return span_search.operations(db, request.path_params["service"])


@_question("/traces")
def search_traces(db: sqlite3.Connection, request: Request) -> list[Any]:
    """Return the traces that have one span like the one asked for, or those whose ids are named (traceID)."""
    asked = request.query_params
    ids = [trace_id(each) for each in asked.getlist("traceID")[:MOST_TRACES]]
    found = ((each, span_search.spans_of_trace(db, each)) for each in ids or span_search.find_traces(db, wanted(asked)))
    return [jaeger_json.trace(each, rows) for each, rows in found if rows]


@_question("/traces/{trace_id}")
def show_trace(db: sqlite3.Connection, request: Request) -> list[Any]:
    """Return one trace."""
    one = trace_id(request.path_params["trace_id"])
    rows = span_search.spans_of_trace(db, one)
    if not rows:
        raise LookupError("trace not found")
    return [jaeger_json.trace(one, rows)]


@_question("/dependencies")
def show_dependencies(db: sqlite3.Connection, request: Request) -> list[Any]:
    """Return who calls whom how often; endTs and lookback are in ms, and without them it is all that is kept."""
    asked = request.query_params
    end = whole(asked, "endTs", 10**6, LATEST)
    return span_search.calls(db, max(end - whole(asked, "lookback", 10**6, end), 0), end)


@_question("/logs")
def show_logs(db: sqlite3.Connection, request: Request) -> list[Any]:
    """Return the last log records of a trace, of a service, or with a text in them, as time went."""
    asked = request.query_params
    one = trace_id(asked["trace"]) if asked.get("trace") else ""
    limit = limit_of(asked, LOG_LINES, MOST_LOG_LINES)
    rows = span_search.logs(db, one, asked.get("service", ""), asked.get("text", ""), limit)
    return [jaeger_json.log_record(row) for row in rows]


def wanted(asked: QueryParams) -> Wanted:
    """Return what the parameters of a search ask for: times in µs, durations like `300ms`.

    Raises:
        BadQuestion: there is no service, or a parameter is not what it should be.
    """
    if not asked.get("service"):
        raise BadQuestion("parameter 'service' is required")
    return Wanted(
        asked["service"],
        asked.get("operation", ""),
        tags_of(asked),
        whole(asked, "start", 1000, 0),
        whole(asked, "end", 1000, LATEST),
        duration(asked.get("minDuration") or "0"),
        duration(asked["maxDuration"]) if asked.get("maxDuration") else LATEST,
        limit_of(asked, TRACES, MOST_TRACES),
    )


def tags_of(asked: QueryParams) -> dict[str, str]:
    """Return the tags asked for, by `tags={"key":"value"}` or any number of `tag=key:value`.

    Raises:
        BadQuestion: they are written otherwise.
    """
    found: dict[str, str] = {}
    for each in asked.getlist("tag"):
        key, colon, value = each.partition(":")
        if not key or not colon:
            raise BadQuestion(f"parameter 'tag' is key:value, not {each[:40]!r}")
        found[key] = value
    for each in asked.getlist("tags"):
        try:
            tags = json.loads(each)
        except (ValueError, RecursionError):
            tags = None
        if not isinstance(tags, dict) or not all(isinstance(value, str) for value in tags.values()):
            raise BadQuestion(f"""parameter 'tags' is JSON like {{"error":"true"}}, values as strings: {each[:40]!r}""")
        found |= tags
    return found


def trace_id(text: str) -> str:
    """Return the 32 digits of a trace id; zeros in front may be left out.

    Raises:
        BadQuestion: it is no trace id.
    """
    if not re.fullmatch("[0-9a-fA-F]{1,32}", text):
        raise BadQuestion(f"a trace id is up to 32 hexadecimal digits, not {text[:40]!r}")
    return text.lower().zfill(32)


def whole(asked: Mapping[str, str], name: str, unit: int, otherwise: int) -> int:
    """Return a moment or a span of time in ns, given in units of `unit` ns.

    Raises:
        BadQuestion: it is no whole number.
    """
    text = asked.get(name) or ""
    if not text:
        return otherwise
    if not re.fullmatch("[0-9]{1,20}", text):
        raise BadQuestion(f"parameter '{name}' is a whole number, not {text[:40]!r}")
    return min(int(text) * unit, LATEST)


def limit_of(asked: Mapping[str, str], otherwise: int, most: int) -> int:
    """Return how many are asked for.

    Raises:
        BadQuestion: it is no number from 1 to `most`.
    """
    text = asked.get("limit") or str(otherwise)
    if not re.fullmatch("[0-9]{1,9}", text) or not 1 <= int(text) <= most:
        raise BadQuestion(f"parameter 'limit' is a number from 1 to {most}, not {text[:40]!r}")
    return int(text)
