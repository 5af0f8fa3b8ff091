"""Stand on the wire between services and the broker: hold up one message, as if the network or its sender had slept.

A check puts it in place of a broker that some services are told of:

    city.start(replace={"wire": wire.url}, skip=["relay"])
    wire.broker = city["broker"].url
    city.launch("relay")
"""

from __future__ import annotations

import json
import socket
import threading
from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit

from lab_services.checks.probes import eventually

HELD_SECONDS = 8.0  # at most; then the message goes on by itself
CAUGHT_SECONDS = 3.0
COUNTED = (b"PUB", b"HPUB")  # commands that have content behind them


class BrokerWire:
    """The wire; `url` is where the services find it, `broker` where the broker is, once it is there."""

    def __init__(self) -> None:
        self.broker = ""
        self._door = socket.create_server(("127.0.0.1", 0))
        self.url = f"nats://127.0.0.1:{self._door.getsockname()[1]}"
        self._prefix = b""
        self._lock = threading.Lock()
        self._holder = ""
        self._gate = threading.Event()
        _start(self._accept)

    def hold(self, prefix: str) -> None:
        """Hold up the next message on a subject that begins so, and all that its connection says after it."""
        with self._lock:
            self._holder, self._prefix = "", prefix.encode()
            self._gate.clear()

    def caught(self, within: float = CAUGHT_SECONDS) -> str:
        """Return whose message is held up, by the name of the connection ("relay-1"); nothing when none has come."""
        return eventually(lambda: self._holder, within)

    def let_go(self) -> None:
        """Let everything go on."""
        with self._lock:
            self._prefix = b""
        self._gate.set()

    def close(self) -> None:
        """Let everything go on, and take no more connections."""
        self.let_go()
        self._door.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                here = self._door.accept()[0]
                place = urlsplit(self.broker)
                there = socket.create_connection((place.hostname, place.port))
                _start(self._speak, here, there)
                _start(_answer, there, here)

    def _speak(self, here: socket.socket, there: socket.socket) -> None:
        name = ""
        with suppress(OSError, ValueError), here, there, here.makefile("rb") as words:
            while line := words.readline():
                verb, *rest = line.split(maxsplit=1)
                if verb.upper() == b"CONNECT":
                    name = str(json.loads(rest[0]).get("name"))
                content = words.read(int(line.split()[-1]) + 2) if verb.upper() in COUNTED else b""
                if content and self._catches(rest[0], name):
                    self._gate.wait(HELD_SECONDS)
                there.sendall(line + content)

    def _catches(self, subject: bytes, name: str) -> bool:
        with self._lock:
            if not self._prefix or not subject.startswith(self._prefix):
                return False
            self._prefix, self._holder = b"", name
            return True


def _answer(there: socket.socket, here: socket.socket) -> None:
    with suppress(OSError):
        while content := there.recv(65536):
            here.sendall(content)
        here.shutdown(socket.SHUT_RDWR)


def _start(work: Any, *values: Any) -> None:
    threading.Thread(target=work, args=values, daemon=True).start()
