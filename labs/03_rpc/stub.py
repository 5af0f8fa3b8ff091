"""The caller's side: `await bolts.battery("l-01")` looks like a call in this process, and goes over a connection."""

import asyncio
import os
import traceback
from itertools import count
from typing import Any, Self

import error_kinds
from frames import frame, read_frame

ANSWER_SECONDS = float(os.environ.get("ANSWER_SECONDS", "2"))


class Stub:
    """One connection. Any number of calls are under way on it at a time, and their answers come in any order.

    An error is raised as the kind of error_kinds.KINDS that it names, any other as a RemoteError that holds its detail.
    A call raises ConnectionError when the connection has ended before its answer came, TimeoutError when none came in
    ANSWER_SECONDS.
    """

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        self.ids = count(1)
        self.waiting: dict[int, asyncio.Future[Any]] = {}  # for each id that is under way: what its caller waits for
        self.listening = asyncio.create_task(self.listen())
        self.listening.add_done_callback(self.hang_up)

    @classmethod
    async def connect(cls, target: str) -> Self:
        """Connect to host:port."""
        host, _, port = target.rpartition(":")
        return cls(*await asyncio.wait_for(asyncio.open_connection(host, int(port)), ANSWER_SECONDS))

    def hang_up(self, listening: asyncio.Task[None]) -> None:
        """Close the connection when listen() has ended; a mistake in listen() is in the log."""
        self.writer.close()
        error = None if listening.cancelled() else listening.exception()
        if error and not isinstance(error, ConnectionError):
            traceback.print_exception(error)

    # --- your turn 3.1 ---
    async def call(self, method: str, **arguments: Any) -> Any:
        """Return the result of a call, or raise its error; in any case within ANSWER_SECONDS."""
        self.waiting[1] = asyncio.get_running_loop().create_future()
        self.writer.write(frame({"id": 1, "method": method, "arguments": arguments}))
        return await self.waiting[1]

    async def listen(self) -> None:
        """Give each answer to the call that waits for it, until the connection ends; begun once for each Stub."""
        while (answer := await read_frame(self.reader)) is not None:
            if error := answer.get("error"):
                self.waiting[1].set_exception(error_kinds.KINDS[error["kind"]](error["detail"]))
            else:
                self.waiting[1].set_result(answer["result"])

    # --- end 3.1 ---


class Bolts(Stub):
    """The methods of bolts.py, with the same names and parameters."""

    async def open_lock(self, lock_id: str, rider_id: str, note: str = "") -> dict[str, Any]:
        return dict(await self.call("open_lock", lock_id=lock_id, rider_id=rider_id, note=note))

    async def battery(self, lock_id: str) -> int:
        return int(await self.call("battery", lock_id=lock_id))
