"""Addresses that no port leads to: a program beside a sidecar listens on a socket file, and its sidecar alone finds it.

Each run has a folder of its own for them, readable by its owner alone. It is short, because the path of such a socket
holds 103 characters at most (sockaddr_un on macOS; unix(7): 107), and named after the mark of the run, so that it is
removed with whatever else a crash has left behind.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import socket
import tempfile
from pathlib import Path

from lab_services.errors import MachineError
from lab_services.runtime.ports import Port

PATH_BYTES = 103
LONGEST_NAME = 60  # service of 40 characters, number, .sock, and the pid of a gRPC process that is about to take over


class SocketFile(Port):
    """Where a program beside a sidecar listens; the number, hence `url` and `target`, is the sidecar's inbound port."""

    def __init__(self, path: Path, inbound: Port) -> None:
        self.path = path
        self.number = inbound.number
        self._listener = None

    @property
    def served_at(self) -> str:
        """The socket file in gRPC's words."""
        return f"unix:{self.path}"

    def _open(self) -> socket.socket:
        self.path.unlink(missing_ok=True)
        endpoint = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            endpoint.bind(str(self.path))
        except OSError as error:
            endpoint.close()
            raise MachineError(
                "a socket file cannot be made",
                where=str(self.path),
                evidence=str(error),
                next_step="`course doctor` looks at disk and permissions; then lab.stop() and lab.start()",
            ) from error
        return endpoint

    def refuse(self) -> None:
        """Close the socket here and remove its file: whoever connects finds nothing."""
        super().refuse()
        self.path.unlink(missing_ok=True)

    def release(self) -> None:
        """Remove the file; the port belongs to the sidecar."""
        self.refuse()


def sockets_folder(mark: str) -> Path:
    """Return the folder for the socket files of a run, by the mark of its processes (COURSE_RUN).

    Raises:
        MachineError: every temporary folder of this machine has too long a name.
    """
    name = "mesh-" + hashlib.sha256(mark.encode()).hexdigest()[:16]
    places = [Path(tempfile.gettempdir()), Path("/tmp")]
    for place in places:
        if len(os.fsencode(place / name)) + 1 + LONGEST_NAME <= PATH_BYTES:
            return place / name
    raise MachineError(
        "the folder for temporary files has too long a name for socket files",
        where=str(places[0]),
        evidence=f"the path of a socket holds {PATH_BYTES} bytes",
        next_step="start from a terminal with TMPDIR=/tmp",
    )


def make_sockets_folder(mark: str) -> Path:
    """Make the folder, for its owner alone, and return it; one that this very run has made before is emptied."""
    folder = sockets_folder(mark)
    remove_sockets_folder(mark)
    folder.mkdir(mode=0o700)
    return folder


def remove_sockets_folder(mark: str) -> None:
    """Remove the folder of a run with all that is in it, if it is there."""
    try:
        shutil.rmtree(sockets_folder(mark), ignore_errors=True)
    except MachineError:
        return
