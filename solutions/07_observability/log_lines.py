"""What a line of the log is, whoever writes it: one JSON object, in one line, with nothing personal in it.

Each service calls `configure` once, when it starts. From then on that holds for all that the process logs by `logging`:
its own lines (`log.info("ride_started", extra={"ride_id": ...})`), those of libraries (httpx, the driver of the docks),
and the tracebacks that uvicorn writes. uvicorn has handlers of its own on the loggers of UVICORN.

| field                     | what it says                                                                          |
| ------------------------- | ------------------------------------------------------------------------------------- |
| time, level, service      | UTC in ISO 8601; info, warning, error, ...; the name that was given to `configure`    |
| event                     | what happened; of a library, its text                                                 |
| logger                    | the name of the logger                                                                |
| trace_id                  | the request's, where there is one (log_trace.py)                                      |
| ride_id, bike_id, rider_id, reason, status | as in `extra`: by these a line is found. rider_id is a pseudonym     |
| error, where              | of an exception: its type and that of its causes, and where it was raised: `error_of` |

* **Bounded.** A rider's program may send anything as an id: line breaks, quotes, 100,000 letters, emoji. A line stays
  one line of at most 4,000 bytes, in which the ids stand as they came, or their beginning. A longer one is cut in two
  by whoever collects the lines, and no JSON any more.
* **Nothing personal.** No name, e-mail address, phone or card number, token or Authorization of a rider is in any line,
  in whatever field, spelling or depth it came. The query of a URL has them (httpx logs it), the texts of the driver
  have them (`a@b.c`, `+44 20 7946 0958`, `4242 4242 4242 4242`, `Bearer ...`). The text of an exception quotes what
  the rider has typed: no pattern finds a name in it.
"""

import logging
import re
import sys
import traceback
from typing import Any

from structlog.contextvars import merge_contextvars
from structlog.processors import JSONRenderer, TimeStamper
from structlog.stdlib import ExtraAdder, ProcessorFormatter, add_log_level, add_logger_name

UVICORN = ("uvicorn", "uvicorn.error", "uvicorn.access")
STAMP = TimeStamper(fmt="iso", utc=True, key="time")
STEPS = [merge_contextvars, add_log_level, add_logger_name, STAMP]  # of structlog: each puts its fields into the line


def error_of(exc_info: Any) -> dict[str, str]:
    """Return the fields `error` and `where` of an exception (`record.exc_info`); none for none.

    {"error": "ValueError < KeyError", "where": "log_calls.py:41 tariff_of < log_taps.py:50 start < ..."}
    """
    types, problem = [], exc_info[1] if exc_info else None
    while problem is not None and len(types) < 3:
        types.append(type(problem).__name__)
        problem = problem.__cause__ or problem.__context__
    frames = traceback.extract_tb(exc_info[2])[:-4:-1] if exc_info else []
    places = [f"{frame.filename.rpartition('/')[2]}:{frame.lineno} {frame.name}" for frame in frames]
    return {"error": " < ".join(types), "where": " < ".join(places)} if types else {}


# --- your turn 7.3 ---
# An allow-list: what nobody has thought of is left out. A list of secrets never has `riderEmail` and the next one.
FIELDS = {"time", "level", "service", "event", "logger", "trace_id", "reason", "status", "error", "where"}
FIELDS |= {"ride_id", "bike_id", "rider_id"}
# In texts of others. With \S+ in place of {1,64}, 100,000 letters without an @ would take more than a minute.
SECRET = re.compile(r"\?\S*|[^\s@]{1,64}@\S+|\+?\d(?:[ -]?\d){7,}|bearer\s+\S+", re.IGNORECASE)
LONGEST = 80  # letters: as `\ud83d\udeb2` one has 12 bytes, so three ids and an event fit into 4,000


def configure(service: str) -> None:
    """Have every line of this process be one JSON object on stdout."""

    def tidy(logger: Any, method: str, line: dict[str, Any]) -> dict[str, Any]:
        # Of an exception its type and its place: the text would quote the rider. json.dumps escapes what breaks lines.
        line |= {"service": service, "event": SECRET.sub("-", line["event"])} | error_of(line.get("exc_info"))
        kept = {key: line[key] for key in FIELDS & line.keys()}
        return {key: value if isinstance(value, int) else str(value)[:LONGEST] for key, value in kept.items()}

    handler = logging.StreamHandler(sys.stdout)
    steps = [*STEPS, ExtraAdder()]  # in the thread that logs: there is the context
    handler.setFormatter(ProcessorFormatter(foreign_pre_chain=steps, processors=[tidy, JSONRenderer()]))
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    for logger in map(logging.getLogger, UVICORN):  # it has set up handlers of its own before the app starts
        logger.handlers, logger.propagate = [], True


# --- end 7.3 ---
