"""How a message lies on the wire: 4 bytes that say a length (unsigned, big-endian), then so many bytes of content.

The content is one JSON object in UTF-8. A call: {"id": 7, "method": "battery", "arguments": {"lock_id": "l-01"}}.
Its answer: {"id": 7, "result": 80}, or {"id": 7, "error": {"kind": "LookupError", "detail": "there is no lock l-99"}}.

TCP carries bytes, not messages: what was written at once may be read in pieces, and several messages at once. What is
no frame is a BadFrame, and ends its connection: a length above MAX_FRAME_BYTES (before the content is read), content
that is no JSON object (or nested too deep for the parser), an end in the middle of a frame, and a frame that has begun
and is not complete after FRAME_SECONDS. Between two frames a connection may be silent for as long as it likes.
"""

import asyncio
import json
import os
from typing import Any

MAX_FRAME_BYTES = 64 * 1024  # of content
FRAME_SECONDS = float(os.environ.get("FRAME_SECONDS", "2"))
Message = dict[str, Any]


class BadFrame(ConnectionError):
    """What has come is no frame."""


# --- your turn 3.1 ---
def frame(message: Message) -> bytes:
    """Return the frame of a message; ValueError when its content would be too long."""
    content = json.dumps(message, ensure_ascii=False).encode()
    if len(content) > MAX_FRAME_BYTES:
        raise ValueError(f"a message of {len(content)} bytes: a frame takes {MAX_FRAME_BYTES}")
    return len(content).to_bytes(4, "big") + content


async def read_frame(reader: asyncio.StreamReader) -> Message | None:
    """Return the next message, or None when the connection has ended between two frames; else raise BadFrame."""
    # One possibility. A read returns what has come, however little: only readexactly() waits for all of it.
    if not (head := await reader.read(1)):
        return None
    try:
        async with asyncio.timeout(FRAME_SECONDS):  # from the first byte on: silence before it is allowed
            if (length := int.from_bytes(head + await reader.readexactly(3), "big")) > MAX_FRAME_BYTES:
                raise ValueError(f"a content of {length} bytes")
            message = json.loads(await reader.readexactly(length))
    except (EOFError, TimeoutError, ValueError, RecursionError) as error:
        raise BadFrame(f"no frame: {error!r}") from error
    if not isinstance(message, dict):
        raise BadFrame("no JSON object")
    return message


# --- end 3.1 ---
