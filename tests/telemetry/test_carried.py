"""A trace goes on through rows of a table and events, also in a database that an older version has made."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime

import pytest
from opentelemetry import trace
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags

from lab_services.bikeshare import carried, outbox
from lab_services.bikeshare.messages import Event, new_event, read

HERE = SpanContext(0xA, 0xB, is_remote=False, trace_flags=TraceFlags(TraceFlags.SAMPLED))
PARENT = f"00-{0xA:032x}-{0xB:016x}-01"


@pytest.fixture
def db() -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as db:
        db.row_factory = sqlite3.Row
        for statement in outbox.SCHEMA.strip(";\n ").split(";"):
            db.execute(statement)
        yield db


def event(what: str = "ride.ended") -> Event:
    return new_event(what, datetime.now(UTC), {"ride_id": "r-1"}, event_id=f"r-1.{what}")


def stored(db: sqlite3.Connection) -> list[bytes]:
    return [row["content"] for row in db.execute("SELECT content FROM outbox ORDER BY seq")]


def test_a_row_has_the_span_that_wrote_it_and_is_the_same_event(db: sqlite3.Connection) -> None:
    """The event carries a traceparent, as CloudEvents' extension has it; who does not know it reads what was read."""
    plain = event()
    with trace.use_span(NonRecordingSpan(HERE)):
        outbox.put(db, "ride.ended", plain)
    (content,) = stored(db)
    assert json.loads(content)["traceparent"] == carried.stamp_of(content) == PARENT
    assert read(content, {"ride.ended": 1}) == plain
    with carried.resumed(carried.stamp_of(content)):
        assert carried.traceparent() == PARENT
    assert carried.traceparent() == ""


def test_what_a_clock_writes_goes_on_in_the_trace_of_its_ride(
    db: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a request the row has the first trace of its ride; other rides have none."""
    monkeypatch.setattr(carried, "_tracing", lambda: True)
    with trace.use_span(NonRecordingSpan(HERE)):
        outbox.put(db, "ride.started", event("ride.started"))
    outbox.put(db, "ride.refused", event("ride.refused"))
    other = new_event("ride.refused", datetime.now(UTC), {"ride_id": "r-2"})
    outbox.put(db, "ride.refused", other)
    assert [carried.stamp_of(content) for content in stored(db)] == [PARENT, PARENT, ""]
    carried.forget(db, "r-1")
    assert carried.recall(db, "r-1") == ""


def test_nothing_changes_where_nobody_traces(db: sqlite3.Connection) -> None:
    """The bytes are those of before, and a database without the table of traces is as good as one with it."""
    db.execute("DROP TABLE carried")
    plain = event()
    outbox.put(db, "ride.ended", plain)
    carried.forget(db, "r-1")
    assert stored(db) == [plain.model_dump_json().encode()]


@pytest.mark.parametrize(
    "content", [b"", b'"traceparent"', b'{"traceparent": 7}', b'["traceparent"]', b'{"traceparent"']
)
def test_what_is_no_event_carries_nothing(content: bytes) -> None:
    """Whatever stands in a row, the relay says it: a trace is never a reason not to."""
    assert carried.stamp_of(content) == ""


@pytest.mark.parametrize("parent", ["", "nonsense", PARENT.upper(), "00-" + "0" * 32 + "-00f067aa0ba902b7-01"])
def test_a_traceparent_that_is_none_begins_nothing(parent: str) -> None:
    """The work goes on without a parent."""
    with carried.resumed(parent):
        assert carried.traceparent() == ""
