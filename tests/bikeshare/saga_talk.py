"""Write the messages of a saga down as words: "wallet.hold" is a command, "wallet.hold refused: no money" a reply."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import TypeVar

from lab_services.bikeshare.messages import new_event, written
from lab_services.bikeshare.streams import token
from lab_services.checks.broker_probes import Heard

NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)
STEPS = ("wallet.hold", "stations.reserve", "locks.unlock", "rides.start")
WHOLE = tuple(word for step in STEPS for word in (step, f"{step} done"))
T = TypeVar("T")
Choose = Callable[[Sequence[T]], T]


def said(*words: str, ride: str = "r1") -> list[Heard]:
    """Return the messages; "wallet.hold #7" is a command with the id 7."""
    return [_reply(word, ride) if " " in word and "#" not in word else _command(word, ride) for word in words]


def _command(word: str, ride: str) -> Heard:
    action, _, own_id = word.partition(" #")
    data = {"ride_id": ride, "rider_id": "ada", "bike_id": "b1", "cents": 500}
    event = new_event(action, NOON, data, event_id=own_id or f"{ride}.{action}")
    return Heard(f"command.{action}.{token(ride)}", written(event))


def _reply(word: str, ride: str) -> Heard:
    head, _, reason = word.partition(": ")
    action, outcome = head.split(" ")
    data = {"ride_id": ride, "command": f"{ride}.{action}", "reason": reason}
    event = new_event(f"{action}.{outcome}", NOON, data, event_id=f"{ride}.{action}.reply")
    return Heard(f"reply.{action}.{token(ride)}", written(event))


COMMAND = {
    "holding": "wallet.hold",
    "reserving": "stations.reserve",
    "unlocking": "locks.unlock",
    "starting": "rides.start",
    "cancelling": "stations.cancel",
    "releasing": "wallet.release",
}
DONE = {
    "holding": "reserving",
    "reserving": "unlocking",
    "unlocking": "starting",
    "starting": "started",
    "cancelling": "releasing",
    "releasing": "refused",
}
REFUSED = {"holding": "refused", "reserving": "releasing", "unlocking": "cancelling"}
BACK = {"holding": "releasing", "reserving": "cancelling"}
TRIES = 4  # after which a command that has to succeed at last succeeds


def right_run(choose: Choose[str], *, untidy: bool = True) -> tuple[list[str], list[str]]:
    """Return the words and the states of a right orchestrator, whatever its participants `choose` to do.

    An untidy run also has copies of replies and commands, and replies that come too late.
    """
    words: list[str] = []
    late: list[str] = []
    fate: dict[str, str] = {}  # what a participant has done is the same in every reply
    states, state, tries = ["holding"], "holding", 0
    while state in COMMAND:
        action, tries = COMMAND[state], tries + 1
        words.append(action)
        for_good = state in REFUSED
        happened = choose(["done", "refused", "silence"]) if tries < TRIES else "done"
        if for_good:
            fate.setdefault(action, choose(["done", "refused"]))
            happened = fate[action] if happened != "silence" else happened
        if happened != "silence":
            words.append(f"{action} {happened}")
        elif state in BACK:
            late.append(f"{action} {fate[action]}")
        if untidy:
            words += _mess(choose, words, late)
        follows = _next(choose, state, happened)
        tries = tries if follows == state else 0
        state = follows
        states.append(state)
    return words + (late if untidy else []), states


def _next(choose: Choose[str], state: str, happened: str) -> str:
    if happened == "refused":
        return REFUSED.get(state, state)
    if happened == "silence":
        return BACK.get(state, state)
    overdue = state in BACK and choose(["in time", "overdue"]) == "overdue"
    return BACK[state] if overdue else DONE[state]


def _mess(choose: Choose[str], words: list[str], late: list[str]) -> list[str]:
    kind = choose(["nothing", "copy", "late"])
    if kind == "late" and late:
        return [late.pop()]
    copies = [word for word in words if " " not in word or word.endswith(" done")]
    return [choose(copies)] if kind == "copy" else []
