"""The interface definitions of the city in protos/, compiled when a service or a client imports them.

Nothing that is generated is ever stored, so it cannot be older than its .proto.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import grpc

PROTOS = Path(__file__).parent / "protos"
GENERATE_SECONDS = 20


def compiled(proto: str) -> tuple[Any, Any]:
    """Return the messages and the stubs of an interface: compiled("bikeshare/locks/v1/locks.proto").

    Once for a process: protobuf knows one version of a name, so a process that shall speak another one starts anew.
    """
    sys.path.append(str(PROTOS))  # where the compiler looks for a .proto, and Python for what imports another
    try:
        messages, services = grpc.protos_and_services(proto)
    finally:
        sys.path.remove(str(PROTOS))
    return messages, services


def generated(proto: Path) -> str:
    """Return what gRPC's plug-in of protoc writes for a .proto: stub and skeleton, to be read.

    Raises:
        ValueError: protoc cannot read it; the message is protoc's.
    """
    with TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "grpc_tools.protoc", f"-I{proto.parent}", f"--grpc_python_out={folder}"]
        done = subprocess.run([*command, proto.name], capture_output=True, text=True, timeout=GENERATE_SECONDS)
        if done.returncode:
            raise ValueError(done.stderr.strip())
        return Path(folder, f"{proto.stem}_pb2_grpc.py").read_text(encoding="utf-8")
