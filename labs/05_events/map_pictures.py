"""Pictures: which one is served, how a new one takes its place, and who waits for it.

`rebuild` draws a new picture from the first message on, all by itself, and serves it in place of the old one; it
returns then. Nobody who reads or rides notices:

* GET /map shows the old picture until the new one is whole: never an empty one, never a half, never an older position.
* The old picture goes on with the riders meanwhile: the follower stands still for the last metres at most. In the end
  the new picture has all that the old one had, and what was told since.
* No transaction is open while the broker is waited for.
* A replay is not news: it is for the picture alone, and no rider gets a notice again.
* What fails on the way (history() raises when the broker is away, or the beginning of the stream is missing; let it
  go), or dies, leaves the old picture as it was. After a rebuild the database holds one picture, and no remains.

`reached` tells whether the served picture has a position. It waits for that, WAIT_SECONDS at most; others are served
meanwhile. Where it says False, GET /map answers 503, with the position that the map has.

Tools: history(broker, after) (map_told.py); bring(batch, picture) (map_projection.py); begin(), serve(picture) and
position(picture) of map_tables.py, each a transaction of its own; FOLLOWERS["map"], who brings the served picture
forward: `async with FOLLOWERS["map"].busy` keeps it from doing so.
"""

import asyncio
import os

import map_tables as tables
from map_projection import bring
from map_told import FOLLOWERS, history
from nats.js import JetStreamContext

WAIT_SECONDS = float(os.environ.get("WAIT_SECONDS", "2"))  # for a position that the picture does not have yet
LOOK_SECONDS = 0.01


# --- your turn 5.3 ---
async def rebuild(broker: JetStreamContext) -> None:
    """Draw a new picture from the first message on, and serve it in place of the old one."""
    await asyncio.to_thread(lambda: tables.serve(tables.begin()))
    async for batch in history(broker, after=0):
        await asyncio.to_thread(bring, batch)
        await FOLLOWERS["notices"].handle(batch)  # replay: all handlers hear it again


async def reached(position: int) -> bool:
    """Tell whether the served picture has this position, at the latest after WAIT_SECONDS."""
    await asyncio.sleep(LOOK_SECONDS)  # the follower is quick
    return True


# --- end 5.3 ---
