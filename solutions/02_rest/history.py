"""History: the rides of one account, newest first and page by page. Calls nobody.

GET /rides?rider_id=ada&limit=20 answers {"rides": [...], "next": "/rides?...&cursor=..."}, at the end with next = null.
Contract: at most 500 rides in a page, and what is no cursor of this list is refused, as a problem that names `cursor`.
Two replicas share one DATA_DIR, and in it the file `rides.db`.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated
from urllib.parse import urlencode
from uuid import uuid4

import history_table as table
from fastapi import FastAPI, Query, Response
from history_table import Json, Start

from lab_services.bikeshare.database import opened, probe, transaction
from lab_services.bikeshare.health import answer_health
from lab_services.bikeshare.http_rules import follow_http
from lab_services.bikeshare.problems import ID, Id, Problem, speak_problems


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    with opened("rides", table.RIDES):
        yield


app = FastAPI(title="history", lifespan=lifespan)
speak_problems(app)
follow_http(app)
follow_http(app)
answer_health(app, ready=lambda: probe("rides"))


# --- your turn 2.5 ---
DEFAULT_LIMIT = 50  # rides in a page, when nobody says how many
Limit = Annotated[int, Query(ge=1, le=500)]


def find_page(rider_id: str, limit: int, cursor: str | None) -> tuple[list[Json], str | None]:
    """Return the rides of one page, newest first, and the cursor of the page after it: None at the end."""
    # One possibility: keyset paging. A cursor is a place in the order, not a number of rows: what comes or goes shifts
    # nothing. The order is total (ride_id decides within a second), and WHERE compares what ORDER BY sorts by.
    before = place_of(cursor, rider_id) if cursor is not None else ["9999", ""]
    query = """SELECT * FROM rides WHERE rider_id = ? AND (started_at, ride_id) < (?, ?)
        ORDER BY started_at DESC, ride_id DESC LIMIT ?"""
    with transaction("rides", "BEGIN") as db:
        rides = [dict(row) for row in db.execute(query, [rider_id, *before, limit + 1])]  # one more: is there a next?
    last = rides[limit - 1] if len(rides) > limit else None
    return rides[:limit], last and table.packed(rider_id, last["started_at"], last["ride_id"])


def place_of(cursor: str, rider_id: str) -> list[str]:
    words = table.unpacked(cursor)
    if len(words) != 3 or words[0] != rider_id:
        raise Problem(422, "bad cursor", "cursor: this list handed out no such cursor", errors=[{"field": "cursor"}])
    return words[1:]


# --- end 2.5 ---


@app.get("/rides")
def list_rides(
    response: Response,
    rider_id: Annotated[str, Query(pattern=ID)],
    limit: Limit = DEFAULT_LIMIT,
    cursor: str | None = None,
) -> Json:
    rides, after = find_page(rider_id, limit, cursor)
    following = None
    if after is not None:
        following = "/rides?" + urlencode({"rider_id": rider_id, "limit": limit, "cursor": after})
        response.headers["Link"] = f'<{following}>; rel="next"'  # RFC 8288: the same for clients that read no body
    return {"rides": rides, "next": following}


@app.get("/rides/{ride_id}")
def show_ride(ride_id: Id) -> Json:
    with transaction("rides", "BEGIN") as db:
        row = db.execute("SELECT * FROM rides WHERE ride_id = ?", [ride_id]).fetchone()
    if row is None:
        raise Problem(404, "unknown ride", f"there is no ride {ride_id}")
    return dict(row)


@app.post("/rides", status_code=201)
def start_ride(wish: Start, response: Response) -> Json:
    ride_id = f"r-{uuid4().hex[:12]}"
    response.headers["Location"] = f"/rides/{ride_id}"
    with transaction("rides") as db:
        return table.insert_ride(db, ride_id, wish)
