"""Import what a service is made of, and say which files of the folder that took: modules and .proto files."""

from __future__ import annotations

import importlib
import os
import sys
from pathlib import Path
from typing import Any

from lab_services.runtime.broken import explain_import_failure


def load(target: str, form: str = "app = FastAPI()") -> Any:
    """Import `module:attribute` from the working directory and return the attribute, which looks like `form`.

    Raises:
        BrokenCode: the module, or a .proto file that it uses, cannot be read; with file, line and the next step.
    """
    module_name, _, attribute = target.partition(":")
    folder = os.getcwd()
    sys.path.insert(0, folder)
    sys.dont_write_bytecode = True  # a .pyc of the same second and size would hide an edit
    if not "".join(sys.path).isascii():
        let_protos_stand_anywhere()
    try:
        module = importlib.import_module(module_name)
        return getattr(module, attribute or "app")
    except Exception as error:
        raise explain_import_failure(error, folder, target, form) from error


def used_files(folder: str) -> list[str]:
    """Return the files below `folder` that this process lives on, as relative paths."""
    root = os.path.join(folder, "")  # as it stands in sys.path, hence in each __file__
    paths = {path for m in list(sys.modules.values()) if (path := getattr(m, "__file__", None))}
    modules = {path.removeprefix(root) for path in paths if path.startswith(root)}
    return sorted(modules | _protos(Path(folder)))


def _protos(folder: Path) -> set[str]:
    """Find the .proto files that the process has generated code from, in whatever way it did.

    protobuf keeps every description in one pool, under the name that protoc was given: the path below a folder that
    was searched, hence the end of the file's path.
    """
    if "google.protobuf.descriptor_pool" not in sys.modules:
        return set()
    pool = sys.modules["google.protobuf.descriptor_pool"].Default()
    found = set()
    listed = (Path(place, name) for place, _, names in os.walk(folder) for name in names)  # passes by what vanishes
    for path in (path for path in listed if path.suffix == ".proto"):
        parts = path.relative_to(folder).parts
        if any(_knows(pool, "/".join(parts[at:])) for at in range(len(parts))):
            found.add("/".join(parts))
    return found


def _knows(pool: Any, name: str) -> bool:
    try:
        pool.FindFileByName(name)
    except KeyError:
        return False
    return True


def let_protos_stand_anywhere() -> None:
    """Let `grpc.protos_and_services` work below a folder whose name is not ASCII (grpcio-tools 1.85 refuses to)."""
    from grpc_tools import protoc

    class AnyPathLoader(protoc.ProtoLoader):  # type: ignore[misc]  # grpc_tools has no types
        def exec_module(self, module: Any) -> None:
            """Generate the module; what it imports in turn is found and generated in the same way."""
            searched = [os.fsencode(path) for path in sys.path]
            *_, (_, code) = self._codegen_fn(os.fsencode(self._protobuf_path), searched)
            exec(code, module.__dict__)

    protoc.ProtoLoader = AnyPathLoader
