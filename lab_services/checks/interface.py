"""Look at a .proto without running it: what buf says of it, and its messages in a pool of their own.

protobuf knows one version of a name in one process. A pool of its own lets a process hold several versions of an
interface: the one in use, the learner's, and one of the future.
"""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from google.protobuf import descriptor_pool, message_factory
from google.protobuf.descriptor_pb2 import FileDescriptorProto, FileDescriptorSet

from lab_services.errors import LabError
from lab_services.servers import find_program

BUF_SECONDS = 20
FINDINGS = 100  # the status with which buf ends when it has found something
SETTINGS = "version: v2\nlint:\n  use: [STANDARD]\nbreaking:\n  use: [WIRE_JSON]\n"


def lint(proto: Path) -> list[str]:
    """Return what `buf lint` finds in a .proto; it is judged in the folder that its package names."""
    with TemporaryDirectory() as folder:
        _lay(proto, proto.name, Path(folder))
        return _findings(_buf(["lint", "--error-format=json"], folder))


def breaking(proto: Path, against: Path) -> list[str]:
    """Return what `buf breaking` finds: changes after which old bytes, or old JSON, mean something else."""
    with TemporaryDirectory() as folder, TemporaryDirectory() as before:
        _lay(proto, proto.name, Path(folder))
        _lay(against, proto.name, Path(before))
        return _findings(_buf(["breaking", f"--against={before}", "--error-format=json"], folder))


class Interface:
    """The messages of one version of an interface: Interface(path).message("Report") is a class.

    `change` is called with the description of the file before it is used: a client of the future, for example.
    Raises LabError when it cannot be compiled.
    """

    def __init__(self, proto: Path, change: Callable[[FileDescriptorProto], object] | None = None) -> None:
        with TemporaryDirectory() as folder:
            _lay(proto, proto.name, Path(folder))
            done = _buf(["build", "--output=-", "--error-format=json"], folder)
        if done.returncode:
            raise LabError(f"{proto.name} cannot be compiled", where=str(proto), evidence="\n".join(_findings(done)),
                           next_step="mend that line and save")  # fmt: skip
        files = FileDescriptorSet.FromString(done.stdout).file
        main = next(file for file in files if file.name.endswith("/" + proto.name))
        if change:
            change(main)
        self._pool = descriptor_pool.DescriptorPool()
        for file in files:  # what a file imports comes before it
            self._pool.Add(file)
        self._package = main.package

    def message(self, name: str) -> Any:
        """Return the class of a message of the interface's own package."""
        described = self._pool.FindMessageTypeByName(f"{self._package}.{name}")
        return message_factory.GetMessageClass(described)


def _lay(proto: Path, name: str, folder: Path) -> None:
    text = proto.read_text(encoding="utf-8")
    package = re.search(r"^\s*package\s+([\w.]+)\s*;", text, re.MULTILINE)
    home = folder.joinpath(*(package[1].split(".") if package else ()))
    home.mkdir(parents=True, exist_ok=True)
    (home / name).write_text(text, encoding="utf-8")
    (folder / "buf.yaml").write_text(SETTINGS)


def _buf(arguments: list[str], folder: str) -> subprocess.CompletedProcess[bytes]:
    program = find_program("buf", "buf-bin", "pip install buf-bin")
    return subprocess.run([program, *arguments], cwd=folder, capture_output=True, timeout=BUF_SECONDS)


def _findings(done: subprocess.CompletedProcess[bytes]) -> list[str]:
    said = (done.stdout + done.stderr).decode("utf-8", "replace").splitlines()
    if done.returncode in (0, FINDINGS):
        return [_line(json.loads(line)) for line in said if line.startswith("{")]
    return said or [f"buf ended with status {done.returncode}"]


def _line(found: dict[str, Any]) -> str:
    place = f"{Path(found.get('path', '')).name}:{found.get('start_line', 1)}"
    return f"{place} {found['type']}: {found['message']}"
