"""Pricing for the demonstrations: replica 2 is slow, and each replica can be made ill by who runs it."""

import asyncio
import os

from fastapi import Body, FastAPI, HTTPException, Request

from lab_services.bikeshare.health import answer_health

REPLICA = int(os.environ["REPLICA"])
SLOW_REPLICA, SLOW_SECONDS = 2, 0.05

app = FastAPI(title="pricing")
app.state.able = True
answer_health(app)


@app.get("/quote")
@app.get("/bargain")
async def quote(request: Request) -> dict[str, str | int | None]:
    """Return a price, and for whom it is; an ill replica has none."""
    if not app.state.able:
        raise HTTPException(503, "no tariff")
    if REPLICA == SLOW_REPLICA:
        await asyncio.sleep(SLOW_SECONDS)
    return {"cents": 120, "rider": request.headers.get("x-rider")}


@app.get("/able")
async def able() -> dict[str, bool]:
    """Say whether there are prices; the sidecars of callers ask for it."""
    if not app.state.able:
        raise HTTPException(503, "no tariff")
    return {"able": True}


@app.put("/able")
async def set_able(able: bool = Body()) -> dict[str, bool]:
    app.state.able = able
    return {"able": able}
