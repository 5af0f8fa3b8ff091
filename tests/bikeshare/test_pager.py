"""The pager keeps what Alertmanager sends, whole or not at all, and tells it in the order in which it came."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.bikeshare.town import client_of, listening, python_services, url_of, wait_until_ready


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[httpx.Client, Path]]:
    """A pager as a real process, and its folder."""
    folder = tmp_path_factory.mktemp("town")
    with listening() as endpoint, python_services({"pager": endpoint}, folder):
        wait_until_ready(url_of(endpoint))
        with client_of(url_of(endpoint)) as client:
            yield client, folder / "pager"


@pytest.fixture
def client(running: tuple[httpx.Client, Path]) -> httpx.Client:
    """A client of a pager that has not rung yet."""
    client, folder = running
    with closing(sqlite3.connect(folder / "pager.db")) as db, db:
        db.execute("DELETE FROM pages")
    return client


def alert(status: str = "firing", **fields: Any) -> dict[str, Any]:
    """Return an alert as Alertmanager 0.25 sends it."""
    return {
        "status": status,
        "labels": {"alertname": "Down", "service": "rides"},
        "annotations": {"summary": "rides is down \N{BICYCLE}"},
        "startsAt": "2026-01-02T03:04:05.678Z",
        "endsAt": "2026-01-02T03:05:00Z" if status == "resolved" else "0001-01-01T00:00:00Z",
        "generatorURL": "http://127.0.0.1:1/graph",
        "fingerprint": "a1",
        **fields,
    }


def notification(*alerts: dict[str, Any], **fields: Any) -> dict[str, Any]:
    """Return a notification with these alerts."""
    return {"version": "4", "groupKey": "{}", "status": "firing", "receiver": "lab", "alerts": list(alerts), **fields}


def pages(client: httpx.Client, query: str = "") -> list[dict[str, Any]]:
    """Return what the pager has kept."""
    found: list[dict[str, Any]] = client.get(f"/pages{query}").json()["pages"]
    return found


def test_each_alert_of_a_notification_is_a_page(client: httpx.Client) -> None:
    """Status, labels, annotations and times are kept; an alert that fires has no end."""
    sent = notification(alert(), alert("resolved", annotations={}))
    assert client.post("/alerts", json=sent).json() == {"kept": 2}
    first, second = pages(client)
    assert first["labels"] == {"alertname": "Down", "service": "rides"}
    assert first["annotations"] == {"summary": "rides is down \N{BICYCLE}"}
    assert first["startsAt"].startswith("2026-01-02T03:04:05.678") and first["endsAt"] is None
    assert second["status"] == "resolved" and second["endsAt"].startswith("2026-01-02T03:05:00")


def test_a_notification_that_comes_twice_rings_twice(client: httpx.Client) -> None:
    """The pager counts what reached it; pages can be asked for by status, and after one that is known."""
    for status in ("firing", "firing", "resolved"):
        client.post("/alerts", json=notification(alert(status)))
    assert [page["page"] for page in pages(client)] == [1, 2, 3]
    assert [page["page"] for page in pages(client, "?status=firing&after=1")] == [2]


@pytest.mark.parametrize(
    "sent",
    [
        {},
        notification(),
        notification(alert(), version="3"),
        notification(alert("gone")),
        notification(alert(startsAt="yesterday")),
        notification(alert(labels=["Down"])),
        notification(alert(labels={"a b": "x"})),
        notification(alert(labels={"a": 1})),
        notification(alert(), alert(annotations={"summary": "x" * 5_000})),
    ],
)
def test_what_is_no_notification_is_refused_whole(client: httpx.Client, sent: dict[str, Any]) -> None:
    """The answer is a problem document that names the field."""
    refused = client.post("/alerts", json=sent)
    assert refused.status_code == 422 and refused.json()["errors"]
    assert pages(client) == []


def test_odd_bodies_and_questions_are_refused(client: httpx.Client) -> None:
    """No JSON, another type, too much of it, a status that does not exist: each has its own status."""
    json = {"content-type": "application/json"}
    assert client.post("/alerts", content="{", headers=json).status_code == 400
    assert client.post("/alerts", content="x=1", headers={"content-type": "text/plain"}).status_code == 415
    assert client.post("/alerts", content="[" * 100_000, headers=json).status_code == 413
    assert client.get("/pages?status=ringing").status_code == client.get("/pages?after=-1").status_code == 422
    assert client.get("/health/ready").status_code == 200
