"""The handle on one edge between two services: what a check or a notebook says to the fault proxy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from lab_services.errors import LabError


class EdgeFault:
    """Break the connection between two services on purpose; several faults of one edge add up until `clear()`.

    `send` takes one message and returns the answer of the fault proxy: {"ok": true} or {"error": "..."}.
    Every method returns once the fault is in force, and raises LabError when the proxy refuses it.
    """

    def __init__(self, name: str, send: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
        self.name = name
        self._send = send

    def latency(self, seconds: float) -> None:
        """Delay the first byte of each request and of each answer by `seconds`: a round trip takes twice as long."""
        self._ask("latency", seconds=seconds)

    def jitter(self, seconds: float, seed: int = 0) -> None:
        """Delay each request and each answer by a random time of up to `seconds`, the same for the same seed."""
        self._ask("jitter", seconds=seconds, seed=seed)

    def reset(self) -> None:
        """Reset every connection, those that are open and those to come: the caller sees "connection reset"."""
        self._ask("reset")

    def refuse(self) -> None:
        """Refuse new connections, as if nobody listened; those that are open go on."""
        self._ask("refuse")

    def half_open(self) -> None:
        """Accept and read, never answer, never close; after `clear()` connections that lost bytes are reset."""
        self._ask("half_open")

    def drop_answer(self, times: int = 1) -> None:
        """Lose the next answers: the request takes effect, its answer is swallowed, the connection is closed."""
        self._ask("drop_answer", times=times)

    def clear(self) -> None:
        """Take away every fault of this edge; the weather stays."""
        self._ask("clear")

    def _ask(self, fault: str, **settings: float) -> None:
        answer = self._send({"edge": self.name, "fault": fault, **settings})
        if "error" in answer:
            raise LabError(
                f"the connection {self.name} cannot be broken in this way",
                where=f"{fault}({', '.join(f'{key}={value}' for key, value in settings.items())})",
                evidence=str(answer["error"]),
                next_step="faults: latency, jitter, reset, refuse, half_open, drop_answer, clear",
            )

    def __repr__(self) -> str:
        return f"EdgeFault({self.name!r})"
