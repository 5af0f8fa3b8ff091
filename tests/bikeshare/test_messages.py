"""What a message of the city says of itself, and what is refused, with the reason."""

from __future__ import annotations

import json
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from lab_services.bikeshare.messages import MOST_BYTES, Event, Unreadable, new_event, read, written

NOON = datetime(2026, 6, 1, 12, tzinfo=UTC)
KNOWN = {"ride.ended": 2}
JSON_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=50)


def event(**changes: Any) -> dict[str, Any]:
    """Return an event as it comes over the wire, with changes."""
    return {"id": "e-1", "type": "ride.ended", "version": 1, "time": NOON.isoformat(), "data": {"cents": 350}} | changes


def reason(content: bytes | dict[str, Any]) -> str:
    """Return why a message cannot be read."""
    with pytest.raises(Unreadable) as refused:
        read(content if isinstance(content, bytes) else json.dumps(content).encode(), KNOWN)
    return str(refused.value)


@given(st.dictionaries(JSON_TEXT, JSON_TEXT | st.integers(-(2**53), 2**53) | st.booleans() | st.none()))
def test_what_is_written_is_read(data: dict[str, Any]) -> None:
    """An event comes out as it went in, whatever its data."""
    sent = new_event("ride.ended", NOON, data)
    assert read(written(sent), KNOWN) == sent


def test_two_events_are_two_unless_they_share_an_id() -> None:
    """Each event has an id of its own; one that is told twice keeps the id that it was given."""
    ids = {new_event("ride.ended", NOON, {}).id for _ in range(100)}
    assert len(ids) == 100
    assert new_event("ride.ended", NOON, {}, event_id="r-1.ended").id == "r-1.ended"


def test_fields_of_a_newer_service_are_ignored() -> None:
    """A field that this reader does not know costs nothing."""
    assert read(json.dumps(event(trace="abc")).encode(), KNOWN).data == {"cents": 350}


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "0 bytes"),
        (b" " * (MOST_BYTES + 1), "65,537 bytes"),
        (b"\xff\xfe", "content: Invalid JSON"),
        (b"{", "content: Invalid JSON"),
        (b"[" * 5000, "content: Invalid JSON"),
        (b"[]", "content: "),
        (event(id="a b"), "id: "),
        (event(id=""), "id: "),
        (event(type="RideEnded"), "type: "),
        (event(type="wallet.empty"), "type: wallet.empty is not known, ride.ended is"),
        (event(version=3), "version: 3 of ride.ended, and 2 is the newest known"),
        (event(version="1"), "version: "),
        (event(version=True), "version: "),
        (event(version=0), "version: "),
        (event(time="2026-06-01T12:00:00"), "time: "),
        (event(data=[1]), "data: "),
        ({"id": "e-1"}, "type: "),
    ],
)
def test_what_cannot_be_read_says_why(content: bytes | dict[str, Any], told: str) -> None:
    """Empty, huge, no JSON, not of the form, of an unknown type or version: the reason names the field."""
    assert reason(content).startswith(told)


@given(st.binary(max_size=300))
def test_no_bytes_do_more_than_be_unreadable(content: bytes) -> None:
    """Random bytes are an event or Unreadable, never another exception."""
    with suppress(Unreadable):
        assert isinstance(read(content, KNOWN), Event)


def test_an_event_too_large_for_its_readers_is_not_written() -> None:
    """Who writes more than readers take hears it at once, with both sizes."""
    with pytest.raises(ValueError, match=r"has 70,1.. bytes, 65,536 at most"):
        written(new_event("ride.ended", NOON, {"note": "x" * 70_000}))


@pytest.mark.parametrize("change", [{"kind": "Ride Ended"}, {"time": datetime(2026, 6, 1)}, {"event_id": "a b"}])
def test_an_event_that_nobody_could_read_is_not_made(change: dict[str, Any]) -> None:
    """The form is checked where an event is made, not only where it is read."""
    with pytest.raises(ValidationError):
        new_event(**{"kind": "ride.ended", "time": NOON, "data": {}, **change})
