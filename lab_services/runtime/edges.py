"""The fault proxies of a running system: one listening socket per edge, one process for all of them."""

from __future__ import annotations

import asyncio
import json
import os
import socket
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from lab_services.errors import RuntimeLost, UnknownName
from lab_services.runtime.logs import LogTail
from lab_services.runtime.ports import HOST, Port
from lab_services.runtime.processes import LauncherClient, Process

FAULT_PROXY = "lab_services.runtime.faults:run"
ANSWER_SECONDS = 5.0
STOP_SECONDS = 1.0


class Edges:
    """Stands between the services of a system, so that every connection can be given weather and faults."""

    def __init__(self, launcher: LauncherClient, logs: Path, weather: str, seed: int) -> None:
        self._launcher = launcher
        self._log = LogTail(logs / "weather.log")
        self._weather, self._seed = weather, seed
        self._ports: dict[tuple[str, str], Port] = {}
        self._process: Process | None = None
        self._one_at_a_time = asyncio.Lock()

    @property
    def running(self) -> bool:
        """True while the proxy process lives."""
        return self._process is not None and self._process.alive

    def targets_of(self, source: str) -> tuple[str, ...]:
        """Return the services that `source` reaches through a proxy."""
        return tuple(target for origin, target in self._ports if origin == source)

    def url(self, source: str, target: str) -> str:
        """Return the proxied address, or nothing for an edge without a proxy."""
        port = self._ports.get((source, target))
        return port.url if port else ""

    async def start(self, edges: Iterable[tuple[str, str, str, str]]) -> None:
        """Start the proxy for (source, target, address of the target, http or grpc); the address may be empty."""
        targets = {(source, target): (url, speaks) for source, target, url, speaks in edges}
        self._ports = self._ports or {edge: Port() for edge in targets}
        listed = [
            {"name": f"{source}->{target}", "speaks": targets[source, target][1], **_place(targets[source, target][0])}
            for source, target in self._ports
        ]
        ours, theirs = socket.socketpair()
        env = {**os.environ, "EDGES": json.dumps(listed), "SERVICE_NAME": "weather"}
        log = self._log.pipe()
        listeners = [port.listen().fileno() for port in self._ports.values()]
        order = {"call": FAULT_PROXY, "env": env, "folder": str(self._log.path.parent)}
        self._process = await self._launcher.start(order, [log, theirs.fileno(), *listeners], None)
        os.close(log)
        theirs.close()
        self._reader, self._writer = await asyncio.open_connection(sock=ours)
        answer = await self.ask({"fault": "weather", "name": self._weather, "seed": self._seed})
        if "error" in answer:
            raise UnknownName(str(answer["error"]), where="weather", next_step='lab.start(weather="drizzle", seed=7)')

    async def aim(self, target: str, url: str) -> None:
        """Tell the proxy where a target is, once it is known."""
        for origin, name in self._ports:
            if name == target:
                place = _place(url)
                await self.ask({"edge": f"{origin}->{name}", "fault": "aim", **place})

    async def ask(self, message: dict[str, Any]) -> dict[str, Any]:
        """Send one order to the proxy and return its acknowledgement.

        Raises:
            RuntimeLost: the proxy has ended or does not answer within 5 s.
        """
        async with self._one_at_a_time:
            try:
                self._writer.write(json.dumps(message).encode() + b"\n")
                line = await asyncio.wait_for(self._reader.readline(), ANSWER_SECONDS)
                answer: dict[str, Any] = json.loads(line)
            except (TimeoutError, OSError, ValueError) as error:
                raise RuntimeLost(
                    "the fault proxy does not answer",
                    where="weather",
                    evidence="\n".join([repr(error), *self._log.last(5)]),
                    next_step="lab.stop() and then lab.start()",
                ) from error
        return answer

    async def close(self) -> None:
        """Stop the proxy and give the ports back."""
        if self._process is not None:
            self._writer.close()
            await self._process.end(STOP_SECONDS)
        for port in self._ports.values():
            port.release()


def _place(url: str) -> dict[str, Any]:
    parts = urlsplit(url if "//" in url else f"//{url}")  # of a gRPC service it is host:port alone
    return {"host": parts.hostname or HOST, "port": parts.port or 0}
