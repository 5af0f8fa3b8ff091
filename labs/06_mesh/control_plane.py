"""The control plane: each sidecar asks it what to do, over HTTP and in JSON (REST xDS), again and again.

    POST /v3/discovery:endpoints       or listeners, clusters, routes
    {"node": {"id": "rides-1"}, "version_info": "7", "resource_names": ["pricing"]}

`version_info` is the version by which this Envoy lives: the last that it took. It is missing when the Envoy has nothing
of this kind. `resource_names` are the names that it asks for; without them it asks for all of this kind.

    200 {"version_info": "8", "type_url": TYPES[kind], "resources": [{"@type": TYPES[kind], ...}, ...]}
    304 without a body: nothing new. The Envoy keeps what it has, and asks again 0.1 s later, as after every answer.

* An Envoy that has nothing is answered at once. Every other question is held until there is news for it.
* News are resources that it asks for and that differ from what this Envoy was sent last. Then it is answered at once,
  in another version. What changes for other nodes, kinds or names alone is no news: of a hundred sidecars only those
  hear of a change that it concerns.
* An Envoy that refuses what it was sent does not say so. It asks again in the version that it had before; until there
  is news, or the question has been held to its end, it is not sent the same again.
* A question is held for HOLD_SECONDS, at most. Then it is answered with 304; but when the Envoy has another version
  than it was sent last, that is sent once more, because an answer can be lost.
* The node may not be in the registry, or not yet. Such a question is held as well, and then answered with 304: an empty
  answer would take away all that its Envoy has.
* The plane may be killed and begin anew. It then knows nothing of what was sent before, and an Envoy may ask in a
  version that an earlier process has made. What has changed meanwhile is news, told at once.
"""

import asyncio
import hashlib
import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import control_mesh
from control_mesh import NAMES, TYPES, Kind, Question, mesh
from fastapi import FastAPI, Response

from lab_services.bikeshare.health import answer_health

HOLD_SECONDS = float(os.environ.get("HOLD_SECONDS", "20"))


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    following = asyncio.create_task(control_mesh.follow())
    yield
    following.cancel()


app = FastAPI(title="control plane", lifespan=lifespan)
answer_health(app, ready=control_mesh.check)


# --- your turn 6.1 ---
@app.post("/v3/discovery:{kind}")
async def discovery(kind: Kind, question: Question) -> Any:
    node, names = question.node.id, question.resource_names
    everything = getattr(mesh[node], kind) if node in mesh else []
    found = [{"@type": TYPES[kind], **one} for one in everything if not names or one[NAMES[kind]] in names]
    version = version_of(mesh)
    if question.version_info == version:
        return Response(status_code=304)
    return {"version_info": version, "type_url": TYPES[kind], "resources": found}


def version_of(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, default=vars).encode()).hexdigest()[:12]


# --- end 6.1 ---
