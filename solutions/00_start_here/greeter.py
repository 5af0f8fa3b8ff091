"""Greeter: welcomes a rider at a station and says how many bikes wait there. Calls the stations."""

import os
from typing import Any

import httpx
from fastapi import FastAPI

from lab_services.bikeshare.health import answer_health
from lab_services.bikeshare.problems import Problem, speak_problems

STATIONS_URL = os.environ.get("STATIONS_URL", "http://127.0.0.1:1")
client = httpx.Client(timeout=2.0, trust_env=False)

app = FastAPI(title="greeter")
speak_problems(app)
answer_health(app)


@app.get("/hello/{station_id}")
def hello(station_id: str, name: str = "rider") -> dict[str, Any]:
    bikes = bikes_at(ask_stations(station_id))
    return {"station_id": station_id, "bikes": bikes, "greeting": f"Hello {name}! {bikes} bikes wait for you."}


# --- your turn 0.1 ---
def bikes_at(station: dict[str, Any]) -> int:
    """Return how many bikes a rider can take here."""
    return int(station["bikes"])  # a dock is a place for a bike, and some of the places are empty


# --- end 0.1 ---


def ask_stations(station_id: str) -> dict[str, Any]:
    """Ask the other service; when it is silent, say so in place of guessing."""
    try:
        answer = client.get(f"{STATIONS_URL}/stations/{station_id}")
    except httpx.HTTPError as error:
        raise Problem(503, "stations down", "nobody knows at the moment how many bikes there are") from error
    if answer.is_error:
        raise Problem(answer.status_code, "no greeting", f"stations: {answer.text}")
    return dict(answer.json())
