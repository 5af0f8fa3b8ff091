"""The output of one service: drained from the first byte, kept in memory and in a file, both bounded."""

from __future__ import annotations

import asyncio
import os
from collections import deque
from contextlib import suppress
from pathlib import Path

CHUNK_BYTES = 65536
KEPT_LINES = 2000
LINE_BYTES = 4000
FILE_BYTES = 2_000_000  # then the file is set aside once as <name>.log.1


class LogTail:
    """Reads a pipe for as long as anybody writes to it. A full disk stops the file, never the service."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.dropped = 0
        self._lines: deque[str] = deque(maxlen=KEPT_LINES)
        self._rest = b""
        self._written = 0
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")

    def pipe(self) -> int:
        """Return a descriptor to write to; what arrives is kept until the last writer has closed it."""
        reader, writer = os.pipe()
        os.set_blocking(reader, False)
        asyncio.get_running_loop().add_reader(reader, self._drain, reader)
        return writer

    def _drain(self, reader: int) -> None:
        try:
            chunk = os.read(reader, CHUNK_BYTES)
        except BlockingIOError:
            return
        except OSError:
            chunk = b""
        if not chunk:
            asyncio.get_running_loop().remove_reader(reader)
            os.close(reader)
            return
        self._keep(chunk)
        with suppress(OSError):  # the disk is full, or the learner deleted the folder: memory still has the lines
            self._write(chunk)

    def _keep(self, chunk: bytes) -> None:
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        if len(self._rest) > LINE_BYTES:
            lines.append(self._rest)
            self._rest = b""
        self.dropped += max(0, len(self._lines) + len(lines) - KEPT_LINES)
        self._lines.extend(line[:LINE_BYTES].decode("utf-8", "backslashreplace") for line in lines)

    def _write(self, chunk: bytes) -> None:
        if self._written > FILE_BYTES:
            os.replace(self.path, self.path.with_suffix(".log.1"))
            self._written = 0
        with self.path.open("ab") as log:
            log.write(chunk)
        self._written += len(chunk)

    def say(self, text: str) -> None:
        """Add lines that the lab says of the service, in the order in which they come."""
        chunk = "".join(f"{line}\n" for line in text.splitlines()).encode("utf-8", "backslashreplace")
        self._keep(chunk)
        with suppress(OSError):
            self._write(chunk)

    def last(self, count: int) -> list[str]:
        """Return the last `count` lines, oldest first; an unfinished line counts."""
        rest = [self._rest.decode("utf-8", "backslashreplace")] if self._rest else []
        return [*self._lines, *rest][-count:] if count > 0 else []

    def with_text(self, text: str) -> list[str]:
        """Return the kept lines that contain `text`."""
        return [line for line in self._lines if text in line]
