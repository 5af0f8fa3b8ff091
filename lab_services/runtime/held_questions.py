"""What the process of a control plane does with the questions that it holds, when it is replaced or stopped.

An Envoy asks, and the answer may wait for news for half a minute (long poll). A process that leaves has no news any
more, and its heir has: so it says "nothing new" (304) and lets go, and the Envoy asks the heir at once. Without this, a
saved control plane took effect when the last held question had ended.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Iterable
from typing import Any

PATH = "/v3/discovery:"
HELD_SECONDS = 0.2  # for every answer that is about to be given
NOTHING_NEW = b"HTTP/1.1 304 Not Modified\r\nconnection: close\r\n\r\n"


def holds_questions() -> bool:
    """Say whether this process is a control plane: the lab tells it who is in the mesh."""
    return "MESH_FILE" in os.environ


def let_go(connections: Iterable[Any], tasks: Iterable[asyncio.Task[Any]]) -> None:
    """Answer what Envoys ask on uvicorn's `connections` with 304, and end the `tasks` that would have answered."""
    for connection in list(connections):
        cycle = getattr(connection, "cycle", None)
        if cycle is None or cycle.response_complete or cycle.response_started:
            continue
        if cycle.scope["path"].startswith(PATH):
            connection.transport.write(NOTHING_NEW)
            connection.transport.close()
            cycle.disconnected = True
    logging.getLogger("uvicorn.error").addFilter(_tells_news)
    for task in list(tasks):
        task.cancel()


def _tells_news(record: logging.LogRecord) -> bool:
    """Leave out the traceback of an answer that was ended here."""
    return record.exc_info is None or not isinstance(record.exc_info[1], asyncio.CancelledError)
