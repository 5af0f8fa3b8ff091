"""Plans: tours that several riders plan together. Calls nobody.

PUT /plans/{plan_id} creates a plan or replaces it, GET and HEAD show it, DELETE removes it.
Two replicas of this service share one DATA_DIR, and in it the file `rides.db`.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Annotated

from entity_tags import etag_of, matches
from fastapi import Depends, FastAPI, Request, Response
from plans_table import PLANS, Json, Plan, as_bytes, find_plan, write_plan

from lab_services.bikeshare.database import opened, probe, transaction
from lab_services.bikeshare.health import answer_health
from lab_services.bikeshare.http_rules import follow_http
from lab_services.bikeshare.problems import Id, Problem, speak_problems


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    with opened("rides", PLANS):
        yield


app = FastAPI(title="plans", lifespan=lifespan)
speak_problems(app)
follow_http(app)
answer_health(app, ready=lambda: probe("rides"))


@dataclass(frozen=True)
class Preconditions:
    """What a request asks to be checked first; None: it has no such field. Two lines of a field are one list."""

    if_match: str | None
    if_none_match: str | None


async def preconditions(request: Request) -> Preconditions:
    lines = [request.headers.getlist(name) for name in ("If-Match", "If-None-Match")]
    return Preconditions(*(", ".join(each) if each else None for each in lines))


Asked = Annotated[Preconditions, Depends(preconditions)]


# --- your turn 2.3 ---
def show(plan: Json, asked: Preconditions) -> Response:
    """Answer GET and HEAD of a plan that is there."""
    return answer(200, plan)


def change(plan_id: str, wish: Plan | None, asked: Preconditions) -> tuple[Json | None, Json | None]:
    """Replace a plan by the wish, or remove it when there is none; return the plan as it was and as it is."""
    with transaction("rides", "BEGIN") as db:
        before = find_plan(db, plan_id)
    if before and asked.if_match and not matches(asked.if_match, etag_of(before), strong=True):
        raise Problem(412, "stale plan", f"the plan has changed, it is now {etag_of(before)}")
    with transaction("rides") as db:
        return before, write_plan(db, plan_id, wish)


# --- end 2.3 ---


def headers_of(plan: Json) -> dict[str, str]:
    """Return the fields about a plan: keep it, but only for yourself, and ask each time whether it still holds."""
    return {"ETag": etag_of(plan), "Cache-Control": "private, no-cache"}


def answer(status: int, plan: Json) -> Response:
    """Send a plan."""
    return Response(as_bytes(plan), status, headers_of(plan), media_type="application/json")


def read_plan(plan_id: str) -> Json:
    """Return a plan as it is at this moment."""
    with transaction("rides", "BEGIN") as db:
        if plan := find_plan(db, plan_id):
            return plan
    raise Problem(404, "unknown plan", f"there is no plan {plan_id}")


@app.get("/plans/{plan_id}")
def get_plan(plan_id: Id, asked: Asked) -> Response:
    return show(read_plan(plan_id), asked)


@app.put("/plans/{plan_id}")
def put_plan(plan_id: Id, wish: Plan, asked: Asked) -> Response:
    before, plan = change(plan_id, wish, asked)
    assert plan is not None
    sent = answer(200 if before else 201, plan)
    if before is None:
        sent.headers["Location"] = f"/plans/{plan_id}"
    return sent


@app.delete("/plans/{plan_id}", status_code=204)
def delete_plan(plan_id: Id, asked: Asked) -> None:
    read_plan(plan_id)  # RFC 9110, 13.2.1: what would be a 404 anyway is one, whatever is asked
    change(plan_id, None, asked)
