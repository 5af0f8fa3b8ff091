"""A toy gRPC service, and a client that needs no generated code: the .proto changes while the tests run."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc

from lab_services.lab import Lab
from tests.runtime.conftest import Maker, service, write

PROTO = """
syntax = "proto3";
package toy;
message Ask { string lock = 1; }
message Answer { string word = 1; string pid = 2; string replica = 3; }
service Door {
  rpc Open(Ask) returns (Answer);
  rpc Watch(Ask) returns (stream Answer);
}
"""
DOOR = """
import asyncio, os, pathlib
import grpc

door_pb2, door_pb2_grpc = grpc.protos_and_services("door.proto")
WORD = "hello"
HERE = pathlib.Path(os.environ["DATA_DIR"])


class Door(door_pb2_grpc.DoorServicer):
    async def Open(self, request, context):
        with (HERE / "opened").open("a") as ledger:
            ledger.write(request.lock + "\\n")
        if request.lock == "slow":
            (HERE / "begun").touch()
            while not (HERE / "go").exists():
                await asyncio.sleep(0.01)
        return self.answer()

    async def Watch(self, request, context):
        while True:
            yield self.answer()
            await asyncio.sleep(0.02)

    def answer(self):
        return door_pb2.Answer(word=WORD, pid=str(os.getpid()), replica=os.environ["REPLICA"])


async def serve(server):
    door_pb2_grpc.add_DoorServicer_to_server(Door(), server)
    yield
    print("the door is shut", flush=True)
"""
CALLER = """
import json, os
import grpc
from fastapi import FastAPI

app = FastAPI()
settings = {key: value for key, value in os.environ.items() if key.startswith("DOOR_")}

@app.get("/health/ready")
def ready(): return {}

@app.get("/settings")
def tell(): return settings
"""
OPEN, WATCH = "/toy.Door/Open", "/toy.Door/Watch"
RETRY = {
    "methodConfig": [
        {
            "name": [{}],
            "retryPolicy": {
                "maxAttempts": 5,
                "initialBackoff": "0.05s",
                "maxBackoff": "0.5s",
                "backoffMultiplier": 2,
                "retryableStatusCodes": ["UNAVAILABLE"],
            },
        }
    ]
}
SECONDS = 10.0


def make_door(make_town: Maker, source: str = DOOR, proto: str = PROTO, **fields: Any) -> Lab:
    """Return a lab whose service `door` speaks gRPC; it is not started yet."""
    spec = service("door", **{"target": "door:serve", "speaks": "grpc", **fields})
    lab = make_town(spec, door=source)
    write(lab.folder / "door.proto", proto)
    return lab


@contextlib.contextmanager
def channel(target: str, policy: object = None) -> Iterator[grpc.Channel]:
    """Open a channel of its own: no connection, and no pause after a refused one, is shared with another."""
    options: list[tuple[str, Any]] = [("grpc.use_local_subchannel_pool", 1)]
    if policy is not None:
        options.append(("grpc.service_config", json.dumps(policy)))
    with grpc.insecure_channel(target, options=options) as opened:
        yield opened


def knock(opened: grpc.Channel, lock: str = "", seconds: float = SECONDS, **options: Any) -> dict[int, str]:
    """Call Open and return the text fields of the answer by their numbers."""
    ask = b"\x0a" + bytes([len(lock)]) + lock.encode()
    return texts(opened.unary_unary(OPEN)(ask, timeout=seconds, **options))


def word(target: str) -> str:
    """Ask the door for its word, on a connection of its own."""
    with channel(target) as opened:
        return knock(opened)[1]


def texts(message: bytes) -> dict[int, str]:
    """Take short text fields out of a protobuf message."""
    found, at = {}, 0
    while at < len(message):
        number, length = message[at] >> 3, message[at + 1]
        found[number] = message[at + 2 : at + 2 + length].decode()
        at += 2 + length
    return found


def opened_locks(data: Path) -> list[str]:
    """Return what the door has written into its ledger."""
    return (data / "opened").read_text().splitlines()
