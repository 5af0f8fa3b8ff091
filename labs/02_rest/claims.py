"""Claims: two ways to find out whether a key is new, for the chapter to compare. Calls nobody."""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI

from lab_services.bikeshare.database import opened, transaction
from lab_services.bikeshare.health import answer_health
from lab_services.bikeshare.http_rules import follow_http
from lab_services.bikeshare.problems import Id, speak_problems

THINKING_SECONDS = 0.02  # what a program does between looking and writing; without it the race is only rarer
CLAIMS = "CREATE TABLE IF NOT EXISTS looked(key TEXT); CREATE TABLE IF NOT EXISTS claimed(key TEXT PRIMARY KEY)"


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    with opened("claims", CLAIMS):
        yield


app = FastAPI(title="claims", lifespan=lifespan)
speak_problems(app)
follow_http(app)
answer_health(app)


@app.post("/looked/{key}")
def look_then_write(key: Id) -> dict[str, bool]:
    """Check, then act: whoever looks before the first one has written believes to be the first."""
    with transaction("claims", "BEGIN") as db:
        known = db.execute("SELECT 1 FROM looked WHERE key = ?", [key]).fetchone()
    time.sleep(THINKING_SECONDS)
    if not known:
        with transaction("claims") as db:
            db.execute("INSERT INTO looked VALUES (?)", [key])
    return {"mine": not known}


@app.post("/claimed/{key}")
def claim(key: Id) -> dict[str, bool]:
    """One step: the unique key of the table lets one INSERT through, whoever asks and however many."""
    with transaction("claims") as db:  # BEGIN IMMEDIATE: writers queue here
        first = db.execute("INSERT OR IGNORE INTO claimed VALUES (?)", [key]).rowcount == 1
    time.sleep(THINKING_SECONDS)
    return {"mine": first}
