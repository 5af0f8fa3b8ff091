"""Addresses that stay: a port that belongs to a service as long as its lab runs.

Two sockets share the port (SO_REUSEPORT, socket(7)). One is bound and never listens: it reserves the number, so no
stranger can get it while the service is down. The other listens, exists only while the service lives, and is handed
to its process, so a killed service refuses connections at once instead of leaving callers in a backlog.
gRPC opens the listening socket itself: it binds the reserved number, a third socket beside the two.
A foreign server does the same without SO_REUSEPORT (`for_server`): Linux lets it beside a socket that does not listen,
BSD and macOS beside one that is bound to all addresses (both with SO_REUSEADDR, which Go and libuv set).
"""

from __future__ import annotations

import socket

from lab_services.errors import MachineError

HOST = "127.0.0.1"
EVERY_HOST = "0.0.0.0"  # only to reserve a number: nothing of ours ever listens there
BACKLOG = 2048


class Port:
    """One reserved loopback port and, while the service lives, its listening socket."""

    def __init__(self, for_server: bool = False) -> None:
        self._reserved = _bound(0, EVERY_HOST if for_server else HOST)
        self.number: int = self._reserved.getsockname()[1]
        self._listener: socket.socket | None = None

    @property
    def url(self) -> str:
        """The address for HTTP clients."""
        return f"http://{HOST}:{self.number}"

    @property
    def target(self) -> str:
        """The address for clients of gRPC and TCP: host and port, no scheme."""
        return f"{HOST}:{self.number}"

    @property
    def served_at(self) -> str:
        """Where the program itself listens, in gRPC's words: host:port, or unix:/path of a socket file."""
        return self.target

    def listen(self) -> socket.socket:
        """Return the listening socket, opened now if the service was down."""
        if self._listener is None:
            listener = self._open()
            listener.listen(BACKLOG)
            self._listener = listener
        return self._listener

    def _open(self) -> socket.socket:
        return _bound(self.number)

    def refuse(self) -> None:
        """Close the listening socket here: once the process is gone too, connections are refused."""
        if self._listener is not None:
            self._listener.close()
            self._listener = None

    def release(self) -> None:
        """Give the port back to the machine."""
        self.refuse()
        self._reserved.close()


def _bound(number: int, host: str = HOST) -> socket.socket:
    endpoint = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    endpoint.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    endpoint.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    # Accepted connections inherit it; without, a keep-alive request waits 40 ms for a delayed acknowledgement.
    endpoint.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    try:
        endpoint.bind((host, number))
    except OSError as error:
        endpoint.close()
        raise MachineError(
            "no port could be had on this machine" if number == 0 else f"port {number} was taken by another program",
            where=f"{HOST}:{number or 'any port'}",
            evidence=str(error),
            next_step="lab.stop() and then lab.start(): it asks for another port; `course doctor` looks for the cause",
        ) from error
    return endpoint
