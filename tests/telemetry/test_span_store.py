"""How much is kept, what goes first, and what is left after the process has ended."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord

from lab_services.telemetry import span_search
from lab_services.telemetry.otlp_rows import logs_in, spans_in
from lab_services.telemetry.span_store import SpanStore
from tests.telemetry.exports import NOON, export, log_export, span, value

MOST = 100


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SpanStore]:
    """A store of 100 spans and 100 log records."""
    store = SpanStore(tmp_path / "new" / "folder", MOST, MOST)
    yield store
    store.close()


def rows(store: SpanStore, query: str) -> list[tuple[Any, ...]]:
    with store.reading() as db:
        return [tuple(row) for row in db.execute(query)]


def add(store: SpanStore, trace: int, count: int, service: str = "rides", first: int = 1) -> None:
    spans = [span(trace, own) for own in range(first, first + count)]
    store.add_spans(spans_in(export(**{service: spans})).rows)


def kept(store: SpanStore) -> dict[int, int]:
    return {int(trace, 16): count for trace, count in rows(store, "SELECT trace_id, count(*) FROM spans GROUP BY 1")}


def test_the_oldest_traces_make_room_for_new_ones(store: SpanStore) -> None:
    """Whole traces go, by the arrival of their first span, until a tenth is free; the bound holds after each batch."""
    for trace in range(1, 11):
        add(store, trace, 10)
    assert len(kept(store)) == 10
    add(store, 2, 1, first=11)  # the second has a new span, and is old all the same
    assert sum(kept(store).values()) <= MOST and set(kept(store)) == set(range(3, 11))
    for trace in range(11, 40):
        add(store, trace, 7)
        assert sum(kept(store).values()) <= MOST
    assert max(kept(store)) == 39 and set(kept(store).values()) == {7}


def test_what_is_sent_again_pushes_nothing_out(store: SpanStore) -> None:
    """A batch that replaces itself again and again is not counted twice."""
    add(store, 1, 40)
    for _ in range(10):
        add(store, 2, 50)
    assert kept(store) == {1: 40, 2: 50}


def test_a_trace_that_alone_is_too_large_goes_too(store: SpanStore) -> None:
    """No trace is kept in part by the store's own doing, and the bound holds; the next one is kept."""
    add(store, 1, MOST + 1)
    assert kept(store) == {}
    add(store, 2, 5)
    assert kept(store) == {2: 5}


def test_a_process_is_forgotten_with_its_last_span(store: SpanStore) -> None:
    """Instances that come and go for days leave nothing behind."""
    for trace in range(1, 60):
        add(store, trace, 5, service=f"rides_{trace}")
    assert len(rows(store, "SELECT * FROM resources")) == len(kept(store))


def test_the_oldest_log_records_go_first(store: SpanStore) -> None:
    """They are bounded as spans are; what came last stays."""
    for number in range(30):
        records = [LogRecord(time_unix_nano=NOON + number, body=value(str(number))) for _ in range(5)]
        store.add_logs(logs_in(log_export(f"rides{number}", *records)).rows)
        assert rows(store, "SELECT count(*) FROM logs")[0][0] <= MOST
    with store.reading() as db:
        found = span_search.logs(db, "", "", "", 1000)
    assert found[-1]["body"] == "29" and found[0]["body"] != "0"
    assert len(rows(store, "SELECT * FROM resources")) == len({row["body"] for row in found})


def test_threads_that_write_at_once_lose_nothing(tmp_path: Path) -> None:
    """Eight threads, each with traces of its own, while others read."""
    store = SpanStore(tmp_path)

    def write(trace: int) -> None:
        for first in range(0, 50, 10):
            add(store, trace, 10, service=f"rides_{trace}", first=first + 1)
            assert kept(store)[trace] == first + 10

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(write, range(1, 9)))
    assert kept(store) == dict.fromkeys(range(1, 9), 50)
    store.close()


def test_a_batch_that_cannot_be_written_leaves_nothing(store: SpanStore) -> None:
    """An error in the middle of a batch keeps none of it, and the next batch is taken."""
    batch = spans_in(export(rides=[span(1, 1)])).rows
    who, (row,) = batch[0]
    with pytest.raises(sqlite3.Error):
        store.add_spans([*batch, (who, [row[:-1]])])
    assert kept(store) == {}
    add(store, 2, 3)
    assert kept(store) == {2: 3}


def test_all_is_there_after_a_restart(tmp_path: Path) -> None:
    """A store on the same folder goes on with what is kept, and counts it."""
    store = SpanStore(tmp_path, MOST)
    add(store, 1, 60)
    second = SpanStore(tmp_path, MOST)  # as while one process replaces the other
    add(store, 2, 1)
    store.close()
    add(second, 3, 41)
    assert kept(second) == {2: 1, 3: 41}
    second.close()


def test_a_store_without_its_tables_is_not_ready(store: SpanStore) -> None:
    """Readiness asks the file itself."""
    store.probe()
    with sqlite3.connect(store._file) as db:
        db.executescript("PRAGMA foreign_keys = OFF; DROP TABLE spans")
    db.close()
    with pytest.raises(sqlite3.OperationalError):
        store.probe()
