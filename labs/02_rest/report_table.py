"""The report of damage that a ride may have, kept beside the rides. Knows nothing of HTTP; refuses as they do."""

import json
from collections.abc import Callable

from rides_table import Refusal, find_ride
from rides_words import Json

from lab_services.bikeshare.database import transaction

REPORTS = "CREATE TABLE IF NOT EXISTS reports(ride_id TEXT PRIMARY KEY, report TEXT)"
REPORT = "SELECT report FROM reports WHERE ride_id = ?"
KEEP = "INSERT OR REPLACE INTO reports VALUES (?, ?)"


def find_report(ride_id: str) -> Json:
    """Return the report of a ride; refuse when there is none."""
    with transaction("rides", "BEGIN") as db:
        row = db.execute(REPORT, [ride_id]).fetchone()
    return read(ride_id, row)


def keep_report(ride_id: str, report: Json) -> bool:
    """Store a report in place of the one before, and return whether it is the first; refuse without a ride."""
    find_ride(ride_id)
    with transaction("rides") as db:
        first = db.execute(REPORT, [ride_id]).fetchone() is None
        db.execute(KEEP, [ride_id, json.dumps(report)])
    return first


def change_report(ride_id: str, change: Callable[[Json], Json]) -> Json:
    """Store and return what `change` makes of the report, reading and writing in one transaction."""
    with transaction("rides") as db:
        report = change(read(ride_id, db.execute(REPORT, [ride_id]).fetchone()))
        db.execute(KEEP, [ride_id, json.dumps(report)])
    return report


def drop_report(ride_id: str) -> bool:
    """Remove the report of a ride, and return whether there was one."""
    with transaction("rides") as db:
        return db.execute("DELETE FROM reports WHERE ride_id = ?", [ride_id]).rowcount > 0


def read(ride_id: str, row: Json | None) -> Json:
    if row is None:
        raise Refusal("unknown", f"ride {ride_id} has no report")
    return dict(json.loads(row["report"]))
