"""A city of every kind of call: HTTP, gRPC of both sorts, messages that are lost or kept, an outbox, a collector."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from lab_services.lab import Lab
from lab_services.runtime.spec_types import LabSpec, ServiceSpec

COLLECTOR = '''
"""Takes spans as OTLP and writes each down as a line; told to hang, it answers nobody."""
import asyncio, json, os
from fastapi import FastAPI, Request, Response
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

app = FastAPI()
hanging = False

def plain(attributes):
    return {each.key: getattr(each.value, each.value.WhichOneof("value")) for each in attributes}

@app.get("/health/ready")
async def ready(): return {}

@app.put("/hanging")
async def hang():
    global hanging
    hanging = True

@app.post("/v1/traces")
async def take(request: Request):
    while hanging:
        await asyncio.sleep(0.05)
    found = ExportTraceServiceRequest.FromString(await request.body())
    with open(os.path.join(os.environ["DATA_DIR"], "spans.jsonl"), "a") as file:
        for of_resource in found.resource_spans:
            resource = plain(of_resource.resource.attributes)
            for span in (span for scope in of_resource.scope_spans for span in scope.spans):
                line = {"trace": span.trace_id.hex(), "id": span.span_id.hex(), "parent": span.parent_span_id.hex(),
                    "name": span.name, "kind": span.kind, "status": span.status.code, "links": len(span.links),
                    "service": resource["service.name"], "instance": resource["service.instance.id"],
                    "facts": plain(span.attributes), "events": [plain(event.attributes) for event in span.events],
                    "description": span.status.message}
                print(json.dumps(line), file=file)
    return Response(media_type="application/x-protobuf")
'''
GATE = '''
"""Where a rider comes in: asks a lock twice over gRPC, a battery by a message, warns the boards, begins the start."""
import asyncio, itertools, os
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import grpc, grpc.aio, httpx
from fastapi import FastAPI, Response
from lab_services.bikeshare.locks_messages import messages, services
from lab_services.bikeshare.messages import connected, new_event, written

@asynccontextmanager
async def lifespan(app):
    async with connected() as app.state.broker, httpx.AsyncClient(timeout=5) as app.state.city:
        yield

app = FastAPI(lifespan=lifespan)
numbers = itertools.count(1)  # a lock that is open cannot be opened for another ride

@app.get("/health/ready")
async def ready(): return {}

def lock_in_a_thread(lock_id):
    with grpc.insecure_channel(os.environ["DOORS_URL"]) as channel:
        services.LocksServiceStub(channel).GetLock(messages.GetLockRequest(lock_id=lock_id), timeout=5)

@app.put("/rides/{ride_id}")
async def ride(ride_id: str, response: Response):
    async with grpc.aio.insecure_channel(os.environ["DOORS_URL"]) as channel:
        doors = services.LocksServiceStub(channel)
        await doors.Unlock(messages.UnlockRequest(lock_id=f"l-{next(numbers):02}", ride_id=ride_id), timeout=5)
        watching = doors.WatchLocks(messages.WatchLocksRequest(after_sequence=0), timeout=5)
        async for _ in watching:
            break
        watching.cancel()
    await asyncio.to_thread(lock_in_a_thread, "l-02")
    await app.state.broker.request("lock.l-03.battery", b"", timeout=5)
    warning = new_event("storm.warning", datetime.now(UTC), {"text": "a storm comes"})
    await app.state.broker.publish("storm.warning", written(warning))
    wish = {"rider_id": "ada", "bike_id": "b-01", "cents": 500}
    answer = await app.state.city.put(f"{os.environ['STARTS_URL']}/starts/{ride_id}?card=4111111111111111", json=wish)
    response.status_code = answer.status_code
    return answer.json()

@app.get("/wallets/{rider_id}")
async def wallet(rider_id: str): return {}

@app.get("/broken")
async def broken(): raise RuntimeError("the wallet of ada is on fire")

@app.get("/missing")
async def missing(response: Response): response.status_code = 404
'''


LATE = {"OTEL_BSP_SCHEDULE_DELAY": "600000", "OTEL_BSP_EXPORT_TIMEOUT": "2500"}  # spans wait until somebody leaves
PATIENCE = {"OTEL_EXPORTER_OTLP_TIMEOUT": "1", "OTEL_BSP_EXPORT_TIMEOUT": "2500"}


@dataclass(frozen=True)
class City:
    """The running lab, where its collector writes, and the port of the figures of `gate`."""

    lab: Lab
    spans_file: Path
    metrics_port: int

    def spans(self, trace: str = "") -> list[dict[str, Any]]:
        """Return what the collector has, of one trace or of all."""
        if not self.spans_file.exists():
            return []
        found = [json.loads(line) for line in self.spans_file.read_text().splitlines()]
        return [span for span in found if span["trace"] == trace or not trace]


def edges(spans: list[dict[str, Any]]) -> set[tuple[str, str]]:
    """Return who caused what: (service and name of the parent, of the child); a root's parent is empty."""
    named = {span["id"]: f"{span['service']}: {span['name']}" for span in spans}
    return {(named.get(span["parent"], ""), named[span["id"]]) for span in spans}


def free_port() -> int:
    """Return a port that nobody has."""
    with closing(socket.socket()) as endpoint:
        endpoint.bind(("127.0.0.1", 0))
        return int(endpoint.getsockname()[1])


@contextmanager
def instrumented_city(folder: Path) -> Iterator[City]:
    """Run the city in `folder`."""
    (folder / "collector.py").write_text(COLLECTOR)
    (folder / "gate.py").write_text(GATE)
    port = free_port()

    def service(name: str, target: str, kind: str = "use", **fields: Any) -> ServiceSpec:
        wishes = {"needs": ("broker",), "calls": (), "env": {}, "replicas": 1, "launch": "warm", "telemetry": "traces"}
        return ServiceSpec(name, kind, target, **{**wishes, **fields})  # type: ignore[arg-type]

    asks, watched = ("doors", "starts"), {"METRICS_PORT": str(port), **PATIENCE}
    services = [
        service("traces", "collector:app", "run", needs=(), telemetry=""),
        service("broker", "nats", "server", needs=(), telemetry=""),
        service("starts", "starts"),
        service("wallet", "holds"),
        service("stations", "reservations"),
        service("locks", "bolts"),
        service("rides", "ride_book"),
        service("relay", "relay"),
        service("citymap", "citymap"),
        service("batteries", "batteries"),
        service("displays", "displays"),
        service("doors", "locks", needs=(), speaks="grpc"),
        service("late", "notices", needs=(), env=LATE),
        service("late_doors", "locks", needs=(), speaks="grpc", env=LATE),
        service("gate", "gate:app", "run", needs=("broker", *asks), env=watched),
    ]
    spec = LabSpec("70_watched", folder, "watched", 1, False, {each.name: each for each in services}, {}, {})
    with pytest.MonkeyPatch.context() as settings:
        settings.setenv("COURSE_WORK", str(folder / "work"))
        lab = Lab(spec, folder, folder / "run", ready_seconds=60)
        try:
            lab.start()
            yield City(lab, lab["traces"].data / "spans.jsonl", port)
        finally:
            lab.close()
