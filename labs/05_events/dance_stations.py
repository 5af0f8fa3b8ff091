"""Stations: keep a bike for a ride whose money is held (stations.db), until its dock opens or the ride is given up.

The money is held: the bike is reserved, or refused, where it does not stand free at a station. The dock is opened: the
bike leaves. The dock is refused: the bike is freed. The three rules of the dance stand at the top of dance_wallet.py;
`hold` there keeps the second.
"""

import os
import sqlite3

import dance_books as books
import dance_boxes as boxes
from dance_facts import Fact, Say
from dance_line import dancing
from fastapi import FastAPI

from lab_services.bikeshare.database import probe
from lab_services.bikeshare.health import answer_health
from lab_services.bikeshare.http_rules import follow_http
from lab_services.bikeshare.problems import speak_problems

BIKES = int(os.environ.get("BIKES", "24"))  # b-01, b-02, ...


def leave(db: sqlite3.Connection, fact: Fact) -> list[Say]:
    """The dock is open: the bike is with its rider. Nobody waits to hear it."""
    books.leave(db, fact.ride)
    return []


# --- your turn 5.5 ---
def reserve(db: sqlite3.Connection, fact: Fact) -> list[Say]:
    """The money is held: keep the bike for the ride."""
    try:
        books.reserve(db, fact.ride)
    except books.Refused as refused:
        return [Say("bike.refused", str(refused))]
    return [Say("bike.reserved")]


def free(db: sqlite3.Connection, fact: Fact) -> list[Say]:
    """The ride comes to nothing: let others have the bike."""
    boxes.give_up(db, fact.ride.ride_id)
    books.free(db, fact.ride.ride_id)
    return [Say("bike.freed")]


REACTIONS = {
    "money.held": reserve,
    "bike.refused": reserve,  # perhaps it has come back meanwhile
    "dock.opened": leave,
    "dock.refused": free,
    "money.released": free,  # no bike is kept for nothing
}
# --- end 5.5 ---

app = FastAPI(title="stations", lifespan=lambda app: dancing(books.BIKES, books.fill_docks(BIKES), REACTIONS))
speak_problems(app)
follow_http(app)
answer_health(app, ready=lambda: probe("stations"))
