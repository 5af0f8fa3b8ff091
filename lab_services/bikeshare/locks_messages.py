"""The messages of locks.proto, made of what is stored, and the sum of a stream of positions."""

from __future__ import annotations

import asyncio
import os
import sqlite3
from collections.abc import AsyncIterator
from datetime import datetime
from typing import Any

from google.protobuf.message import DecodeError
from grpc import StatusCode

from lab_services.bikeshare.interfaces import compiled
from lab_services.bikeshare.locks_calls import Refusal, check_ids

messages, services = compiled("bikeshare/locks/v1/locks.proto")
CITY_METRES = 10_000  # from one side to the other
IDLE_SECONDS = float(os.environ.get("IDLE_SECONDS", "60"))  # a client's stream in which nothing comes is ended


def event_of(row: sqlite3.Row) -> Any:
    """Make a LockEvent of a line of the ledger."""
    return messages.LockEvent(
        sequence=row["seq"],
        lock_id=row["lock_id"],
        ride_id=row["ride_id"],
        request_id=row["request_id"] or "",
        kind=messages.EventKind.Value(f"EVENT_KIND_{row['kind'].upper()}"),
        at=datetime.fromisoformat(row["at"]),
    )


def lock_of(row: sqlite3.Row) -> Any:
    """Make a Lock of a row of locks and positions."""
    here = None if row["x_metres"] is None else messages.Position(x_metres=row["x_metres"], y_metres=row["y_metres"])
    return messages.Lock(
        lock_id=row["lock_id"],
        bike_id=row["bike_id"],
        state=messages.LOCK_STATE_CLOSED if row["ride_id"] is None else messages.LOCK_STATE_OPEN,
        ride_id=row["ride_id"] or "",
        battery_percent=row["battery_percent"],
        position=here,
    )


async def patiently(requests: AsyncIterator[Any]) -> AsyncIterator[Any]:
    """Yield what comes in a stream, but do not wait for the next for ever."""
    while True:
        try:
            async with asyncio.timeout(IDLE_SECONDS):
                request = await anext(requests)
        except StopAsyncIteration:
            return
        except TimeoutError:
            raise Refusal(StatusCode.ABORTED, f"nothing has come for {IDLE_SECONDS:g} seconds") from None
        except DecodeError as error:
            raise Refusal(StatusCode.INTERNAL, f"what has come is no message of this rpc: {error}") from None
        yield request


class Track:
    """The sum of a stream of positions; it keeps the last one of each lock, however many come."""

    def __init__(self, known: set[str]) -> None:
        self._known = known
        self.places: dict[str, tuple[int, int]] = {}
        self.positions = 0
        self.metres = 0

    def add(self, request: Any) -> None:
        """Add one position, or refuse it."""
        check_ids(request, "lock_id")
        if request.lock_id not in self._known:
            raise Refusal(StatusCode.NOT_FOUND, f"there is no lock {request.lock_id}")
        here = request.position.x_metres, request.position.y_metres
        if not request.HasField("position") or not all(0 <= metres <= CITY_METRES for metres in here):
            raise Refusal(StatusCode.INVALID_ARGUMENT, f"position: 0 to {CITY_METRES} metres to the east and north")
        before = self.places.get(request.lock_id, here)
        self.metres += abs(here[0] - before[0]) + abs(here[1] - before[1])
        self.places[request.lock_id] = here
        self.positions += 1

    def summary(self) -> Any:
        """Answer the stream."""
        locks = len(self.places)
        return messages.RecordPositionsResponse(positions=self.positions, locks=locks, metres=self.metres)
