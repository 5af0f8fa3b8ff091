"""The three conservation laws of the city, audited on what the services have stored.

Bikes:     every bike is in exactly one place: docked + riding + in the workshop == fleet.
Money:     of every wallet, deposited == balance + open holds + captured; one ended ride is one capture of its cents.
Causality: a dock opens once for an accepted ride, and a ride that ended opened one dock after that.

Ask when the city is quiet: a ride that is on its way at this moment is half written, and rightly so.
"""

from __future__ import annotations

import sqlite3
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

TABLES = {
    "stations": ("station_id", "docks"),
    "bikes": ("bike_id", "station_id", "ride_id", "workshop"),
    "movements": ("seq", "bike_id", "ride_id", "station_id", "kind"),
    "wallets": ("rider_id", "deposited_cents", "balance_cents"),
    "holds": ("ride_id", "rider_id", "cents", "state", "captured_cents"),
    "rides": ("ride_id", "rider_id", "bike_id", "state", "cents"),
}
BROKERS_OWN = "jetstream"  # a folder with files that are called index.db, and are no databases
MOST_LINES = 20  # of what is broken, in a printed audit; `broken` has them all
Row = dict[str, Any]
Tables = dict[str, list[Row]]


@dataclass(frozen=True)
class Audit:
    """What an audit found: `broken` in the words of the city, law by law, and the `sums` that it looked at."""

    broken: tuple[str, ...]
    sums: tuple[str, ...] = ()

    @property
    def kept(self) -> bool:
        return not self.broken

    def __repr__(self) -> str:
        return "\n".join([self._verdict(), *(f"  {kind}: {text}" for kind, text in self._lines())])

    def _repr_html_(self) -> str:
        rows = "".join(f'<tr><th scope="row">{kind}</th><td>{escape(text)}</td></tr>' for kind, text in self._lines())
        return (
            '<table style="color: var(--jp-ui-font-color1, #212121); text-align: left">'
            f'<caption>{self._verdict()}</caption><thead><tr><th scope="col">Finding</th><th scope="col">What</th></tr>'
            f"</thead><tbody>{rows}</tbody></table>"
        )

    def _verdict(self) -> str:
        return "All laws are kept." if self.kept else f"The laws are broken, {len(self.broken)} findings."

    def _lines(self) -> Iterator[tuple[str, str]]:
        yield from (("broken", text) for text in self.broken[:MOST_LINES])
        if len(self.broken) > MOST_LINES:
            yield "broken", f"and {len(self.broken) - MOST_LINES} more"
        yield from (("counted", text) for text in self.sums)


def audit(folder: Path, *, fleet: int | None = None) -> Audit:
    """Audit every *.db file below a folder, wherever the tables stand; the same table in two files is their union.

    Without `fleet` the fleet is every bike that a table or the ledger of movements has ever named.
    """
    tables, unreadable = _read(Path(folder))
    if not any(tables.values()):
        return Audit((*unreadable, f"nothing to audit: no rows of the city below {folder}"))
    broken = [*unreadable, *_bikes(tables, fleet), *_money(tables), *_causality(tables)]
    return Audit(tuple(broken), tuple(_sums(tables)))


def _read(folder: Path) -> tuple[Tables, list[str]]:
    tables: Tables = defaultdict(list)
    unreadable = []
    for file in sorted(folder.rglob("*.db")):
        if BROKERS_OWN in file.relative_to(folder).parts:
            continue
        try:
            for table, rows in _read_file(file, file.relative_to(folder).as_posix()):
                tables[table] += rows
        except sqlite3.Error as error:
            unreadable.append(f"{file.relative_to(folder)} cannot be audited: {error}")
    return tables, unreadable


