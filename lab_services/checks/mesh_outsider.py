"""Strangers for the checks of a mesh: one that calls with any certificate, and one that answers with any.

    stranger = Outsider(authority.issue(spiffe_name("stations")), folder)
    said = stranger.call(port, "POST", "/bikeshare.locks.v1.LocksService/Unlock", grpc=b"...")
    said.status, said.came_in

Neither checks who is at the other end: they are there to find out who checks them.
"""

from __future__ import annotations

import http.client
import socket
import ssl
import struct
import tempfile
import threading
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cryptography import x509

from lab_services.mesh.authority import Authority, Certificate

CALL_SECONDS = 5.0
READ_BYTES = 4096
GRPC_CODES = {
    "0": "OK",
    "3": "INVALID_ARGUMENT",
    "5": "NOT_FOUND",
    "7": "PERMISSION_DENIED",
    "12": "UNIMPLEMENTED",
    "14": "UNAVAILABLE",
}


@dataclass(frozen=True)
class Said:
    """What came of a call: `status` is that of HTTP, or 0 when there was no answer, and then `refused` is the reason.

    `code` is the status of gRPC, where the answer says it in its head: a refusal does, a success does not.
    """

    status: int = 0
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    refused: str = ""

    @property
    def code(self) -> str:
        """The name of the status of gRPC ("PERMISSION_DENIED"), or nothing."""
        number = self.headers.get("grpc-status", "")
        return GRPC_CODES.get(number, number)

    @property
    def is_forbidden(self) -> bool:
        """Tell whether this is the answer of a policy: 403, or PERMISSION_DENIED to a call of gRPC."""
        return self.status == 403 or self.code == "PERMISSION_DENIED"

    def __str__(self) -> str:
        return f"no answer ({self.refused})" if self.refused else f"{self.code or self.status}"


class Outsider:
    """Calls sidecars over TLS with this certificate, over TLS without one (None), or in plain text (`plain`)."""

    def __init__(self, certificate: Certificate | None = None, *, plain: bool = False) -> None:
        self._context = None if plain else _context(ssl.PROTOCOL_TLS_CLIENT, certificate)

    def call(
        self,
        port: int,
        method: str,
        path: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
        grpc: bytes | None = None,
    ) -> Said:
        """Make one call on a connection of its own; `grpc` is a message of protobuf, sent as gRPC frames it."""
        sent = dict(headers or {})
        if grpc is not None:
            sent |= {"content-type": "application/grpc", "te": "trailers"}
            body = b"\0" + struct.pack(">I", len(grpc)) + grpc
        elif body is not None:
            sent.setdefault("content-type", "application/json")
        connection = self._connection(port)
        try:
            connection.request(method, path, body, sent)
            answer = connection.getresponse()
            return Said(answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read())
        except (OSError, http.client.HTTPException) as error:
            return Said(refused=_reason(error))
        finally:
            connection.close()

    def looks(self, port: int) -> x509.Certificate | None:
        """Return the certificate that a sidecar shows to whoever begins a handshake, or None when it shows none."""
        assert self._context is not None, "in plain text nobody shows a certificate"
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), CALL_SECONDS) as raw:
            with self._context.wrap_socket(raw) as secure:
                shown = secure.getpeercert(binary_form=True)
                return x509.load_der_x509_certificate(shown) if shown else None
        return None

    def _connection(self, port: int) -> http.client.HTTPConnection:
        if self._context is None:
            return http.client.HTTPConnection("127.0.0.1", port, timeout=CALL_SECONDS)
        return http.client.HTTPSConnection("127.0.0.1", port, timeout=CALL_SECONDS, context=self._context)


@dataclass(frozen=True)
class Visit:
    """One connection that an impostor got: who came (the URI in the certificate), and whether a call followed."""

    caller: str
    told: bytes
    refused: str = ""


class Impostor:
    """Listens at a port and shows any certificate; it asks for the caller's, and keeps the first bytes of a call.

    It answers nothing: whoever has told it something has believed it. `present(None)` makes it speak plain text.
    """

    def __init__(self, trusted: Authority) -> None:
        self._trusted = trusted
        self._context: ssl.SSLContext | None = None
        self._visits: list[Visit] = []
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._server.getsockname()[1])
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def present(self, certificate: Certificate | None) -> None:
        """Show this certificate from now on, and forget who came."""
        context = None
        if certificate is not None:
            context = _context(ssl.PROTOCOL_TLS_SERVER, certificate)
            context.set_alpn_protocols(["h2"])
            context.load_verify_locations(cadata=self._trusted.pem)
            context.verify_mode = ssl.CERT_OPTIONAL
        self._context, self._visits = context, []

    @property
    def visits(self) -> tuple[Visit, ...]:
        """Everybody who came since the last certificate was shown."""
        return tuple(self._visits)

    def close(self) -> None:
        """Stop listening."""
        with suppress(OSError):
            self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        self._thread.join(CALL_SECONDS)

    def _serve(self) -> None:
        while True:
            try:
                raw, _ = self._server.accept()
            except OSError:
                return
            visits = self._visits  # those of the certificate that is shown now
            with raw:
                raw.settimeout(CALL_SECONDS)
                visits.append(self._receive(raw))

    def _receive(self, raw: socket.socket) -> Visit:
        if self._context is None:
            return Visit("", _first_bytes(raw))
        try:
            with self._context.wrap_socket(raw, server_side=True) as secure:
                shown: dict[str, Any] = secure.getpeercert() or {}
                caller = next((name for kind, name in shown.get("subjectAltName", ()) if kind == "URI"), "")
                return Visit(caller, _first_bytes(secure))
        except OSError as error:
            return Visit("", b"", _reason(error))


def _first_bytes(connection: socket.socket) -> bytes:
    try:
        return connection.recv(READ_BYTES)
    except OSError:
        return b""


def _reason(error: Exception) -> str:
    if isinstance(error, (ssl.SSLEOFError, BrokenPipeError, ConnectionResetError)):
        return "the connection was closed"
    return str(getattr(error, "reason", None) or error or type(error).__name__)


def _context(side: ssl._SSLMethod, certificate: Certificate | None) -> ssl.SSLContext:
    context = ssl.SSLContext(side)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    if certificate is not None:
        with tempfile.TemporaryDirectory() as folder:  # ssl reads a key from a file alone
            pair = Path(folder) / "pair.pem"
            pair.touch(mode=0o600)
            pair.write_text(certificate.certificate + certificate.private_key)
            context.load_cert_chain(pair)
    return context
