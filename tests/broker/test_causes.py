"""Recorded messages become a graph of causes: counted by ride, with its circles, for both ways to start a ride."""

from __future__ import annotations

import json
from typing import Any

from lab_services.broker import causes
from lab_services.checks.broker_probes import Heard


def fact(number: int, kind: str, sender: str, cause: int | None = None, ride_id: str = "r1") -> Heard:
    """Return a CloudEvent as a spy hears it."""
    fields: dict[str, Any] = {"specversion": "1.0", "id": f"e{number}", "type": f"{kind}.v1", "subject": ride_id}
    fields |= {"source": f"/city/{sender}"} | ({"causationid": f"e{cause}"} if cause is not None else {})
    return Heard(f"fact.{kind}.{ride_id}", json.dumps(fields).encode())


def told(id_: str, kind: str, **more: str) -> Heard:
    """Return an Event as a spy hears it."""
    return Heard("any", json.dumps({"id": id_, "type": kind, "version": 1, "data": {"ride_id": "r1", **more}}).encode())


HAPPY = [
    fact(1, "ride.wanted", "rides"),
    fact(2, "money.held", "wallet", 1),
    fact(3, "bike.reserved", "stations", 2),
    fact(4, "dock.opened", "locks", 3),
    fact(5, "ride.started", "rides", 4),
]


def test_a_dance_without_a_circle_is_a_chain() -> None:
    """Each arrow leads from a cause to its effect; versions are left out; there is no circle."""
    found = causes(HAPPY)
    assert found.messages == {"r1": 5} and found.circles == []
    assert list(found.arrows) == [
        ("ride.wanted", "money.held"),
        ("money.held", "bike.reserved"),
        ("bike.reserved", "dock.opened"),
        ("dock.opened", "ride.started"),
    ]


def test_circles_are_found_once_each() -> None:
    """A service that hears what it says, and two that answer each other, are two circles, however often they turn."""
    turns = [fact(1, "bike.refused", "stations"), fact(2, "bike.refused", "stations", 1)]
    turns += [fact(3, "bike.refused", "stations", 2), fact(4, "money.released", "wallet", 3)]
    turns += [fact(5, "bike.freed", "stations", 4), fact(6, "money.released", "wallet", 5)]
    turns += [fact(7, "bike.freed", "stations", 6)]
    found = causes(turns)
    assert found.circles == [("bike.refused",), ("bike.freed", "money.released")]
    assert "circle: bike.freed -> money.released -> bike.freed" in repr(found)
    assert '==>|"2"|' in found.mermaid() and "2 circles" in repr(found)


def test_a_copy_is_no_second_message() -> None:
    """A fact that comes twice counts once; the same id of another sender is another fact."""
    assert causes([*HAPPY, HAPPY[1]]).messages == {"r1": 5}
    assert causes([*HAPPY, fact(2, "money.held", "bank", 1)]).messages == {"r1": 6}


def test_rides_are_counted_apart() -> None:
    """The messages of each ride are counted; an arrow counts those of all."""
    other = [fact(11, "ride.wanted", "rides", None, "r2"), fact(12, "money.held", "wallet", 11, "r2")]
    found = causes([*HAPPY, *other])
    assert found.messages == {"r1": 5, "r2": 2} and found.arrows["ride.wanted", "money.held"] == 2


def test_an_orchestrator_speaks_twice_as_often() -> None:
    """Commands and replies are one chain: a command follows from the reply before it, a reply from its command."""
    steps = ("wallet.hold", "stations.reserve", "locks.unlock", "rides.start")
    said = [
        message
        for step in steps
        for message in (told(f"r1.{step}", step), told(f"r1.{step}.reply", f"{step}.done", command=f"r1.{step}"))
    ]
    found = causes(said)
    assert found.messages == {"r1": 8} and len(found.arrows) == 7 and found.circles == []
    assert ("wallet.hold.done", "stations.reserve") in found.arrows
    assert {each.sender for each in found.said} == {"starts", "wallet", "stations", "locks", "rides"}


def test_what_is_neither_form_is_left_out() -> None:
    """Nonsense is no message of a start, and a drawing of nothing is text alone."""
    nonsense = [b"", b"{", b"[]", b"7", b'{"id": 1}', b"[" * 50_000, b'{"id": 1, "type": "a", "data": []}', b"\xff"]
    found = causes([Heard("any", each) for each in nonsense])
    assert found.messages == {} and list(found._repr_mimebundle_()) == ["text/plain"]


def test_the_drawing_and_the_text_say_the_same() -> None:
    """A name from outside can neither break the diagram nor add to it."""
    found = causes([fact(1, 'a"]\nx', "rides"), fact(2, "b", "wallet", 1)])
    bundle = found._repr_mimebundle_()
    assert set(bundle) == {"text/vnd.mermaid", "text/plain"} and '"]\nx' not in bundle["text/vnd.mermaid"]
