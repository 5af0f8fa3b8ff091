"""Where does an HTTP/1.1 message end? Found while its bytes pass by, without holding them (RFC 9112 section 6.3).

The fault proxy needs it to lose exactly one answer on a keep-alive connection. What is not HTTP/1 (NATS, HTTP/2,
a WebSocket after its 101) is one message without end.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator

HEAD_BYTES = 64 * 1024  # a head, or one line of a chunked body, longer than this is taken for something else
Step = Callable[[bytes, int], int]


class Framing:
    """Cuts one direction of a connection into messages; `raw` says that it turned out not to be HTTP/1."""

    _step: Step

    def __init__(self) -> None:
        self.raw = False
        self._begin_message()

    def split(self, data: bytes) -> Iterator[tuple[bytes, bool]]:
        """Return `data` in pieces; the second value says that a message ends with the piece."""
        begin = at = 0
        while at < len(data):
            at = self._step(data, at)
            if self._ended:
                yield data[begin:at], True
                begin = at
                self._begin_message()
        if begin < at:
            yield data[begin:at], False

    def become_raw(self) -> None:
        """Take everything from here on as one message without end."""
        self.raw, self._text, self._step = True, b"", self._everything

    def _begin_message(self) -> None:
        self._ended = False
        self._text = b""
        self._left = 0
        self._step = self._everything if self.raw else self._head

    # steps: each takes bytes from position `at` and returns the position after them

    def _everything(self, data: bytes, at: int) -> int:
        return len(data)

    def _head(self, data: bytes, at: int) -> int:
        text, after = self._until(b"\r\n\r\n", data, at)
        if text is not None:
            self._framed_by(text.lstrip(b"\r\n"))
        elif not self._plausible(self._text):
            self.become_raw()
        return after

    def _counted(self, data: bytes, at: int) -> int:
        taken = min(self._left, len(data) - at)
        self._left -= taken
        self._ended = self._left == 0
        return at + taken

    def _chunk_size(self, data: bytes, at: int) -> int:
        line, after = self._until(b"\r\n", data, at)
        if line is not None:
            try:
                size = int(line.split(b";")[0], 16)
            except ValueError:
                self.become_raw()
                return after
            self._left = size + 2  # with the CRLF behind it
            self._step = self._chunk if size else self._trailer
        return after

    def _chunk(self, data: bytes, at: int) -> int:
        after = self._counted(data, at)
        if self._ended:
            self._ended, self._step = False, self._chunk_size
        return after

    def _trailer(self, data: bytes, at: int) -> int:
        line, after = self._until(b"\r\n", data, at)
        self._ended = line == b"\r\n"
        return after

    def _until(self, end: bytes, data: bytes, at: int) -> tuple[bytes | None, int]:
        """Collect up to and with `end`: the text when it is complete, else None; and the position after it."""
        known = len(self._text)
        text = self._text + data[at : at + HEAD_BYTES]
        found = text.find(end)
        if found < 0:
            self._text = text
            if len(text) > HEAD_BYTES:
                self.become_raw()
            return None, at + len(text) - known
        self._text = b""
        return text[: found + len(end)], at + found + len(end) - known

    def _body(self, head: bytes, without_length: int | None) -> None:
        """Set the step that finds the end of the body; without a length, None means: the end of the connection."""
        fields = dict(_field(line) for line in head.split(b"\r\n")[1:-2])
        length = fields.get(b"content-length", b"")
        self._left = int(length) if length.isdigit() else without_length or 0
        if b"chunked" in fields.get(b"transfer-encoding", b"").lower():
            self._step = self._chunk_size
        elif without_length is None and not length:
            self._step = self._everything
        else:
            self._step, self._ended = self._counted, self._left == 0

    def _plausible(self, start: bytes) -> bool:
        """Say whether this can be the start of a head: else its end must not be waited for."""
        raise NotImplementedError

    def _framed_by(self, head: bytes) -> None:
        """Read from a complete head how the message ends."""
        raise NotImplementedError


class Requests(Framing):
    """Cuts what a client sends into messages; `methods` remembers what was asked, for the answers."""

    def __init__(self) -> None:
        super().__init__()
        self.methods: deque[bytes] = deque()

    def _plausible(self, start: bytes) -> bool:
        line, newline, _ = start.lstrip(b"\r\n").partition(b"\r\n")
        return b"HTTP/1." in line if newline else not line or line[:1].isalpha()

    def _framed_by(self, head: bytes) -> None:
        words = head.split(b"\r\n", 1)[0].split(b" ")
        if not words[-1].startswith(b"HTTP/1.") or words[0] == b"CONNECT":
            self.become_raw()
        else:
            self.methods.append(words[0])
            self._body(head, without_length=0)


class Answers(Framing):
    """Cuts what a server sends into messages; an interim answer (1xx) belongs to the final one behind it."""

    def __init__(self, requests: Requests) -> None:
        super().__init__()
        self._requests = requests

    def become_raw(self) -> None:
        """Take everything from here on, both ways, as one message without end."""
        super().become_raw()
        self._requests.become_raw()

    def _plausible(self, start: bytes) -> bool:
        start = start.lstrip(b"\r\n")[:7]
        return start == b"HTTP/1."[: len(start)]

    def _framed_by(self, head: bytes) -> None:
        words = head.split(b"\r\n", 1)[0].split(b" ")
        if len(words) < 2 or not words[0].startswith(b"HTTP/1.") or words[1] == b"101":
            self.become_raw()
        elif words[1].startswith(b"1"):
            self._begin_message()
        elif self._asked() == b"HEAD" or words[1] in (b"204", b"304"):
            self._ended = True
        else:
            self._body(head, without_length=None)

    def _asked(self) -> bytes:
        return self._requests.methods.popleft() if self._requests.methods else b"GET"


def _field(line: bytes) -> tuple[bytes, bytes]:
    name, _, value = line.partition(b":")
    return name.strip().lower(), value.strip()
