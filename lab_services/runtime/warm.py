"""What the launcher imports before it forks, so that a service does not: the time and the memory are spent once."""

from __future__ import annotations

import contextlib
import gc
import importlib
import sys

NEEDED_TO_SERVE = (
    "uvicorn.lifespan.on",
    "uvicorn.loops.auto",
    "uvicorn.loops.uvloop",
    "uvicorn.protocols.websockets.auto",
    "uvicorn.protocols.websockets.websockets_sansio_impl",
    "websockets.server",
    "websockets.extensions.permessage_deflate",
    "anyio._backends._asyncio",
    "anyio.streams.tls",
    "fastapi.telemetry._runtime",
    "lab_services.runtime.serve",
    "lab_services.runtime.serve_tcp",
)


def warm_up(modules: list[str]) -> None:
    """Import once what every service imports, and let pydantic build a first model."""
    gc.disable()  # nothing that an import makes is garbage: looking for it takes a tenth of the time
    sys.modules["httpx._main"] = None  # type: ignore[assignment]  # its command line: two thirds of httpx's import
    import fastapi
    import httpx  # noqa: F401  (imported for the children)
    import pydantic

    del sys.modules["httpx._main"]
    for module in (*NEEDED_TO_SERVE, *modules):
        with contextlib.suppress(ImportError):  # a part of another version of a library: a service imports it itself
            importlib.import_module(module)
    app = fastapi.FastAPI()

    class Warm(pydantic.BaseModel):
        cents: int

    @app.post("/")
    def warm(body: Warm) -> Warm:
        return body

    gc.enable()
    gc.collect()
    gc.freeze()  # children share these pages: the collector does not touch them
