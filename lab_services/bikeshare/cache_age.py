"""How old an answer is (RFC 9111 section 4.2.3), for a cache of hishel.

hishel 2.0 reads the age of an answer off its Date, in whole seconds, and passes over Age: behind another cache it
would begin to count anew, and the ages of two caches would add up. So what is received is noted with the moment at
which it was true, and whoever looks it up is shown a Date that says the same.
"""

from __future__ import annotations

import asyncio
import time
from email.utils import formatdate

import httpx
from hishel import Headers

TURN_SECONDS = 0.02  # hishel reads its clock within these, unless the machine is very busy
BORN = "x-born"  # seconds since 1970; stays between the network and the storage, no client and no origin sees it


def note_birth(answer: httpx.Response, asked_at: float) -> httpx.Response:
    """Write into an answer when it was true: it is as old as its Age says, and as the way of question and answer."""
    first = answer.headers.get("age", "").split(",")[0].strip()
    born = asked_at - (int(first) if first.isascii() and first.isdigit() else 0)
    answer.headers[BORN] = f"{born:.3f}"
    answer.headers["date"] = formatdate(int(born), usegmt=True)
    return answer


def age_of(headers: Headers | httpx.Headers) -> float:
    """Return the age in seconds of an answer whose birth was noted; without a note it is new."""
    return max(0.0, time.time() - float(headers.get(BORN) or time.time()))


async def date_for_hishel(headers: Headers) -> Headers:
    """Return the headers with the Date from which hishel works out this age, rounded down as in the field Age.

    hishel reads the clock once more: if a second began in between, it would find the answer a second too old. So what
    is looked up right before a second begins waits for it.
    """
    while (left := 1 - time.time() % 1) < TURN_SECONDS:  # once more: a loop may wake a little too early
        await asyncio.sleep(left)
    date = formatdate(int(time.time()) - int(age_of(headers)), usegmt=True)
    return Headers({**{key: headers.get_list(key) or [] for key in headers}, "date": [date]})
