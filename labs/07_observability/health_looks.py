"""Looks: how the wallet finds out whether it could do its work with what it depends on, one small call for each.

| dependency | required | a look                                       | is good if                                   |
| ---------- | -------- | -------------------------------------------- | -------------------------------------------- |
| database   | yes      | begins a transaction that writes to          | it begins, and the table payments is there   |
|            |          | wallet.db, and undoes it                     |                                              |
| bank       | yes      | GET /accounts/city?key=BANK_KEY              | it answers 200 with {"open": true}           |
| notices    | no       | GET /notices?rider_id=city                   | it answers 200                               |

A look that is not good raises, whatever it likes; and it may take for ever. health_watch.py copes with both. While a
look waits, the rest of the process goes on: other looks, the answers to probes, and the payments. And a look does not
wait for one of the WORKERS of health_wallet.py: all of them may be waiting for the bank.

What a neighbour says about its own health is not asked: the bank may be out of the load for reasons of its own, while
it does all that the wallet needs; and if each service were unready because of the next, one trouble would empty the
city.
"""

import asyncio
import os
import sqlite3
from collections.abc import Awaitable, Callable
from contextlib import closing
from dataclasses import dataclass

import httpx
from health_teller import BANK_KEY, BANK_URL, NOTICES_URL

ACCOUNT = f"{BANK_URL}/accounts/city?key={BANK_KEY}"
NOTICES = f"{NOTICES_URL}/notices?rider_id=city"
web = httpx.AsyncClient(timeout=None, trust_env=False)  # it waits for ever: who looks has a limit


@dataclass(frozen=True)
class Dependency:
    """What the wallet depends on; `look` raises if it could not do its work with it now."""

    name: str
    required: bool
    look: Callable[[], Awaitable[None]]


def open_database(lock_seconds: float = 5.0) -> sqlite3.Connection:
    """Open wallet.db; whoever finds it locked waits so long, and the thread in which it is asked waits, too."""
    return sqlite3.connect(os.path.join(os.environ.get("DATA_DIR", "data"), "wallet.db"), lock_seconds)


# --- your turn 7.4 ---
def read_payments() -> None:
    with closing(open_database()) as db:
        db.execute("SELECT count(*) FROM payments")


async def look_at_database() -> None:
    await asyncio.to_thread(read_payments)


async def look_at_bank() -> None:
    (await web.get(f"{BANK_URL}/health/ready")).raise_for_status()


async def look_at_notices() -> None:
    (await web.get(f"{NOTICES_URL}/health/ready")).raise_for_status()


# --- end 7.4 ---


DEPENDENCIES = (
    Dependency("database", True, look_at_database),
    Dependency("bank", True, look_at_bank),
    Dependency("notices", False, look_at_notices),
)
