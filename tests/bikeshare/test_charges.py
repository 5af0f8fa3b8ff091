"""The books of a wallet that learns of rides by messages: they add up, and show whoever charges twice."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from lab_services.bikeshare.charges import SCHEMA, charge, charges, furnish
from lab_services.bikeshare.database import opened, transaction
from lab_services.bikeshare.laws import audit


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Open the books of four riders in a folder of this test."""
    monkeypatch.setenv("DATA_DIR", str(tmp_path))
    with opened("wallet", SCHEMA):
        with transaction("wallet") as db:
            furnish(db)
        yield tmp_path


def test_a_charge_is_taken_and_the_books_add_up(folder: Path) -> None:
    """A ride that was charged once is in the books once, and the law is kept; a second furnish changes nothing."""
    with transaction("wallet") as db:
        charge(db, "r-1", "ada", 350)
        furnish(db)
        assert charges(db, "r-1") == [{"rider_id": "ada", "captured_cents": 350}] and charges(db, "r-2") == []
    assert audit(folder).kept


def test_a_second_charge_is_seen(folder: Path) -> None:
    """Who charges a ride twice breaks the law once the ride is known."""
    with opened("rides", "CREATE TABLE rides(ride_id, rider_id, bike_id, state, cents)"), transaction("rides") as db:
        db.execute("INSERT INTO rides VALUES ('r-1', 'ada', 'b-1', 'ended', 350)")
    for _ in range(2):
        with transaction("wallet") as db:
            charge(db, "r-1", "ada", 350)
    assert audit(folder).broken == ("1 ride r-1 was paid 2 times: 350 + 350 cents",)


def test_who_has_no_wallet_is_not_charged(folder: Path) -> None:
    """A rider whom nobody knows is named, and nothing is written."""
    with pytest.raises(LookupError, match="zoe has no wallet"), transaction("wallet") as db:
        charge(db, "r-1", "zoe", 350)
    with transaction("wallet") as db:
        assert charges(db, "r-1") == []
