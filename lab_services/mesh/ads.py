"""The control plane over gRPC: one stream for each Envoy, all kinds of resources on it (ADS, the way of Istio).

    from lab_services.mesh.ads import control_plane

    serve = control_plane(build)

`build` is the same as for the plane that speaks REST (discovery.py). In lab.toml the service has speaks = "grpc" and
extra = "ads", because protobuf's code for Envoy's messages is kept apart from the rest (lab_services/extras). Its log
has a line for each ACK and NACK, and for each `build` that fails. A field that Envoy does not know fails here already,
where a dictionary becomes a message; what only Envoy can judge comes back as a NACK. It builds when the registry
changes, and not by the clock: certificates that expire are for the plane that speaks REST.
"""

from __future__ import annotations

import asyncio
import importlib
import os
import pkgutil
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import cache
from pathlib import Path
from typing import Any

import grpc
from envoy.service.discovery.v3 import ads_pb2_grpc
from envoy.service.discovery.v3.discovery_pb2 import DiscoveryResponse
from google.protobuf import any_pb2, json_format
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse

from .conversation import KIND_OF, Answer, Conversation
from .plane import Build
from .registry import watch
from .resources.messages import TYPES, Message, Resources, over_ads
from .subscriptions import KINDS

LOOK_SECONDS = 0.05  # between two looks whether the server drains
NEWS, END = "news", "end"  # what a stream may find in its inbox besides a DiscoveryRequest


def control_plane(build: Build) -> Callable[[Any, Any], AbstractAsyncContextManager[None]]:
    """Return the function that serves a plane, which gives each node what `build(node, workloads)` returns.

    The path of the registry is in MESH_FILE.
    """

    @asynccontextmanager
    async def serve(server: Any, health: Any) -> AsyncIterator[None]:
        plane = Ads(build)
        ads_pb2_grpc.add_AggregatedDiscoveryServiceServicer_to_server(plane, server)
        tasks = [
            asyncio.create_task(w) for w in (plane.follow(Path(os.environ["MESH_FILE"])), plane.leave_with(health))
        ]
        yield
        for task in tasks:
            task.cancel()

    return serve


class Ads(ads_pb2_grpc.AggregatedDiscoveryServiceServicer):  # type: ignore[misc]  # generated code has no types
    """The service that Envoys call; each has one stream, and the plane an inbox for each stream."""

    def __init__(self, build: Build) -> None:
        self._build = build
        self._wanted: dict[str, Resources] = {}
        self._inboxes: set[asyncio.Queue[Any]] = set()
        self._leaving = False

    async def StreamAggregatedResources(self, requests: AsyncIterator[Any], context: Any) -> AsyncIterator[Any]:
        """Answer one Envoy for as long as it is there: its questions and the plane's news meet in one inbox."""
        inbox: asyncio.Queue[Any] = asyncio.Queue()
        reading = asyncio.create_task(_read(requests, inbox))
        self._inboxes.add(inbox)
        node, conversation = "", Conversation()
        try:
            while not self._leaving and (heard := await inbox.get()) is not END:
                if heard is not NEWS:
                    node = heard.node.id or node
                    kind = KIND_OF.get(heard.type_url, heard.type_url)
                    error = heard.error_detail.message
                    say(node, conversation.hear(kind, heard.resource_names, heard.response_nonce, error))
                if node in self._wanted and (answer := conversation.answer(self._wanted[node])):
                    yield response(answer)
        finally:
            self._inboxes.discard(inbox)
            reading.cancel()
        if self._leaving:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "this plane leaves")

    async def follow(self, path: Path) -> None:
        """Build for every node whenever the registry changes; one for which it fails is told nothing new."""
        async for workloads in watch(path):
            for workload in workloads:
                try:
                    self._wanted[workload.node] = checked(self._build(workload, workloads))
                except Exception as error:  # whatever a learner's function raises
                    say(workload.node, f"NOT SENT {type(error).__name__}: {str(error).partition(chr(10))[0]}")
            self._tell(NEWS)

    async def leave_with(self, health: Any) -> None:
        """End every stream once the server drains, which its health shows first: the Envoys go on at the next one."""
        serving = HealthCheckResponse.SERVING
        while (await health.Check(HealthCheckRequest(service=""), None)).status == serving:
            await asyncio.sleep(LOOK_SECONDS)
        self._leaving = True
        self._tell(END)

    def _tell(self, what: str) -> None:
        for inbox in self._inboxes:
            inbox.put_nowait(what)


async def _read(requests: AsyncIterator[Any], inbox: asyncio.Queue[Any]) -> None:
    try:
        async for request in requests:
            inbox.put_nowait(request)
    finally:
        inbox.put_nowait(END)


def checked(found: Resources) -> Resources:
    """Return the resources as they travel in this stream, once each of them has become a message.

    Raises:
        TypeError: it is no Resources.
        google.protobuf.json_format.ParseError: a message has no such field, or not with such a value.
        ModuleNotFoundError: there is no such type of messages.
    """
    if not isinstance(found, Resources):
        raise TypeError(f"build returned {found!r}, which is no Resources")
    found = Resources(**over_ads(vars(found)))
    for kind, messages in vars(found).items():
        for one in messages:
            packed(kind, one)
    return found


def response(answer: Answer) -> Any:
    """Return the DiscoveryResponse of an answer."""
    return DiscoveryResponse(
        version_info=answer.version,
        type_url=TYPES + KINDS[answer.kind],
        nonce=answer.nonce,
        resources=[packed(answer.kind, one) for one in answer.found],
    )


def packed(kind: str, one: Message) -> Any:
    """Return a dictionary as google.protobuf.Any: protobuf reads it as the JSON of the message."""
    message = {"@type": TYPES + KINDS[kind], **one}
    for name in types_in(message):
        learn(name.rpartition("/")[2].rpartition(".")[0])
    return json_format.ParseDict(message, any_pb2.Any())


def types_in(value: Any) -> Iterator[str]:
    """Yield each "@type" in a message and in those inside it."""
    if isinstance(value, dict) and "@type" in value:
        yield str(value["@type"])
    for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from types_in(inner)


@cache
def learn(package: str) -> None:
    """Import protobuf's code for a package of messages: only what was imported can be read by its name."""
    for found in pkgutil.iter_modules(importlib.import_module(package).__path__):
        if found.name.endswith("_pb2"):
            importlib.import_module(f"{package}.{found.name}")


def say(node: str, line: str) -> None:
    """Write a line to the log of the plane, if there is anything to say."""
    if line:
        print(f"{node} {line}", flush=True)
