"""The rules for `speaks` in a lab.toml: what a service is called by."""

from __future__ import annotations

from lab_services.runtime.lab_toml import Table, did_you_mean
from lab_services.runtime.spec_types import Kind

PROTOCOLS = ("http", "grpc", "tcp")
OF_SERVERS = {"temporal": "grpc"}  # how callers are told its address: host and port, no scheme


def read_protocol(table: Table, name: str, kind: Kind, target: str, typescript: bool) -> str:
    """Return "http", "grpc" or "tcp"; refuse any other word, and the latter two where no Python program serves it."""
    speaks = table.text("speaks", OF_SERVERS.get(target, "http") if kind == "server" else "http")
    if speaks not in PROTOCOLS:
        raise table.refuse(
            f"'speaks' of {table.name} is {speaks!r}{did_you_mean(speaks, PROTOCOLS)}",
            evidence="there are: " + ", ".join(PROTOCOLS),
            next_step='write "http", "grpc", or "tcp" for a protocol of its own',
        )
    if kind == "server" and "speaks" in table.entries:
        raise table.refuse(f"the server {name!r} speaks what it speaks", next_step="remove 'speaks'")
    if speaks != "http" and typescript:
        raise table.refuse(
            f"{name!r} cannot speak {'gRPC' if speaks == 'grpc' else 'TCP'}: it is a TypeScript program",
            next_step=f'write run = "{name}:serve", or speaks = "http"',
        )
    return speaks
