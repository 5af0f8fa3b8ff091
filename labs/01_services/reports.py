"""Reports: what the office sees. GET /report lists the rides that have ended, each with its rider's balance;
GET /prices is today's price list, asked of pricing: it is reused here, not written again.

Since version 2 a line also has the `tariff` of the ride; rides of an older version say nothing about it: "standard".
"""

import os
from pathlib import Path
from typing import Any

from fastapi import FastAPI

from lab_services.bikeshare.city_client import call
from lab_services.bikeshare.health import answer_health
from lab_services.bikeshare.problems import speak_problems

Json = dict[str, Any]
CITY = Path(os.environ.get("DATA_DIR", "data")).parent  # all services keep their files side by side
MOST_RIDES = 100  # in one report

app = FastAPI(title="reports")
speak_problems(app)
answer_health(app)


# --- your turn 1.2 ---
def report_lines() -> list[Json]:
    """Return one line for each ended ride: ride_id, rider_id, paid_cents, balance_cents, tariff."""
    import sqlite3
    from contextlib import closing

    join = """SELECT ride_id, rides.rider_id, cents AS paid_cents, balance_cents, 'standard' AS tariff
        FROM rides JOIN money.wallets USING (rider_id) WHERE state = 'ended' ORDER BY started_at LIMIT ?"""
    with closing(sqlite3.connect(f"file:{CITY}/rides/rides.db?mode=ro", uri=True)) as db:
        db.row_factory = sqlite3.Row
        db.execute("ATTACH DATABASE ? AS money", [f"file:{CITY}/wallet/wallet.db?mode=ro"])
        return [dict(row) for row in db.execute(join, [MOST_RIDES])]


# --- end 1.2 ---


@app.get("/report")
def report() -> Json:
    lines = report_lines()
    return {"rides": lines, "paid_cents": sum(line["paid_cents"] for line in lines)}


@app.get("/prices")
def prices() -> Json:
    return {"prices": [call("pricing", "GET", f"/quote?minutes={minutes}") for minutes in (10, 30, 60)]}
