"""A finished service with a mistake in it, served as the runtime serves: what it logs is this program's output."""

from __future__ import annotations

import asyncio
import logging
import socket

import httpx
import uvicorn
from fastapi import FastAPI, Request

from lab_services.telemetry.instrument import Instrumentation

watching = Instrumentation("lab_services.bikeshare.broken:app", traces=True)
app = FastAPI()
log = logging.getLogger("broken")


@app.get("/wallets/{rider_id}")
async def wallet(rider_id: str) -> None:
    raise KeyError(f"the wallet of {rider_id}")


@app.get("/careful/{ride_id}")
def careful(ride_id: str, request: Request) -> None:
    try:
        raise ValueError("ada\nand zoe")
    except ValueError:
        log.exception(
            "ride %s is\nodd: %s", ride_id, "nats://ada:secret@host", extra={"rider_id": "ada", "ride_id": ride_id}
        )
    token = request.headers["authorization"]
    log.warning("asked with %s", token, extra={"headers": {"authorization": token, "accept": "*/*"}})


@app.get("/health/live")
def live() -> None:
    log.debug("not worth a line")


async def main() -> None:
    endpoint = socket.socket()
    endpoint.bind(("127.0.0.1", 0))
    endpoint.listen()  # whoever asks before it is served waits
    config = uvicorn.Config(app, log_config=None, log_level="warning", access_log=False)
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve([endpoint]))
    headers = {"authorization": "Bearer opens-doors"}
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{endpoint.getsockname()[1]}", trust_env=False) as client:
        for path in ("/wallets/ada?card=4111111111111111", "/careful/r-1", "/health/live"):
            await client.get(path, headers=headers)
    server.should_exit = True
    await serving


if __name__ == "__main__":
    asyncio.run(main())
    watching.end()
