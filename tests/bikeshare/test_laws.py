"""The audit: a city that works is lawful, and each planted breach is named in the words of the city."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from lab_services.bikeshare import rides, rides_relay, stations, wallet
from lab_services.bikeshare.laws import Audit, audit

ONE_RIDE = """
    INSERT INTO stations VALUES ('A1', 2), ('B2', 2);
    INSERT INTO bikes VALUES ('b-1', 'B2', NULL, 0), ('b-2', NULL, 'r-2', 0), ('b-3', NULL, NULL, 1);
    INSERT INTO movements VALUES (1, 'b-1', 'r-1', 'A1', 'taken'), (2, 'b-1', 'r-1', 'B2', 'returned');
    INSERT INTO movements VALUES (3, 'b-2', 'r-2', 'A1', 'taken');
    INSERT INTO wallets VALUES ('ada', 5000, 2660), ('bo', 5000, 5000);
    INSERT INTO holds VALUES ('r-1', 'ada', 2000, 'captured', 340), ('r-2', 'ada', 2000, 'open', 0);
    INSERT INTO holds VALUES ('r-3', 'bo', 2000, 'released', 0);
    INSERT INTO rides(ride_id, rider_id, bike_id, state, cents) VALUES ('r-1', 'ada', 'b-1', 'ended', 340),
        ('r-2', 'ada', 'b-2', 'started', NULL), ('r-3', 'bo', NULL, 'refused', NULL);
