"""One gRPC connection through the fault proxy: one TCP connection carries many calls (HTTP/2 streams, RFC 9113).

A call begins with the first HEADERS frame of its stream, its answer with the first HEADERS frame that comes back.
Delays do not add up: while one call is under way, the next one is, too. What breaks a connection breaks all its calls.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import NamedTuple

from lab_services.runtime.edge_connection import CHUNK_BYTES, Closed, Connection
from lab_services.runtime.weather import DROP, LOSE, RESET, Decision

PREFACE_BYTES = 24  # "PRI * HTTP/2.0 ...": what a client says before its first frame
HEAD_BYTES = 9
HEADERS, RST_STREAM = 1, 3
MOST_PIECES = 256  # under way in one direction; then nothing more is read from the sender


class Piece(NamedTuple):
    """Bytes as they came; `kind` says that they begin with a frame of that kind, None that they go on with one."""

    content: bytes
    kind: int | None = None
    stream: int = 0


class Frames:
    """Cuts one direction of an HTTP/2 connection where its frames begin, without holding back their content."""

    def __init__(self, skip: int = 0) -> None:
        self._left = skip
        self._head = b""
        self._stream = 0

    def split(self, data: bytes) -> Iterator[Piece]:
        """Return the pieces that `data` completes; the head of a frame comes out whole."""
        while data:
            if self._left:
                taken, data = data[: self._left], data[self._left :]
                self._left -= len(taken)
                yield Piece(taken, stream=self._stream)
                continue
            missing = HEAD_BYTES - len(self._head)
            self._head, data = self._head + data[:missing], data[missing:]
            if len(self._head) == HEAD_BYTES:
                head, self._head = self._head, b""
                self._left = int.from_bytes(head[:3], "big")
                self._stream = int.from_bytes(head[5:], "big") & 0x7FFFFFFF
                yield Piece(head, head[3], self._stream)


class DelayLine:
    """Writes what is put in, each piece after its own delay and none before the one ahead of it."""

    def __init__(self, writer: asyncio.StreamWriter | None) -> None:
        self._writer = writer
        self._pieces: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(MOST_PIECES)

    async def put(self, content: bytes, seconds: float) -> None:
        """Let `content` go in `seconds`; wait when too much is under way. No content is the end of the sender."""
        await self._pieces.put((asyncio.get_running_loop().time() + seconds, content))

    async def run(self) -> None:
        """Write until the end of the sender, and pass that on."""
        loop = asyncio.get_running_loop()
        while True:
            due, content = await self._pieces.get()
            if (wait := due - loop.time()) > 0:
                await asyncio.sleep(wait)
            if self._writer is None:
                continue
            if not content:
                return self._writer.write_eof()
            self._writer.write(content)
            await self._writer.drain()


class GrpcConnection(Connection):
    """One connection of a gRPC caller: the conditions of the edge hold for each of its calls."""

    _calls: dict[int, Decision]  # by stream: what each call meets that is not answered yet

    async def _there(self) -> None:
        self._calls = {}
        frames, line = Frames(PREFACE_BYTES), DelayLine(self._to_target)
        async with asyncio.TaskGroup() as group:
            group.create_task(line.run())
            while data := await self._caller.read(CHUNK_BYTES):
                for piece in frames.split(data):
                    delay = self._begin_call(piece)
                    if not self._loses_bytes():
                        await line.put(piece.content, delay)
            if self._loses_bytes() or self._to_target is None:
                raise Closed
            await line.put(b"", self._conditions.faults.latency)

    async def _back(self, target: asyncio.StreamReader) -> None:
        frames, line = Frames(), DelayLine(self._to_caller)
        async with asyncio.TaskGroup() as group:
            group.create_task(line.run())
            while data := await target.read(CHUNK_BYTES):
                for piece in frames.split(data):
                    delay = self._answer_call(piece)
                    if not self._loses_bytes():
                        await line.put(piece.content, delay)
            if not self._loses_bytes():
                await line.put(b"", self._conditions.faults.latency)
        raise Closed

    def _begin_call(self, piece: Piece) -> float:
        """Decide at the first frame of a call what it meets; return the delay of the piece in seconds."""
        if piece.kind == RST_STREAM:
            self._calls.pop(piece.stream, None)
        if piece.kind != HEADERS or piece.stream in self._calls or self._loses_bytes():
            return self._delay(piece)
        decision = self._calls[piece.stream] = self._conditions.decide()
        if decision.fate == DROP:
            raise Closed
        if decision.fate == RESET:
            raise ConnectionResetError
        return self._delay(piece) + decision.there

    def _answer_call(self, piece: Piece) -> float:
        decision = self._calls.pop(piece.stream, None) if piece.kind == HEADERS else None
        if decision is None or self._loses_bytes():
            return self._delay(piece)
        if decision.fate == LOSE or self._conditions.loses_this_answer():
            raise Closed
        return self._delay(piece) + decision.back

    def _delay(self, piece: Piece) -> float:
        """Delay what belongs to a call; what belongs to the connection (settings, pings) passes at once."""
        return self._conditions.faults.latency if piece.stream else 0.0
