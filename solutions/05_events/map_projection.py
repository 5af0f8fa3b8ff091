"""Projection: draws what the stream tells into a picture of the city (map_tables.py), for the map, and for a rebuild.

`bring` is given the messages that follow in the stream (10,000 at once come in batches of 500), and brings a picture
forward by them: the one that is served, or the one whose number it is given. It does nothing else: it sends nothing,
and asks nobody.

What a picture shows of a ride, and the bikes at the stations that follow from it, are those of the event with the
highest `number` in that ride. Events can come twice, late, and before those that were earlier (map_facts.py): a lower
number, or the same event again, changes nothing. `time` and `id` decide nothing. A ride that was never told to start
is drawn as well.

What cannot be drawn is set aside with the reason, and the others in its batch are drawn: what read() and ride_of()
call Unreadable, and an event that tells something else than the picture shows for this ride and this number ("another"
is in the reason; the first one counts). Any other error, such as a locked database, is not the message's fault: let it
go, and the batch comes again. All positions in it have been reached afterwards, also of what was set aside.

Position and rows are never apart: whoever reads the picture, at any moment and after any crash, finds in it what was
told up to its position, and nothing that came after.
"""

import sqlite3
from collections.abc import Sequence

import map_tables as tables
from map_facts import VERSIONS, Ride, ride_of
from map_told import Told

from lab_services.bikeshare.database import transaction
from lab_services.bikeshare.messages import Unreadable, read


# --- your turn 5.3 ---
def bring(batch: Sequence[Told], picture: int = 0) -> None:
    """Bring a picture forward by what the stream tells next; 0 is the picture that is served."""
    with transaction("citymap") as db:  # one for rows and position: no crash comes between them
        picture = picture or tables.served(db)
        for told in batch:
            try:
                show(db, picture, ride_of(read(told.content, VERSIONS)))
            except Unreadable as reason:
                tables.set_aside(db, picture, told, reason)
        tables.advance(db, picture, batch[-1].position)


def show(db: sqlite3.Connection, picture: int, ride: Ride) -> None:
    """Draw a ride, as an event tells it, unless the picture shows a later event of that ride."""
    before = tables.drawn(db, picture, ride.ride_id)
    if before and before.number == ride.number and before != ride:
        raise Unreadable(f"ride {ride.ride_id} has another event with the number {ride.number}")
    if before and before.number >= ride.number:
        return
    if before:  # a counter forgets nothing by itself: take back what the event before has counted
        tables.count(db, picture, before, -1)
    tables.count(db, picture, ride, 1)
    tables.draw(db, picture, ride)


# --- end 5.3 ---
