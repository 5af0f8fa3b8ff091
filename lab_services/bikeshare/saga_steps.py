"""The saga "start a ride" as data: which command belongs to each state, and where each answer, or none, leads.

hold, reserve, unlock, start. The unlock is the pivot: before it silence leads back (cancel, release), from it on
silence is asked again until there is an answer, because a bolt that may be open must be taken for open.
"""

from __future__ import annotations

from dataclasses import dataclass

FIRST = "holding"
ENDS = ("started", "refused")


@dataclass(frozen=True)
class Step:
    """One state: its command, and the next state after each outcome; None asks again until it is done."""

    action: str
    done: str
    refused: str | None = None
    silent: str | None = None


STEPS = {
    "holding": Step("wallet.hold", done="reserving", refused="refused", silent="releasing"),
    "reserving": Step("stations.reserve", done="unlocking", refused="releasing", silent="cancelling"),
    "unlocking": Step("locks.unlock", done="starting", refused="cancelling"),
    "starting": Step("rides.start", done="started"),
    "cancelling": Step("stations.cancel", done="releasing"),
    "releasing": Step("wallet.release", done="refused"),
}


def command_id(ride_id: str, state: str) -> str:
    """Return the id of the command of a state: the same each time it is said."""
    return f"{ride_id}.{STEPS[state].action}"


def after_reply(state: str, ride_id: str, command: str, outcome: str) -> str | None:
    """Return the next state; None when nothing changes: a late or repeated reply, or no to what must be done."""
    if state in ENDS or command != command_id(ride_id, state):
        return None
    return STEPS[state].done if outcome == "done" else STEPS[state].refused


def after_silence(state: str) -> str | None:
    """Return the next state when no answer has come in time; None is to ask again."""
    return STEPS[state].silent
