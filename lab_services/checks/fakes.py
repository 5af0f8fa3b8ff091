"""A stand-in for a service, with a ledger of every call it got and weather that a check can order."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

IDLE_SECONDS = 30.0
LONGEST_DELAY_SECONDS = 8.0


@dataclass(frozen=True)
class Call:
    """One call that arrived: `body` is the parsed JSON, or the text when it is none, or None."""

    method: str
    path: str
    query: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    body: Any = None

    def __str__(self) -> str:
        return f"{self.method} {self.path}"


Answer = tuple[int, Any]
Handler = Callable[[Call], Answer]


class DropAnswer(Exception):
    """A handler raises it to close the connection without an answer."""


class FakeService:
    """Answer HTTP on 127.0.0.1 through one handler and keep a ledger of the calls.

    The handler gets a Call and returns (status, json); it may sleep, raise (the caller gets a 500) or raise
    DropAnswer. `/health/live` and `/health/ready` always answer 200 and are not in the ledger, unless `health` is
    False: then they are the handler's, as all else.

        bank = FakeService("wallet", lambda call: (200, {"balance_cents": 5000}))
        city.start(replace={"wallet": bank.url})
        bank.calls          # (Call(method="GET", path="/wallets/ada", ...),)
    """

    def __init__(self, name: str, handler: Handler, *, health: bool = True) -> None:
        self.name = name
        self.handler = handler
        self.health = health
        self._calls: list[Call] = []
        self._orders: list[_Order] = []
        self._guard = threading.Lock()
        self._closing = threading.Event()
        self._server = _Server(("127.0.0.1", 0), _handler_class(self))
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    @property
    def calls(self) -> tuple[Call, ...]:
        """Every call so far, in the order of arrival."""
        with self._guard:
            return tuple(self._calls)

    def calls_to(self, method: str, path: str = "") -> tuple[Call, ...]:
        """Return the calls of one method whose path holds this text."""
        return tuple(call for call in self.calls if call.method == method and path in call.path)

    def fail(self, *, status: int = 503, times: int = 1, path: str = "") -> None:
        """Answer the next calls with this status and do nothing."""
        self._order(_Order("fail", times, path, status=status))

    def delay(self, seconds: float, *, times: int = 1_000_000, path: str = "") -> None:
        """Do the work of the next calls only after a wait, of at most LONGEST_DELAY_SECONDS."""
        self._order(_Order("delay", times, path, seconds=min(seconds, LONGEST_DELAY_SECONDS)))

    def drop_answers(self, *, times: int = 1, path: str = "") -> None:
        """Do the work of the next calls, then close the connection in place of an answer."""
        self._order(_Order("drop", times, path))

    def clear(self) -> None:
        """Forget the orders for failures, delays and dropped answers; the ledger stays."""
        with self._guard:
            self._orders.clear()

    def close(self) -> None:
        """Stop listening; a handler that still waits is released."""
        self._closing.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(2)

    def answer(self, call: Call) -> Answer:
        """Note the call, obey the orders that apply to it, and return what the handler says."""
        with self._guard:
            self._calls.append(call)
        for order in self._take("delay", call):
            self._closing.wait(order.seconds)
        for order in self._take("fail", call):
            return order.status, problem(order.status, f"{self.name} was told to fail")
        result = self.handler(call)
        if self._take("drop", call):
            raise DropAnswer
        return result

    def _order(self, order: _Order) -> None:
        with self._guard:
            self._orders.append(order)

    def _take(self, kind: str, call: Call) -> list[_Order]:
        with self._guard:
            for order in self._orders:
                if order.kind == kind and order.times > 0 and order.path in call.path:
                    order.times -= 1
                    return [order]
        return []


@dataclass
class _Order:
    kind: str
    times: int
    path: str
    status: int = 503
    seconds: float = 0.0


def problem(status: int, detail: str) -> dict[str, Any]:
    """Return an RFC 9457 problem as JSON."""
    return {"type": "about:blank", "title": "problem", "status": status, "detail": detail}


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A caller that hangs up is no trouble of ours."""


def _handler_class(service: FakeService) -> type[BaseHTTPRequestHandler]:
    class Connection(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        timeout = IDLE_SECONDS
        disable_nagle_algorithm = True

        def log_message(self, format: str, *args: Any) -> None:
            """Keep quiet: the ledger is the log."""

        def serve(self) -> None:
            call = _read_call(self)
            if service.health and call.path.startswith("/health/"):
                return _write(self, 200, {"status": "ok"})
            try:
                status, content = service.answer(call)
            except DropAnswer:
                self.close_connection = True
                return None
            except Exception as trouble:
                status, content = 500, problem(500, f"{type(trouble).__name__}: {trouble}")
            return _write(self, status, content)

        do_GET = do_PUT = do_POST = do_DELETE = do_PATCH = do_HEAD = serve

    return Connection


def _read_call(connection: BaseHTTPRequestHandler) -> Call:
    address = urlsplit(connection.path)
    raw = connection.rfile.read(int(connection.headers.get("content-length") or 0))
    headers = {name.lower(): value for name, value in connection.headers.items()}
    return Call(connection.command, unquote(address.path), dict(parse_qsl(address.query)), headers, _body(raw))


def _body(raw: bytes) -> Any:
    if not raw:
        return None
    try:
        return json.loads(raw)
    except ValueError:
        return raw.decode(errors="replace")


def _write(connection: BaseHTTPRequestHandler, status: int, content: Any) -> None:
    body = b"" if content is None else json.dumps(content).encode()
    kind = "application/problem+json" if status >= 400 else "application/json"
    connection.send_response(status)
    connection.send_header("content-type", kind)
    connection.send_header("content-length", str(len(body)))
    connection.end_headers()
    if connection.command != "HEAD":
        connection.wfile.write(body)
