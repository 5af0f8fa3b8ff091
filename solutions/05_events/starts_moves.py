"""Moves: what a start does next. Here it is decided; nothing is done: no database, no broker, no clock.

A start is a saga. In each state it waits for the reply to the one command of that state (COMMAND):

    state        command            what it is
    holding      wallet.hold        can be undone, by wallet.release
    reserving    stations.reserve   can be undone, by stations.cancel
    unlocking    locks.unlock       the pivot: what is open stays open, and whoever has an open bike shall ride
    starting     rides.start        behind the pivot: it has to succeed at last
    cancelling   stations.cancel    undoes a reservation; it has to succeed at last
    releasing    wallet.release     undoes a hold; it has to succeed at last
    started, refused                the two ends: no command

Of a start that waits, one of three things is told: its command is "done", it is "refused", or there is "silence": no
reply for STEP_SECONDS. `next_state` returns the state to enter next. To return the same state is to say its command
again. None is to go on waiting.

1. Done: the next step, in the order of the four, then `started`. What is undone is undone in reverse, one command after
   the reply to the other, then `refused`.
2. Hold, reserve or unlock refused: for good. This step has done nothing; the steps that are done before it are undone.
   Where there are none, the start is `refused` at once.
3. Start, cancel or release refused: not now. Go on waiting: when there is silence, it is said again.
4. Silence: nobody knows whether the command was carried out, or will be. A hold or a reservation is undone as if it had
   been, with all before it: a compensation may be said of what has not happened. Every other command is said again,
   until there is a reply.
5. `start.overdue`: START_SECONDS after it began nobody waits at the dock any more. A hold or a reservation that is done
   then is undone, with all before it, in place of the next step. From the pivot on `overdue` changes nothing.

A start is stuck while it is overdue and not at an end, in whichever state: somebody has to look at it.
"""

from starts_book import Start

COMMAND = {
    "holding": "wallet.hold",
    "reserving": "stations.reserve",
    "unlocking": "locks.unlock",
    "starting": "rides.start",
    "cancelling": "stations.cancel",
    "releasing": "wallet.release",
}


# --- your turn 5.4 ---
AFTER = {
    "holding": "reserving", "reserving": "unlocking", "unlocking": "starting", "starting": "started",
    "cancelling": "releasing", "releasing": "refused",
}  # fmt: skip
REFUSED = {"holding": "refused", "reserving": "releasing", "unlocking": "cancelling"}
UNDO = {"holding": "releasing", "reserving": "cancelling"}  # up to the pivot: what may have been done is undone too


def next_state(start: Start, happened: str) -> str | None:
    """Return the state to enter; the same one says its command again, None goes on waiting."""
    if happened == "refused":
        return REFUSED.get(start.state)
    if happened == "silence":
        # An unlock is in neither table: perhaps the bolt is open, and no compensation closes it.
        return UNDO.get(start.state, start.state)
    return UNDO.get(start.state, AFTER[start.state]) if start.overdue else AFTER[start.state]


def is_stuck(start: Start) -> bool:
    """Tell whether somebody has to look at it."""
    return start.overdue and start.state in COMMAND


# --- end 5.4 ---
