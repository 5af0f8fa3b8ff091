"""City map: boards that show what happens in a city, at a station, or of one kind. It only listens.

POST /boards {"city", "station", "event"} puts up a board; each of the three may be left out, or null: any. It
subscribes to the filters of subjects.py. GET /boards/{board_id} tells what the board has heard, with the names as they
were given to the stations. A message that cannot be read is left out, and the log says why.
"""

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

from ears import collected
from fastapi import FastAPI
from intruder import connections, let_in
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from subjects import Name, filters, place_of

from lab_services.bikeshare.health import answer_health
from lab_services.bikeshare.messages import read, settled
from lab_services.bikeshare.problems import Body, Id, Problem, speak_problems

VERSIONS = {"bike.taken": 1, "bike.returned": 1, "city.told": 1}
log = logging.getLogger("citymap")


class Wish(Body):
    city: Name | None = None
    station: Name | None = None
    event: Literal["taken", "returned"] | None = None


@dataclass
class Board:
    ears: list[Subscription]
    heard: list[dict[str, Any]] = field(default_factory=list)


boards: dict[str, Board] = {}


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    async with connections(app):
        yield


app = FastAPI(title="citymap", lifespan=lifespan)
speak_problems(app)
answer_health(app)
let_in(app)


@app.post("/boards", status_code=201)
async def put_up(wish: Wish) -> dict[str, Any]:
    wanted = filters(wish.city, wish.station, wish.event)
    ears = [await app.state.client.subscribe(subject) for subject in wanted]
    await settled(app.state.client)
    board_id = f"board-{len(boards) + 1}"
    boards[board_id] = Board(ears)
    return {"board_id": board_id, "filters": wanted}


@app.get("/boards/{board_id}")
async def show(board_id: Id) -> dict[str, Any]:
    if board_id not in boards:
        raise Problem(404, "no such board", f"there is no board {board_id}")
    board = boards[board_id]
    for message in await collected(app.state.client, board.ears):
        try:
            board.heard.append(told(message))
        except ValueError as error:  # Unreadable is one
            log.warning("%s cannot be read: %s", ascii(message.subject[:100]), error)
    return {"board_id": board_id, "heard": board.heard}


def told(message: Msg) -> dict[str, Any]:
    """Return what a message says: where, by its subject, and what, by its content."""
    place = place_of(message.subject)
    return read(message.data, VERSIONS).data | place  # where, is for the subject alone to say
