"""One connection through the fault proxy: pass bytes on, delay them, lose them, as the conditions of its edge say."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

from lab_services.runtime.framing import Answers, Framing, Requests
from lab_services.runtime.weather import DROP, LOSE, RESET, WEATHERS, Decision, Weather, decide

CHUNK_BYTES = 64 * 1024  # read ahead and waiting to be written, per direction: a few of these at most
CONNECT_SECONDS = 5.0
FIRST_BYTE_SECONDS = 0.1
CALM = WEATHERS["calm"]


@dataclass
class Faults:
    """What is wrong with an edge by command; the weather is kept beside it."""

    mode: str = "pass"  # pass, reset, refuse or half_open
    latency: float = 0.0
    jitter: Weather = CALM
    jitter_seed: int = 0
    answers_to_lose: int = 0


@dataclass
class Conditions:
    """What the connections of one edge meet; every change holds for those that are open, too."""

    edge: str
    target: tuple[str, int]
    faults: Faults = field(default_factory=Faults)
    weather: Weather = CALM
    seed: int = 0
    decided: int = 0

    def decide(self) -> Decision:
        """Return what the weather, and the jitter, do to the next request."""
        self.decided += 1
        name, faults = self.edge, self.faults
        weather = decide(self.seed, name, self.weather, self.decided)
        jitter = decide(faults.jitter_seed, name, faults.jitter, self.decided)
        return Decision(weather.there + jitter.there, weather.back + jitter.back, weather.fate)

    def loses_this_answer(self) -> bool:
        """Count down the answers to lose; say whether this is one of them."""
        due = self.faults.answers_to_lose > 0
        self.faults.answers_to_lose -= due
        return due


class Closed(Exception):
    """The connection is over and is closed in the polite way."""


class Connection:
    """One connection of a caller, and the one to the target behind it."""

    def __init__(
        self,
        conditions: Conditions,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        over: Callable[[Connection], None],
    ) -> None:
        self._conditions = conditions
        self._over = over
        self._caller, self._to_caller = reader, writer
        self._to_target: asyncio.StreamWriter | None = None
        self._requests = Requests()
        self._answers = Answers(self._requests)
        self._beginning: dict[Framing, bool] = {self._requests: True, self._answers: True}
        self._last: Framing | None = None  # which way bytes went last
        self._decided: deque[Decision] = deque()
        self._decision = Decision()
        self._swallow = False
        self.lost = False  # bytes of it have fallen into a half-open connection: it can never be whole again
        self._task = asyncio.create_task(self._run())

    def reset(self) -> None:
        """Reset the connection to the caller at once, and drop the one to the target."""
        reset(self._to_caller)
        self._task.cancel()
        self._over(self)

    async def _run(self) -> None:
        try:
            await self._pass_on()
        except* Closed:
            self._to_caller.close()
        except* OSError:  # refused by the target, or reset by either side: passed on as a reset
            reset(self._to_caller)
        finally:
            if self._to_target is not None:
                self._to_target.transport.abort()
            self._over(self)

    async def _pass_on(self) -> None:
        _no_delay(self._to_caller)
        if self._conditions.faults.mode == "half_open":
            self.lost = True
            return await self._there()
        try:
            target, self._to_target = await self._connect()
        except OSError:
            await self._hear_first_byte()
            raise
        async with asyncio.TaskGroup() as both_ways:
            both_ways.create_task(self._there())
            both_ways.create_task(self._back(target))

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self._conditions.faults.mode == "reset":
            raise ConnectionResetError
        connecting = asyncio.open_connection(*self._conditions.target, limit=CHUNK_BYTES)
        return await asyncio.wait_for(connecting, CONNECT_SECONDS)

    async def _hear_first_byte(self) -> None:
        """Let the caller speak before it is reset: else it would, now and then, take it for a refused connection."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._caller.read(1), FIRST_BYTE_SECONDS)

    async def _there(self) -> None:
        while data := await self._caller.read(CHUNK_BYTES):
            for piece, ends in self._requests.split(data):
                await self._begin(self._requests)
                self._beginning[self._requests] = ends
                if not self._loses_bytes() and self._to_target is not None:
                    self._to_target.write(piece)
                    await self._to_target.drain()
        if self._loses_bytes() or self._to_target is None:
            raise Closed
        self._to_target.write_eof()

    async def _back(self, target: asyncio.StreamReader) -> None:
        while data := await target.read(CHUNK_BYTES):
            for piece, ends in self._answers.split(data):
                await self._begin(self._answers)
                self._beginning[self._answers] = ends
                if self._loses_bytes():
                    continue
                if not self._swallow:
                    self._to_caller.write(piece)
                    await self._to_caller.drain()
                elif ends or self._answers.raw:
                    raise Closed
        if not self._loses_bytes():
            raise Closed

    def _loses_bytes(self) -> bool:
        self.lost = self.lost or self._conditions.faults.mode == "half_open"
        return self.lost

    async def _begin(self, way: Framing) -> None:
        """Decide and delay at the first byte of a message; without messages (not HTTP), whenever the way changes."""
        first, turned = self._beginning[way], way.raw and way is not self._last
        self._last = way
        if self._loses_bytes() or not (first or turned):
            return
        if way is self._requests:
            await self._begin_request(first)
        else:
            await self._begin_answer()

    async def _begin_request(self, first: bool) -> None:
        if first:
            self._decision = self._conditions.decide()
            self._decided.append(self._decision)
        if self._decision.fate == DROP:
            raise Closed
        if self._decision.fate == RESET:
            raise ConnectionResetError
        await asyncio.sleep(self._conditions.faults.latency + self._decision.there)

    async def _begin_answer(self) -> None:
        if self._decided:
            self._decision = self._decided.popleft()
        self._swallow = self._decision.fate == LOSE or self._conditions.loses_this_answer()
        await asyncio.sleep(self._conditions.faults.latency + self._decision.back)


def reset(writer: asyncio.StreamWriter) -> None:
    """Close with RST instead of FIN: a linger time of zero throws away what is unsent (socket(7), SO_LINGER)."""
    endpoint = writer.get_extra_info("socket")
    if endpoint is not None and endpoint.fileno() >= 0:
        endpoint.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


def _no_delay(writer: asyncio.StreamWriter) -> None:
    writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
