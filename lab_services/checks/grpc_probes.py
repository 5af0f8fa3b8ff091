"""How a check talks gRPC: connections of its own, calls that always come to an end, and what the locks wrote of them.

with channel(city["unlocks"].url) as opened:
    stub = services.UnlocksServiceStub(opened)
    end = ask(stub.OpenBike, request, seconds=0.8)      # an End: its code, its details, the message
    call = begin(stub.OpenBike, request, seconds=0.8)   # the same in two steps
    call.cancel()
    end = ended(call)
ledger = LocksLedger(city["locks"].data)
ledger.calls("Unlock"), ledger.openings()
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
from grpc import StatusCode

from lab_services.checks.probes import BUSY_SECONDS, eventually, rows

CALL_SECONDS = 5.0  # the deadline of a call for which a check names no other
WAIT_SECONDS = 6.0  # for the end of a call, whatever its deadline; longer than any deadline of a check
NOTED_SECONDS = 3.0  # for a row of `calls`, which is written some 20 ms after its call
Metadata = Sequence[tuple[str, str]]


@dataclass(frozen=True)
class End:
    """How a call has ended; `code` is None where it had not ended when the check stopped waiting."""

    code: StatusCode | None
    details: str = ""
    message: Any = field(default=None, compare=False)

    @property
    def name(self) -> str:
        """Return the code in a word."""
        return "no end" if self.code is None else self.code.name

    def __str__(self) -> str:
        said = str(self.message).replace("\n", " ").strip() if self.code is StatusCode.OK else self.details
        return f"{self.name}: {said}" if said else self.name


@contextmanager
def channel(target: str, policy: Mapping[str, Any] | None = None) -> Iterator[grpc.Channel]:
    """Open a channel that shares no connection, and no pause after a refused one, with another; close it afterwards.

    `policy` is a gRPC service config; without one gRPC does nothing but its own transparent retries.
    """
    options: list[tuple[str, Any]] = [("grpc.use_local_subchannel_pool", 1)]
    if policy is not None:
        options.append(("grpc.service_config", json.dumps(policy)))
    with grpc.insecure_channel(target, options=options) as opened:
        yield opened


def begin(method: Any, request: Any, seconds: float | None = CALL_SECONDS, metadata: Metadata = ()) -> Any:
    """Begin a unary call and return it at once; None as `seconds` sends no deadline, and `ended` still ends it."""
    return method.future(request, timeout=seconds, metadata=tuple(metadata))


def ended(call: Any, within: float = WAIT_SECONDS) -> End:
    """Wait until a call has ended, then say how; one that has not ended `within` seconds is cancelled.

    `call` is what `begin` returned, or the grpc.RpcError that a call has raised. Nothing is raised.
    """
    if not isinstance(call, grpc.Future):
        return _told(call)
    try:
        return End(StatusCode.OK, "", call.result(within))
    except grpc.FutureTimeoutError:
        call.cancel()
        return End(None, f"the call had not ended after {within:g} s")
    except grpc.FutureCancelledError:
        return End(StatusCode.CANCELLED, _details(call))
    except grpc.RpcError as error:
        return _told(error)


def ask(
    method: Any,
    request: Any,
    seconds: float | None = CALL_SECONDS,
    metadata: Metadata = (),
    within: float = WAIT_SECONDS,
) -> End:
    """Make a unary call and say how it has ended."""
    return ended(begin(method, request, seconds, metadata), within)


class LocksLedger:
    """What the locks wrote down: what bolts did, and what callers did; the folder is city["locks"].data."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "locks.db"

    def openings(self, lock_id: str = "") -> list[dict[str, Any]]:
        """Return the movements of bolts in their order, of one lock or of all."""
        return rows(self._file, "SELECT * FROM openings WHERE ? IN ('', lock_id) ORDER BY seq", lock_id)

    def calls(self, rpc: str = "", lock_id: str = "") -> list[dict[str, Any]]:
        """Return the calls that are noted so far, in the order in which they came, of one rpc and lock or of all."""
        query = "SELECT * FROM calls WHERE ? IN ('', rpc) AND ? IN ('', lock_id) ORDER BY began_at, rowid"
        return rows(self._file, query, rpc, lock_id)

    def wait_for(self, count: int, rpc: str = "", lock_id: str = "", over: bool = False) -> list[dict[str, Any]]:
        """Wait until so many calls are noted, with `over` until they have ended, or too long; return the calls."""

        def enough() -> bool:
            return sum(1 for call in self.calls(rpc, lock_id) if call["ended_at"] or not over) >= count

        eventually(enough, within=NOTED_SECONDS)
        return self.calls(rpc, lock_id)

    def trouble(self, lock_id: str, code: str, moved: bool = False, times: int = 1) -> None:
        """Make the next commands to a lock fail with a code, before or (`moved`) after the bolt has moved."""
        with closing(sqlite3.connect(self._file, timeout=BUSY_SECONDS)) as db, db:
            db.execute("INSERT INTO troubles VALUES (?, ?, ?, ?)", [lock_id, code, moved, times])


def _told(error: Any) -> End:
    code = getattr(error, "code", None)
    found = code() if callable(code) else None
    if not isinstance(found, StatusCode):
        return End(None, f"no gRPC call: {error!r}")
    return End(found, _details(error))


def _details(call: Any) -> str:
    details = call.details() if callable(getattr(call, "details", None)) else ""
    return str(details or "")
