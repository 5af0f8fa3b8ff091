"""Wallet: holds the money of a ride (wallet.db), and gives it back when the ride comes to nothing.

A ride is wanted: its money is held, or refused, where the rider has not enough. The bike is refused, or freed again:
the money is released. Nobody leads this dance; the services know facts, and not each other. So three rules hold:

* A fact says that something has changed. Where nothing changes, nothing is said.
* What is undone can come before what it undoes. Then nothing is said now, and the later one is refused when it comes,
  whether that takes a second or a week, and a restart: `boxes.give_up` remembers it, `boxes.given_up` asks.
* A start costs 5 messages; one that is refused at most 3, 5 or 7, by money, bike or dock. Then all is quiet.

REACTIONS says which facts are heard; dance_facts.py has them all. A reaction returns what is to be said of this ride.
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

RIDERS = os.environ.get("RIDERS", "ada:100000,bo:100000,chen:100000,dora:100000,poor:100")


def hold(db: sqlite3.Connection, fact: Fact) -> list[Say]:
    """A ride is wanted: hold its money."""
    if boxes.given_up(db, fact.ride.ride_id):
        return [Say("money.refused", "it was given up before")]
    if books.knows(db, fact.ride.ride_id):
        return []
    try:
        books.hold(db, fact.ride)
    except books.Refused as refused:
        return [Say("money.refused", str(refused))]
    return [Say("money.held")]


# --- your turn 5.5 ---
def release(db: sqlite3.Connection, fact: Fact) -> list[Say]:
    """A ride comes to nothing: give its money back."""
    books.release(db, fact.ride.ride_id)
    return [Say("money.released")]


REACTIONS = {"ride.wanted": hold, "bike.refused": release, "bike.freed": release}
# --- end 5.5 ---

app = FastAPI(title="wallet", lifespan=lambda app: dancing(books.MONEY, books.fill_wallets(RIDERS), REACTIONS))
speak_problems(app)
follow_http(app)
answer_health(app, ready=lambda: probe("wallet"))
