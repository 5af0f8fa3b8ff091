"""The fault proxy: one process between the services, which passes bytes on until it is told to break a connection.

An *edge* is one service calling another ("rides->wallet"); each has a listening socket of its own, whose address the
caller gets in place of the real one. Commands come as JSON lines on a control socket, each is answered when it is in
force: {"ok": true} or {"error": "..."}. The end of the control socket ends the process.

    {"edge": "rides->wallet", "fault": "latency", "seconds": 0.3}
    ... "jitter" (seconds, seed), "reset", "refuse", "half_open", "drop_answer" (times), "clear"
    {"edge": "rides->wallet", "fault": "aim", "host": "127.0.0.1", "port": 4002}   where it leads from now on
    {"fault": "weather", "name": "storm", "seed": 7}                               without an edge: every edge
"""

from __future__ import annotations

import asyncio
import errno
import json
import os
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lab_services.runtime.edge_connection import CHUNK_BYTES, Conditions, Connection, Faults
from lab_services.runtime.edge_fault import EdgeFault
from lab_services.runtime.edge_grpc import GrpcConnection
from lab_services.runtime.weather import WEATHERS, Weather, decisions

__all__ = ["Edge", "EdgeFault", "decisions", "run", "serve_edges"]

BACKLOG = 1024
MOST_SECONDS = 600.0
FAULTS = "latency, jitter, reset, refuse, half_open, drop_answer, clear, weather"


@dataclass(frozen=True)
class Edge:
    """One service calling another: the socket that the caller is sent to, and where it really leads."""

    name: str
    listener: socket.socket
    host: str = ""
    port: int = 0
    speaks: str = "http"


class Door:
    """An edge at work: where it listens, its conditions, its open connections."""

    def __init__(self, edge: Edge) -> None:
        self._listener = edge.listener
        self._address = edge.listener.getsockname()
        self._server: asyncio.Server | None = None
        self._must_bind = False
        self._connections: set[Connection] = set()
        self._connection = GrpcConnection if edge.speaks == "grpc" else Connection
        self._conditions = Conditions(edge.name, (edge.host, edge.port))

    async def open(self) -> None:
        """Listen, if it does not already."""
        if self._must_bind:
            self._bind_again()
            self._must_bind = False
        if self._server is None:
            server = asyncio.start_server(self._accept, sock=self._listener.dup(), limit=CHUNK_BYTES, backlog=BACKLOG)
            self._server = await server

    def _bind_again(self) -> None:
        try:
            self._listener.bind(self._address)
        except OSError as error:
            if error.errno != errno.EINVAL:  # bound it is: a port that was asked for by number outlives the shutdown
                raise

    def shut(self) -> None:
        """Stop listening, so that the system refuses new connections: the socket can be bound again to its address."""
        if self._server is not None:
            self._server.close()
            self._server = None
            self._listener.shutdown(socket.SHUT_RDWR)
            self._must_bind = True

    async def obey(self, message: Mapping[str, Any]) -> None:
        """Put one command into force; ValueError says what is wrong with it."""
        to, fault = self._conditions, message.get("fault")
        if fault == "aim":
            to.target = (str(message["host"]), _whole(message, "port", 0))
        elif fault == "latency":
            to.faults.latency = _seconds(message)
        elif fault == "jitter":  # a weather of its own; a weather's delay is that of a round trip
            to.faults.jitter = Weather("jitter", delay_seconds=2 * _seconds(message))
            to.faults.jitter_seed = _whole(message, "seed", 0)
        elif fault == "drop_answer":
            to.faults.answers_to_lose = _whole(message, "times", 1)
        elif fault == "weather":
            to.weather, to.seed, to.decided = _weather(message), _whole(message, "seed", 0), 0
        elif fault in ("clear", "reset", "refuse", "half_open"):
            await self._become(fault)
        else:
            raise ValueError(f"no fault {fault!r}; there are {FAULTS}")

    async def _become(self, mode: str) -> None:
        if mode == "refuse":
            self.shut()
        else:
            await self.open()
        if mode == "clear":
            self._conditions.faults = Faults()
        else:
            self._conditions.faults.mode = mode
        for connection in list(self._connections):
            if mode == "reset" or (mode == "clear" and connection.lost):
                connection.reset()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._connections.add(self._connection(self._conditions, reader, writer, self._connections.discard))


async def serve_edges(edges: Mapping[str, Edge], control: socket.socket) -> None:
    """Listen on every edge and obey the control socket until it ends."""
    doors = {name: Door(edge) for name, edge in edges.items()}
    for door in doors.values():
        await door.open()
    commands, answers = await asyncio.open_connection(sock=control)
    while line := await commands.readline():
        answers.write(json.dumps(await _obey(doors, line)).encode() + b"\n")
        await answers.drain()


def run(sockets: Sequence[socket.socket]) -> None:
    """Run the proxy: the control socket, then one listening socket for each edge that the variable EDGES lists.

    EDGES is JSON: [{"name": "rides->wallet", "host": "127.0.0.1", "port": 4001}]; port 0: not known yet, see "aim".
    With "speaks": "grpc" the faults are those of calls, many of which share one connection.
    """
    control, *listeners = sockets
    places = json.loads(os.environ["EDGES"])
    edges = [Edge(listener=listener, **place) for place, listener in zip(places, listeners, strict=True)]
    asyncio.run(serve_edges({edge.name: edge for edge in edges}, control))


async def _obey(doors: Mapping[str, Door], line: bytes) -> dict[str, Any]:
    try:
        message = json.loads(line)
        name = message.get("edge")
        if name is not None and name not in doors:
            raise ValueError(f"no edge {name!r}; there are {', '.join(doors) or 'none'}")
        for door in doors.values() if name is None else [doors[name]]:
            await door.obey(message)
    except (ValueError, KeyError, TypeError, AttributeError, OSError) as error:
        return {"error": str(error) if isinstance(error, (ValueError, OSError)) else f"not a command: {line!r}"}
    return {"ok": True}


def _seconds(message: Mapping[str, Any]) -> float:
    seconds = message.get("seconds")
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 <= seconds <= MOST_SECONDS:
        raise ValueError(f"seconds is {seconds!r}: a number from 0 to {MOST_SECONDS:g} is meant")
    return float(seconds)


def _whole(message: Mapping[str, Any], name: str, default: int) -> int:
    number = message.get(name, default)
    if isinstance(number, bool) or not isinstance(number, int) or number < 0:
        raise ValueError(f"{name} is {number!r}: a whole number is meant")
    return number


def _weather(message: Mapping[str, Any]) -> Weather:
    name = str(message.get("name"))
    if name not in WEATHERS:
        raise ValueError(f"no weather {name!r}; there are {', '.join(WEATHERS)}")
    return WEATHERS[name]
