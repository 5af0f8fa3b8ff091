"""Hotline: helps riders whose bike is stuck. Speaks gRPC by hotline.proto; keeps tickets, calls the locks (retries.py).

How a call of the hotline ends. No answer with the status OK says that something went wrong.

| what has happened                                  | status                           | details             |
| -------------------------------------------------- | -------------------------------- | ------------------- |
| tickets.Refused: malformed                         | INVALID_ARGUMENT                 | its sentence        |
| tickets.Refused: unknown                           | NOT_FOUND                        | its sentence        |
| tickets.Refused: not now                           | FAILED_PRECONDITION              | its sentence        |
| tickets.Refused: taken                             | ALREADY_EXISTS                   | its sentence        |
| tickets.Refused: too many                          | RESOURCE_EXHAUSTED               | its sentence        |
| the locks say NOT_FOUND or FAILED_PRECONDITION     | the same                         | those of the locks  |
| the locks say UNAVAILABLE or DEADLINE_EXCEEDED     | the same                         | our own             |
| sqlite3's OperationalError: trouble with the disk  | UNAVAILABLE                      | our own             |
| anything else, also from the locks: our mistake    | INTERNAL                         | our own             |
| the operator has gone, or the deadline is over     | gRPC's own: stand out of its way |                     |

Our own details give nothing of the inside away: no address, no exception, no stored value. Whoever looks for a mistake
finds its traceback in the log, with the ticket_id, and nothing else of the request: cards do not belong there.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable
from sqlite3 import OperationalError
from typing import Any

import grpc
import tickets
from grpc import StatusCode
from retries import TOTAL_SECONDS, Ask, calling_the_locks

from lab_services.bikeshare.database import opened
from lab_services.bikeshare.interfaces import compiled

hotline, services = grpc.protos_and_services("hotline.proto")
locks, _ = compiled("bikeshare/locks/v1/locks.proto")
log = logging.getLogger("hotline")
LATER, MISTAKE = "the hotline cannot do this now: try again", "a mistake of the hotline: its log tells more"


# --- your turn 3.4 ---
async def answered(request: Any, context: Any, kind: Any, work: Awaitable[dict[str, Any]]) -> Any:
    """Return what the work finds, as a message of this kind, or end the call as the table above says."""
    try:
        return kind(**await work)
    except tickets.Refused as refusal:
        return kind(error=refusal.sentence)
    except (grpc.RpcError, OperationalError) as error:
        await context.abort(StatusCode.UNAVAILABLE, f"{error}")
    except Exception as error:
        log.exception("cannot answer %s", request)
        await context.abort(StatusCode.INTERNAL, f"{error}")


# --- end 3.4 ---


def end_of(context: Any) -> float:
    """Return when the operator's time is over, by the clock of the event loop."""
    left = context.time_remaining()
    return asyncio.get_running_loop().time() + (TOTAL_SECONDS if left is None else left)


class Hotline(services.HotlineServiceServicer):
    def __init__(self, ask: Ask) -> None:
        self.ask = ask

    async def FileTicket(self, request: Any, context: Any) -> Any:
        return await answered(request, context, hotline.FileTicketResponse, self.file(request))

    async def CheckBattery(self, request: Any, context: Any) -> Any:
        return await answered(request, context, hotline.CheckBatteryResponse, self.check(request, end_of(context)))

    async def ReleaseBike(self, request: Any, context: Any) -> Any:
        return await answered(request, context, hotline.ReleaseBikeResponse, self.release(request, end_of(context)))

    async def LockBike(self, request: Any, context: Any) -> Any:
        return await answered(request, context, hotline.LockBikeResponse, self.lock(request, end_of(context)))

    async def file(self, request: Any) -> dict[str, Any]:
        await asyncio.to_thread(tickets.file, request)
        return {"ticket_id": request.ticket_id}

    async def check(self, request: Any, ends_at: float) -> dict[str, Any]:
        ticket = await asyncio.to_thread(tickets.find, request.ticket_id)
        answer = await self.ask("GetBattery", locks.GetBatteryRequest(lock_id=ticket["lock_id"]), ends_at)
        return {"battery_percent": answer.battery_percent}

    async def release(self, request: Any, ends_at: float) -> dict[str, Any]:
        ticket = await asyncio.to_thread(tickets.find, request.ticket_id, closed_too=False)
        ids = {"lock_id": ticket["lock_id"], "ride_id": ticket["ride_id"], "request_id": request.request_id}
        return {"sequence": (await self.ask("Unlock", locks.UnlockRequest(**ids), ends_at)).event.sequence}

    async def lock(self, request: Any, ends_at: float) -> dict[str, Any]:
        ticket = await asyncio.to_thread(tickets.find, request.ticket_id)
        wish = locks.LockRequest(lock_id=ticket["lock_id"], ride_id=ticket["ride_id"])
        answer = await self.ask("Lock", wish, ends_at)
        await asyncio.to_thread(tickets.close, request.ticket_id)
        return {"sequence": answer.event.sequence}


async def serve(server: Any) -> AsyncIterator[None]:
    with opened("hotline", tickets.TABLES):
        async with calling_the_locks() as ask:
            services.add_HotlineServiceServicer_to_server(Hotline(ask), server)
            yield
