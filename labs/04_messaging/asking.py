"""How the desk asks over the broker: one gateway, or all of them. wishes.py says what is asked and answered.

ask: one request, one answer.
* An answer goes to the request that it belongs to, and to no other one: however many are under way, however late it
  comes, even if it comes twice. No request waits for another one.
* Nobody listens, or there is no broker: Nobody, at once. What is asked then is not kept to be sent later.
* No answer within `seconds`, or none that tells: Unclear. The gateway says no: Refused. `read_answer` raises both.

ask_all: one request to all gateways; the batteries of each district that has answered (`read_batteries`).
* It ends as soon as nothing more can come: every district of DISTRICTS has answered, or nobody listens at all. It ends
  after `seconds` in any case, with what has come by then, even if that is nothing.
* Two answers of one district count as one, another district is still waited for. What cannot be read, is an error, or
  is of no district of ours counts as none (`read_batteries` raises).

Whatever the end, nothing is left at the broker, no subscription least of all; and all requests share one connection.
"""

import asyncio
import json
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from nats.aio.client import Client
from nats.errors import Error
from wishes import DISTRICTS, Nobody, Refused, Unclear, read_answer, read_batteries


# --- your turn 4.3 ---
async def ask(client: Client, subject: str, wish: Mapping[str, Any], seconds: float) -> dict[str, Any]:
    answers = await client.subscribe("desk.answers")
    await client.publish(subject, json.dumps(wish).encode(), reply="desk.answers")
    try:
        return read_answer(await answers.next_msg(timeout=seconds))
    except (Error, Nobody):
        raise Unclear(f"no answer to {subject}") from None


async def ask_all(client: Client, subject: str, seconds: float) -> dict[str, dict[str, int]]:
    found: dict[str, dict[str, int]] = {}
    answers = await client.subscribe("desk.answers")
    await client.publish(subject, b"{}", reply="desk.answers")
    with suppress(asyncio.TimeoutError, Nobody, Refused):
        for _ in DISTRICTS:
            found |= read_batteries(await answers.next_msg(timeout=seconds))
    return found


# --- end 4.3 ---
