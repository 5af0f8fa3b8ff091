"""The service's side: take calls out of a connection, call the methods they name, send the answers back."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from error_kinds import told
from frames import frame, read_frame

Methods = Mapping[str, Callable[..., Awaitable[Any]]]


# --- your turn 3.1 ---
async def serve_calls(methods: Methods, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer the calls of one connection, each as soon as its method is done, until the caller ends its side.

    What is under way then is answered all the same: a restart of this program ends a connection in that way, too.
    A call that cannot be made gets an error as its answer, as does one whose method raises: a LookupError for a method
    that is not there, any kind for wrong or missing arguments. The connection goes on; a BadFrame ends it alone.
    """
    while (call := await read_frame(reader)) is not None:
        try:
            result = await methods[call["method"]](**call["arguments"])
        except Exception as error:
            result = told(error)
        writer.write(frame({"id": call["id"], "result": result}))


# --- end 3.1 ---
