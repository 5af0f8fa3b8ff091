"""The finished control plane: it tells each Envoy what to do, over HTTP and in JSON (REST xDS).

    from lab_services.mesh.discovery import control_plane

    def build(node, workloads):
        return Resources(listeners=[...], clusters=[...], routes=[...], endpoints=[...])

    app = control_plane(build)

An Envoy asks POST /v3/discovery:clusters (listeners, routes, endpoints, secrets) and says which version it has. When
there is news it is answered at once, otherwise the question is held until there is. GET /mesh shows who was sent what.
A server that sets `leaving`, an asyncio.Event in the state of its lifespan, when it has to leave, lets questions be
held for longer: that costs a tenth of the work.

Whoever reaches the plane gets the secrets of any node that it names: here that is this machine. Elsewhere an agent
beside each Envoy, which knows whose process asks, hands them out (SPIFFE Workload API).
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from fastapi import FastAPI, HTTPException, Request, Response

from .plane import Build, Plane
from .resources.messages import TYPES
from .subscriptions import KINDS

LEAVING = "leaving"
__all__ = ["Build", "control_plane"]


def control_plane(build: Build, *, registry: Path | None = None) -> FastAPI:
    """Return the web application of a control plane that gives each node what `build(node, workloads)` returns.

    Without `registry` the path of the registry is in MESH_FILE. `app.state.plane` is the Plane, while the app runs.
    """

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        plane = app.state.plane = Plane(build)
        followed = registry or Path(os.environ["MESH_FILE"])
        app.state.tasks = [asyncio.create_task(work) for work in (plane.follow(followed), plane.renew())]
        yield
        for task in app.state.tasks:
            task.cancel()

    app = FastAPI(title="Control plane", lifespan=lifespan)
    app.post("/v3/discovery:{kind}")(discovery)
    app.get("/mesh")(mesh)
    app.get("/health/live")(healthy)
    app.get("/health/ready")(healthy)
    return app


async def discovery(kind: str, request: Request) -> Any:
    """Answer a DiscoveryRequest of an Envoy with a DiscoveryResponse, or with 304 after a while without news."""
    plane: Plane = request.app.state.plane
    if kind not in KINDS:
        raise HTTPException(404, f"no such kind; there are {', '.join(KINDS)}")
    try:
        question = await request.json()
        key = str(question["node"]["id"]), kind, tuple(sorted(question.get("resource_names", [])))
    except (ValueError, KeyError, TypeError) as error:
        raise HTTPException(422, f"this is no DiscoveryRequest: {error!r}") from error
    if leaving := request.scope.get("state", {}).get(LEAVING):
        plane.watch_for(leaving)
    gone = asyncio.ensure_future(request.receive())  # after the body nothing comes but the end of the connection
    try:
        news = await plane.answer(key, question.get("version_info", ""), gone)
    finally:
        gone.cancel()
    if news is None:
        return Response(status_code=304)
    version, found = news
    url = TYPES + KINDS[kind]
    return {"version_info": version, "type_url": url, "resources": [{"@type": url, **one} for one in found]}


async def mesh(request: Request) -> dict[str, Any]:
    """Return each node with what it was sent, has confirmed and has refused, and with the error of its `build`."""
    found: dict[str, Any] = request.app.state.plane.as_dict()
    return found


async def healthy(request: Request) -> dict[str, str]:
    """Say that the plane follows the registry, or with 503 why it does not."""
    broken = [task for task in request.app.state.tasks if task.done()]
    if broken:
        raise HTTPException(503, f"the registry is no longer followed: {broken[0].exception()}")
    return {"status": "ready"}
