"""The notices: written once under their id, listed in the order in which they came."""

from __future__ import annotations

from tests.bikeshare.town import Town, check_problem, together


def notice(text: str = "Your ride has started.") -> dict[str, str]:
    return {"rider_id": "nina", "ride_id": "n-1", "text": text}


def test_a_notice_is_written_once(town: Town) -> None:
    """Twenty deliveries of one notice at once leave one notice."""
    statuses = together(20, lambda _: town.client.put("/notices/n-1-started", json=notice()).status_code)
    assert sorted(statuses) == [200] * 19 + [201]
    assert town.client.put("/notices/n-1-ended", json=notice("Über, 好")).status_code == 201
    notices = town.client.get("/notices", params={"rider_id": "nina"}).json()["notices"]
    assert notices == [{"notice_id": "n-1-started", **notice()}, {"notice_id": "n-1-ended", **notice("Über, 好")}]


def test_another_text_under_the_same_id_is_refused(town: Town) -> None:
    """An id stands for one text: another one is 409, and the first stays."""
    assert town.client.put("/notices/n-2", json=notice("one")).status_code == 201
    check_problem(town.client.put("/notices/n-2", json=notice("two")), 409, "n-2")
    texts = [each["text"] for each in town.client.get("/notices", params={"rider_id": "nina"}).json()["notices"]]
    assert "one" in texts and "two" not in texts


def test_a_rider_without_notices_has_an_empty_list(town: Town) -> None:
    """Nobody's notices are none, not an error."""
    assert town.client.get("/notices", params={"rider_id": "nobody"}).json() == {"notices": []}
