"""Say in four parts why a .proto file cannot be used: its place, the line with a caret, what protoc said."""

from __future__ import annotations

import os
from typing import Any, NamedTuple

from lab_services.errors import BrokenCode

MOST_ERRORS = 4


class Fault(NamedTuple):
    """One complaint of protoc; line and column count from 1, line 0 stands for the whole file."""

    file: str
    line: int
    column: int
    message: str


def explain_proto_failure(error: BaseException, folder: str) -> BrokenCode | None:
    """Return the error for the learner when `error` is about a .proto file, else None.

    `grpc.protos_and_services` raises ProtocErrors with places counted from 0, and ModuleNotFoundError for "x_pb2"
    when there is no x.proto.
    """
    faults = _faults(error)
    if faults:
        first = next((fault for fault in faults if fault.line), faults[0])
        where = f"{first.file}:{first.line or 1}:{first.column or 1}"
        return BrokenCode(
            f"protoc cannot read {first.file}: {first.message}",
            where=where,
            evidence="\n".join([*_shown(first, folder), *map(_line, faults[:MOST_ERRORS])]),
            next_step=f"mend {where} and save it: the service starts again by itself",
        )
    missing = error.name or "" if isinstance(error, ModuleNotFoundError) else ""
    if not missing.endswith(("_pb2", "_pb2_grpc")):
        return None
    file = missing.removesuffix("_grpc").removesuffix("_pb2").replace(".", "/") + ".proto"
    there = sorted(name for name in os.listdir(folder) if name.endswith(".proto"))
    if file in there:
        return BrokenCode(
            f"{missing} is imported before anything has been generated from {file}",
            where=file,
            evidence=str(error),
            next_step=f'write `..., ... = grpc.protos_and_services("{file}")` in place of `import {missing}`',
        )
    return BrokenCode(
        f"{file} is not there",
        where=file,
        evidence=f"{error}; .proto files there are: {', '.join(there) or 'none'}",
        next_step=f"put {file} back, or correct the name where it is used",
    )


def _faults(error: BaseException) -> list[Fault]:
    if type(error).__module__ != "grpc_tools._protoc_compiler" or not hasattr(error, "errors"):
        return []
    return [
        Fault(_text(each.filename), each.line + 1, each.column + 1, _text(each.message).rstrip(". "))
        for each in error.errors()
    ]


def _text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def _shown(fault: Fault, folder: str) -> list[str]:
    """Return the line with a caret below the column, when it can be had."""
    try:
        with open(os.path.join(folder, fault.file), encoding="utf-8") as file:
            line = file.read().splitlines()[fault.line - 1].replace("\t", " ")
    except (OSError, UnicodeDecodeError, IndexError):
        return []
    return [line, " " * (fault.column - 1) + "^"] if fault.line else []


def _line(fault: Fault) -> str:
    place = f"{fault.file}:{fault.line}:{fault.column}" if fault.line else fault.file
    return f"{place}: {fault.message}"
