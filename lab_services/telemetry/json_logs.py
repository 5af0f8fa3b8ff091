"""Log lines as JSON, one to a line, for the finished services: what was logged, by whom, and in which trace.

The standard library's `logging` goes through structlog to stdout. A line has time (ISO 8601, UTC), level, service,
instance, logger and event, trace_id and span_id while there is a span, and the fields that were given as `extra`. A
mistake is logged once, however many hear of it: with its type, the place, and the frames as a list. Its text is left
out, for it may name a rider.
"""

from __future__ import annotations

import logging
import os
import sys
import traceback
from collections.abc import Mapping, MutableMapping
from pathlib import Path
from typing import Any

import structlog
from opentelemetry import _logs, trace

from lab_services.telemetry import observations as seen
from lab_services.telemetry.privacy import HIDDEN, PERSONAL, without_secrets

MOST_FRAMES = 8
MOST_CHARACTERS = 2000  # of one text; the lab's own log keeps 4,000 of a line
MISTAKE = "a mistake in this service"
ACCESS = logging.getLogger("access")
_LOGGED = "_logged_by_the_course"
_WHAT = {seen.HTTP_DURATION: "request", seen.RPC_DURATION: "call", seen.MESSAGE_DURATION: "message"}
_FIELDS = {
    "http.request.method": "method",
    "http.route": "route",
    "http.response.status_code": "status",
    "rpc.method": "method",
    "rpc.response.status_code": "code",
    "messaging.destination.template": "subject",
    "error.type": "error",
}


def log_json(service: str, instance: str) -> None:
    """Make every logger of this process write such lines; warnings and worse, and what services have done."""
    fields: list[structlog.types.Processor] = [
        structlog.processors.TimeStamper("iso", utc=True, key="time"),
        _identity(service, instance),
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.ExtraAdder(),
        _trace,
        _mistake,
        _private,
    ]
    handler = logging.StreamHandler(sys.stdout)
    handler.addFilter(_first_time)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=fields,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.JSONRenderer(),
            ],
        )
    )
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)
    ACCESS.setLevel(logging.INFO)
    _logs.set_logger_provider(_Mistakes())


def log_work(name: str, value: float, facts: seen.Facts) -> None:
    """Log a request, a call or a message that was answered; hears of them as a listener of Observations."""
    if name not in seen.DURATIONS:
        return
    fields = {_FIELDS[key]: value for key, value in facts.items() if key in _FIELDS}
    ACCESS.info(_WHAT[name], extra={**fields, "milliseconds": round(1000 * value, 1)})


def _identity(service: str, instance: str) -> structlog.types.Processor:
    def identify(_: Any, __: str, line: MutableMapping[str, Any]) -> Mapping[str, Any]:
        return {"time": line.pop("time", None), **line, "service": service, "instance": instance}

    return identify


def _trace(_: Any, __: str, line: MutableMapping[str, Any]) -> Mapping[str, Any]:
    context = trace.get_current_span().get_span_context()
    if context.is_valid:
        line["trace_id"] = trace.format_trace_id(context.trace_id)
        line["span_id"] = trace.format_span_id(context.span_id)
    return line


def _mistake(_: Any, __: str, line: MutableMapping[str, Any]) -> Mapping[str, Any]:
    """Turn an exception into fields without a line break."""
    error = _exception(line.pop("exc_info", None))
    if error is None:
        return line
    frames = [
        f"{Path(each.filename).name}:{each.lineno} {each.name}" for each in traceback.extract_tb(error.__traceback__)
    ]
    kind = type(error)
    name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    return {**line, "exception": name, "where": frames[-1] if frames else "", "frames": frames[-MOST_FRAMES:]}


def _private(_: Any, __: str, line: MutableMapping[str, Any]) -> Mapping[str, Any]:
    """Hide fields that are personal by their name, and secrets in every text."""
    return {key: HIDDEN if PERSONAL.search(key) else _shown(value) for key, value in line.items()}


def _shown(value: Any) -> Any:
    if isinstance(value, str):
        return without_secrets(value[:MOST_CHARACTERS])
    return _private(None, "", value) if isinstance(value, dict) else value


def _first_time(record: logging.LogRecord) -> bool:
    """Let an exception through once, whoever logs it again on its way up."""
    error = _exception(record.exc_info)
    if error is None:
        return True
    if getattr(error, _LOGGED, False):
        return False
    try:
        setattr(error, _LOGGED, True)
    except AttributeError:  # an exception with __slots__ is logged as often as it is
        return True
    return True


def _exception(exc_info: Any) -> BaseException | None:
    if exc_info is True:
        return sys.exc_info()[1]
    error = exc_info[1] if isinstance(exc_info, tuple) else exc_info
    return error if isinstance(error, BaseException) else None


class _Mistakes(_logs.LoggerProvider):
    """Where FastAPI tells of exceptions that no handler has taken, while the request's span is the current one.

    uvicorn logs the same exception later, outside of the span; that second line is left out.
    """

    def get_logger(
        self, name: str, version: str | None = None, schema_url: str | None = None, attributes: Any = None
    ) -> _logs.Logger:
        return _MistakeLogger(name, version, schema_url, attributes)


class _MistakeLogger(_logs.NoOpLogger):
    def emit(self, *args: Any, exception: BaseException | None = None, attributes: Any = None, **fields: Any) -> None:
        if exception is not None:
            route = {"route": attributes["http.route"]} if attributes and "http.route" in attributes else {}
            logging.getLogger(__name__).error(MISTAKE, exc_info=exception, extra=route)


def instance_of_this_process() -> str:
    """Return how this replica is called in its lines: "rides-2"."""
    return f"{os.environ.get('SERVICE_NAME', 'service')}-{os.environ.get('REPLICA', '1')}"
