"""JSON lines, with file descriptors where needed, over one AF_UNIX stream socket.

Three pairs talk this way: supervisor and launcher, supervisor and each Python service, supervisor and the fault proxy.
A message that carries descriptors says how many in its field `fds`; they arrive in the order of the messages,
so the reader can pair them whatever way the kernel has cut the stream (unix(7), SCM_RIGHTS).
"""

from __future__ import annotations

import json
import os
import socket
from collections import deque
from collections.abc import Sequence
from typing import Any

CHUNK_BYTES = 65536
MOST_FDS = 64


def send(channel: socket.socket, message: dict[str, Any], fds: Sequence[int] = ()) -> None:
    """Send one message; at most 64 descriptors travel with it.

    Raises:
        OSError: the other side is gone.
    """
    line = json.dumps({**message, "fds": len(fds)} if fds else message).encode() + b"\n"
    sent = socket.send_fds(channel, [line], fds) if fds else channel.send(line)
    if sent < len(line):
        channel.sendall(line[sent:])


class Reader:
    """Collects what arrives on a channel and gives it out as whole messages."""

    def __init__(self, channel: socket.socket) -> None:
        self._channel = channel
        self._text = b""
        self._fds: deque[int] = deque()
        self.closed = False

    def read(self) -> list[tuple[dict[str, Any], list[int]]]:
        """Return the messages that one read completes; sets `closed` at the end of the stream."""
        try:
            text, fds, _, _ = socket.recv_fds(self._channel, CHUNK_BYTES, MOST_FDS)
        except (BlockingIOError, InterruptedError):
            return []
        except OSError:
            text, fds = b"", []
        for fd in fds:
            os.set_inheritable(fd, False)  # a program that is executed later must not keep a listening socket open
        self._fds.extend(fds)
        if not text:
            self.closed = True
            return []
        *lines, self._text = (self._text + text).split(b"\n")
        return [self._message(line) for line in lines if line]

    def _message(self, line: bytes) -> tuple[dict[str, Any], list[int]]:
        message: dict[str, Any] = json.loads(line)
        return message, [self._fds.popleft() for _ in range(message.get("fds", 0))]

    def drop(self) -> None:
        """Close the descriptors that nobody has taken."""
        while self._fds:
            os.close(self._fds.popleft())