def _read_file(file: Path, name: str) -> Iterator[tuple[str, list[Row]]]:
    with closing(sqlite3.connect(f"{file.resolve().as_uri()}?mode=ro", uri=True, timeout=5)) as db:
        db.row_factory = sqlite3.Row
        db.execute("BEGIN")  # one picture of all its tables
        present = {row["name"] for row in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        for table in [each for each in TABLES if each in present]:
            query = f"SELECT {', '.join(TABLES[table])} FROM {table}"
            yield table, [dict(row) | {"file": name} for row in db.execute(query)]


def _bikes(tables: Tables, fleet: int | None) -> Iterator[str]:
    for bike_id, rows in _by(tables["bikes"], "bike_id").items():
        places = [place for row in rows for place in _places(row)]
        if not places:
            yield f"bike {bike_id} is nowhere: at no station, on no ride, not in the workshop"
        if len(places) > 1:
            yield f"bike {bike_id} is in {len(places)} places at once: {', '.join(places)}"
    known = {row["bike_id"] for row in tables["bikes"]}
    lost = {row["bike_id"] for row in tables["movements"]} - known
    yield from (
        f"bike {bike_id} has left the city: the ledger knows it, and no place has it" for bike_id in sorted(lost)
    )
    if fleet is not None and len(known) != fleet:
        yield f"the fleet is {fleet} bikes, and {len(known)} are there"
    docked = Counter((row["file"], row["station_id"]) for row in tables["bikes"] if row["station_id"] is not None)
    for row in tables["stations"]:
        count = docked[row["file"], row["station_id"]]
        if count > row["docks"]:
            yield f"station {row['station_id']} has {count} bikes in {row['docks']} docks"


def _places(bike: Row) -> list[str]:
    places = [f"station {bike['station_id']}"] if bike["station_id"] is not None else []
    places += [f"ride {bike['ride_id']}"] if bike["ride_id"] is not None else []
    return places + (["the workshop"] if bike["workshop"] else [])


def _money(tables: Tables) -> Iterator[str]:
    columns = [("wallets", "rider_id"), ("holds", "ride_id")]
    for table, key in columns:
        for row in tables[table]:
            for column in [each for each in TABLES[table] if each.endswith("cents")]:
                if type(row[column]) is not int:
                    yield f"{column} of {row[key]} is {row[column]!r}, not whole cents"
                    row[column] = 0
    yield from _wallets(tables)
    yield from _payments(tables)


def _wallets(tables: Tables) -> Iterator[str]:
    """Check each wallet against the holds of its rider: those in its own file, and those in a file without wallets."""
    wallets = {(row["file"], row["rider_id"]): row for row in tables["wallets"]}
    home = {row["rider_id"]: row["file"] for row in tables["wallets"]}
    parts: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    for hold in tables["holds"]:
        rider_id = hold["rider_id"]
        file = hold["file"] if (hold["file"], rider_id) in wallets else home.get(rider_id)
        if file is None:
            yield f"ride {hold['ride_id']} holds money of {rider_id}, who has no wallet"
            continue
        parts[file, rider_id]["open"] += hold["cents"] if hold["state"] == "open" else 0
        parts[file, rider_id]["captured"] += hold["captured_cents"]
    for key, wallet in wallets.items():
        deposited, balance = wallet["deposited_cents"], wallet["balance_cents"]
        held, captured = parts[key]["open"], parts[key]["captured"]
        if deposited != balance + held + captured:
            sums = f"{deposited} deposited, but {balance} balance + {held} held + {captured} captured"
            yield f"the wallet of {wallet['rider_id']} does not add up: {sums} = {balance + held + captured} cents"
        if balance < 0:
            yield f"the wallet of {wallet['rider_id']} is {-balance} cents below zero"


def _payments(tables: Tables) -> Iterator[str]:
    if not tables["rides"]:
        return
    holds = _by(tables["holds"], "ride_id")
    rides = _by(tables["rides"], "ride_id")
    for ride_id, (ride, *_) in rides.items():
        captured = [hold["captured_cents"] for hold in holds.get(ride_id, []) if hold["state"] == "captured"]
        if len(captured) > 1:
            yield f"1 ride {ride_id} was paid {len(captured)} times: {' + '.join(map(str, captured))} cents"
        if tables["holds"] and ride["state"] == "ended" and not captured:
            yield f"ride {ride_id} has ended, and nobody has paid for it"
        if ride["state"] == "ended" and len(captured) == 1 and captured[0] != ride["cents"]:
            yield f"ride {ride_id} costs {ride['cents']} cents, and {captured[0]} were captured"
        if ride["state"] == "refused" and captured:
            yield f"ride {ride_id} was refused, and was paid"
        if ride["state"] in ("refused", "ended") and any(hold["state"] == "open" for hold in holds.get(ride_id, [])):
            yield f"ride {ride_id} is {ride['state']}, and still holds money"
    for ride_id in sorted(holds.keys() - rides.keys(), key=str):
        if any(hold["state"] == "captured" for hold in holds[ride_id]):
            yield f"ride {ride_id} was paid, and nobody has accepted such a ride"


def _causality(tables: Tables) -> Iterator[str]:
    if not tables["movements"]:
        return
    rides = _by(tables["rides"], "ride_id")
    movements = _by(tables["movements"], "ride_id")
    for ride_id, rows in movements.items():
        taken = sum(row["kind"] == "taken" for row in rows)
        returned = sum(row["kind"] == "returned" for row in rows)
        if taken > 1:
            yield f"{taken} docks opened for 1 ride {ride_id}"
        if returned > 1:
            yield f"1 ride {ride_id} returned {returned} bikes"
        if returned and not taken:
            yield f"ride {ride_id} returned a bike that it never took"
        if rides and ride_id not in rides:
            yield f"a dock opened for ride {ride_id}, which nobody has accepted"
    for ride_id, (ride, *_) in rides.items():
        yield from _course(ride, movements.get(ride_id, []))
    for bike in tables["bikes"]:
        state = rides[bike["ride_id"]][0]["state"] if bike["ride_id"] in rides else "started"
        if state in ("ended", "refused"):
            yield f"bike {bike['bike_id']} is out on ride {bike['ride_id']}, which is {state}"


def _course(ride: Row, movements: list[Row]) -> Iterator[str]:
    """Compare what a ride says of itself with the docks that opened for it."""
    taken = [row for row in movements if row["kind"] == "taken"]
    returned = [row for row in movements if row["kind"] == "returned"]
    if ride["state"] in ("started", "ended") and not taken:
        yield f"ride {ride['ride_id']} is {ride['state']}, and no dock has opened for it"
    if taken and ride["state"] in ("started", "ended") and ride["bike_id"] not in {row["bike_id"] for row in taken}:
        yield f"ride {ride['ride_id']} has bike {ride['bike_id']}, and the dock gave out {taken[0]['bike_id']}"
    if ride["state"] == "ended" and taken and not returned:
        yield f"ride {ride['ride_id']} has ended, and its bike was never returned"
    if any(end["file"] == start["file"] and end["seq"] < start["seq"] for start in taken for end in returned):
        yield f"ride {ride['ride_id']} returned its bike before it took it"


def _sums(tables: Tables) -> Iterator[str]:
    if bikes := tables["bikes"]:
        docked, riding = (sum(row[key] is not None for row in bikes) for key in ("station_id", "ride_id"))
        workshop = sum(bool(row["workshop"]) for row in bikes)
        yield f"{len(bikes)} bikes: {docked} docked + {riding} riding + {workshop} in the workshop"
    if tables["wallets"]:
        deposited, balance = (sum(row[f"{key}_cents"] for row in tables["wallets"]) for key in ("deposited", "balance"))
        held = sum(row["cents"] for row in tables["holds"] if row["state"] == "open")
        captured = sum(row["captured_cents"] for row in tables["holds"])
        yield f"{deposited} cents deposited: {balance} balance + {held} held + {captured} captured"
    if tables["rides"]:
        states = Counter(str(row["state"]) for row in tables["rides"])
        yield f"{len(tables['rides'])} rides: " + ", ".join(
            f"{count} {state}" for state, count in sorted(states.items())
        )
    if tables["movements"]:
        yield f"{len(tables['movements'])} openings of a dock"


def _by(rows: list[Row], key: str) -> dict[Any, list[Row]]:
    groups: dict[Any, list[Row]] = defaultdict(list)
    for row in rows:
        groups[row[key]].append(row)
    return dict(groups)
