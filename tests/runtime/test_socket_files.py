"""Socket files: short paths, for their owner alone, and gone with the run."""

from __future__ import annotations

import socket
import stat
import tempfile
from pathlib import Path

import pytest

from lab_services.errors import MachineError
from lab_services.runtime.ports import Port
from lab_services.runtime.socket_files import (
    PATH_BYTES,
    SocketFile,
    make_sockets_folder,
    remove_sockets_folder,
    sockets_folder,
)

MARK = "work|10_town|test of socket files"


def test_the_longest_name_of_a_service_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    """The path of a gRPC process that is about to take over, of the 16th replica of a long name, fits everywhere."""
    for temporary in ("/tmp", "/tmp/" + "x" * 20, "/tmp/" + "x" * 200):
        monkeypatch.setattr(tempfile, "tempdir", temporary)
        path = sockets_folder(MARK) / f"{'s' * 40}-16.sock.4194304"
        assert len(str(path)) <= PATH_BYTES


def test_a_run_has_a_folder_of_its_own() -> None:
    """Its name comes from the mark, but cannot lead anywhere else, and its owner alone may look into it."""
    assert sockets_folder(MARK) == sockets_folder(MARK) != sockets_folder(MARK + "2")
    assert sockets_folder("../../x").parent == sockets_folder(MARK).parent
    folder = make_sockets_folder(MARK)
    try:
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        (folder / "left").touch()
        assert list(make_sockets_folder(MARK).iterdir()) == []
    finally:
        remove_sockets_folder(MARK)
    assert not folder.exists()
    remove_sockets_folder(MARK)


def test_a_socket_file_is_there_as_long_as_somebody_listens(tmp_path: Path) -> None:
    """It has the address of the sidecar; after refuse() nobody can connect, and it can be opened again."""
    inbound = Port(for_server=True)
    port = SocketFile(Path(tempfile.mkdtemp(dir="/tmp")) / "rides-1.sock", inbound)
    try:
        assert (port.url, port.target, port.served_at) == (inbound.url, inbound.target, f"unix:{port.path}")
        for _ in range(2):
            assert port.listen() is port.listen()
            with socket.socket(socket.AF_UNIX) as caller:
                caller.connect(str(port.path))
            port.refuse()
            assert not port.path.exists()
    finally:
        port.release()
        port.path.parent.rmdir()
        inbound.release()


def test_a_socket_file_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    """A folder that has gone is the machine's error, in four parts."""
    inbound = Port(for_server=True)
    try:
        with pytest.raises(MachineError) as caught:
            SocketFile(tmp_path / "gone" / "rides-1.sock", inbound).listen()
        assert caught.value.where.endswith("rides-1.sock") and caught.value.evidence and caught.value.next_step
    finally:
        inbound.release()
