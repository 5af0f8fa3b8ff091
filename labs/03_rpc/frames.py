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
    text = json.dumps(message, ensure_ascii=False)
    return len(text).to_bytes(4, "big") + text.encode()


async def read_frame(reader: asyncio.StreamReader) -> Message | None:
    """Return the next message, or None when the connection has ended between two frames; else raise BadFrame."""
    received = await reader.read(MAX_FRAME_BYTES)
    return json.loads(received[4:]) if received else None


# --- end 3.1 ---