"""
BREACHES = [
    # bikes
    ("UPDATE bikes SET station_id = 'A1' WHERE bike_id = 'b-2'", "bike b-2 is in 2 places at once"),
    ("UPDATE bikes SET workshop = 1 WHERE bike_id = 'b-1'", "bike b-1 is in 2 places at once"),
    ("UPDATE bikes SET station_id = NULL WHERE bike_id = 'b-1'", "bike b-1 is nowhere"),
    ("DELETE FROM bikes WHERE bike_id = 'b-1'", "bike b-1 has left the city"),
    ("DELETE FROM bikes WHERE bike_id = 'b-3'", "the fleet is 3 bikes, and 2 are there"),
    ("INSERT INTO bikes VALUES ('b-4', 'A1', NULL, 0)", "the fleet is 3 bikes, and 4 are there"),
    ("UPDATE stations SET docks = 0 WHERE station_id = 'B2'", "station B2 has 1 bikes in 0 docks"),
    # money
    ("UPDATE wallets SET balance_cents = 2661 WHERE rider_id = 'ada'", "the wallet of ada does not add up"),
    ("UPDATE holds SET state = 'released' WHERE ride_id = 'r-2'", "the wallet of ada does not add up"),
    ("DELETE FROM holds WHERE ride_id = 'r-1'", "ride r-1 has ended, and nobody has paid for it"),
    ("UPDATE wallets SET balance_cents = -1, deposited_cents = -1 WHERE rider_id = 'bo'", "1 cents below zero"),
    ("UPDATE wallets SET balance_cents = 2660.5 WHERE rider_id = 'ada'", "2660.5, not whole cents"),
    ("UPDATE holds SET captured_cents = NULL WHERE ride_id = 'r-3'", "None, not whole cents"),
    ("UPDATE rides SET cents = 341 WHERE ride_id = 'r-1'", "ride r-1 costs 341 cents, and 340 were captured"),
    ("UPDATE holds SET state = 'open' WHERE ride_id = 'r-3'", "ride r-3 is refused, and still holds money"),
    ("UPDATE holds SET state = 'open' WHERE ride_id = 'r-1'", "ride r-1 is ended, and still holds money"),
    ("UPDATE holds SET state = 'captured' WHERE ride_id = 'r-3'", "ride r-3 was refused, and was paid"),
    ("INSERT INTO holds VALUES ('r-9', 'bo', 5, 'captured', 0)", "ride r-9 was paid, and nobody has accepted"),
    ("INSERT INTO holds VALUES ('r-9', 'eve', 5, 'open', 0)", "ride r-9 holds money of eve, who has no wallet"),
    # causality
    ("INSERT INTO movements VALUES (9, 'b-1', 'r-1', 'A1', 'taken')", "2 docks opened for 1 ride r-1"),
    ("INSERT INTO movements VALUES (9, 'b-1', 'r-1', 'A1', 'returned')", "1 ride r-1 returned 2 bikes"),
    ("INSERT INTO movements VALUES (9, 'b-1', 'r-7', 'A1', 'taken')", "a dock opened for ride r-7, which nobody"),
    ("DELETE FROM movements WHERE seq = 1", "ride r-1 returned a bike that it never took"),
    ("DELETE FROM movements WHERE seq = 3", "ride r-2 is started, and no dock has opened for it"),
    ("DELETE FROM movements WHERE seq = 2", "ride r-1 has ended, and its bike was never returned"),
    ("UPDATE movements SET seq = 7 WHERE seq = 1", "ride r-1 returned its bike before it took it"),
    ("UPDATE rides SET bike_id = 'b-3' WHERE ride_id = 'r-1'", "ride r-1 has bike b-3, and the dock gave out b-1"),
    ("UPDATE bikes SET ride_id = 'r-1' WHERE bike_id = 'b-2'", "bike b-2 is out on ride r-1, which is ended"),
    ("UPDATE bikes SET ride_id = 'r-3' WHERE bike_id = 'b-2'", "bike b-2 is out on ride r-3, which is refused"),
]


def run(file: Path, *scripts: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    with closing(sqlite3.connect(file)) as db:
        for script in scripts:
            db.executescript(script)


@pytest.fixture
def city_db(tmp_path: Path) -> Path:
    """Two rides and a refused one, all tables in one file, as a monolith keeps them."""
    file = tmp_path / "city" / "city.db"
    without_guard = stations.SCHEMA.split("CREATE UNIQUE")[0]  # so that a second dock can be planted
    run(file, without_guard + wallet.SCHEMA + ";" + rides.RIDES + rides_relay.SCHEMA, ONE_RIDE)
    return file


def test_a_city_that_works_is_lawful(city_db: Path) -> None:
    """An ended, a started and a refused ride break no law, and the sums say what was counted."""
    found = audit(city_db.parent.parent, fleet=3)
    assert found.broken == ()
    assert found.kept
    assert found.sums == (
        "3 bikes: 1 docked + 1 riding + 1 in the workshop",
        "10000 cents deposited: 7660 balance + 2000 held + 340 captured",
        "3 rides: 1 ended, 1 refused, 1 started",
        "3 openings of a dock",
    )


@pytest.mark.parametrize(("breach", "says"), BREACHES)
def test_each_breach_is_named(city_db: Path, breach: str, says: str) -> None:
    """A single wrong row is found and named."""
    run(city_db, breach)
    found = audit(city_db.parent, fleet=3)
    assert any(says in each for each in found.broken), found.broken
    assert not found.kept


def test_the_same_table_in_two_files_is_their_union(city_db: Path) -> None:
    """A ride that is paid in the old city's file and in the new wallet's is paid twice."""
    run(
        city_db.parent / "wallet" / "wallet.db",
        wallet.SCHEMA,
        "INSERT INTO wallets VALUES ('ada', 5000, 4660)",
        "INSERT INTO holds VALUES ('r-1', 'ada', 2000, 'captured', 340)",
    )
    assert audit(city_db.parent).broken == ("1 ride r-1 was paid 2 times: 340 + 340 cents",)


def test_holds_and_wallets_may_stand_in_two_files(city_db: Path) -> None:
    """A wallet whose holds are kept elsewhere is audited against them."""
    run(city_db, "DELETE FROM wallets")
    run(city_db.parent / "w.db", wallet.SCHEMA, "INSERT INTO wallets VALUES ('ada', 5000, 2660), ('bo', 7, 8)")
    [broken] = audit(city_db.parent).broken
    assert broken.startswith("the wallet of bo does not add up: 7 deposited, but 8 balance")


def test_each_service_can_be_audited_alone(city_db: Path) -> None:
    """Without the tables of the others a law asks no more than it can know."""
    run(city_db, "DROP TABLE rides")
    assert audit(city_db.parent).broken == ()


def test_nothing_to_audit_is_not_lawful(tmp_path: Path) -> None:
    """A folder without data is a finding, so that a wrong path cannot pass as a lawful city."""
    assert "nothing to audit" in audit(tmp_path).broken[0]


def test_a_file_that_cannot_be_read_is_a_finding(city_db: Path) -> None:
    """A file that is no database and a table that has lost a column are named, and the rest is audited."""
    (city_db.parent / "broken.db").write_bytes(b"no database" * 100)
    run(city_db.parent / "other.db", "CREATE TABLE rides(ride_id TEXT)")
    first, second = audit(city_db.parent).broken
    assert first.startswith("broken.db cannot be audited: file is not a database")
    assert second.startswith("other.db cannot be audited: no such column")


def test_what_a_broker_keeps_is_no_database(city_db: Path) -> None:
    """A broker that has ended in peace leaves an index.db of its own form, which breaks no law."""
    folder = city_db.parent / "broker" / "jetstream" / "streams" / "RIDES" / "msgs"
    folder.mkdir(parents=True)
    (folder / "index.db").write_bytes(b"no database" * 100)
    assert audit(city_db.parent).kept


def test_the_audit_writes_nothing(city_db: Path) -> None:
    """The audited file is the same byte for byte."""
    before = city_db.read_bytes()
    audit(city_db.parent)
    assert city_db.read_bytes() == before


def test_both_forms_say_the_same() -> None:
    """Plain text and HTML carry every finding; HTML is escaped and a long list is cut with its count."""
    found = Audit(tuple(f"bike <b-{number}>" for number in range(30)), ("64 bikes",))
    plain, html = repr(found), found._repr_html_()
    assert "30 findings" in plain and "30 findings" in html
    assert "bike <b-19>" in plain and "bike &lt;b-19&gt;" in html and "<b-19>" not in html
    assert "and 10 more" in plain and "and 10 more" in html and "b-20" not in plain + html
    assert "64 bikes" in plain and "64 bikes" in html
    assert "<caption>" in html and 'scope="row"' in html and "var(--jp-" in html
