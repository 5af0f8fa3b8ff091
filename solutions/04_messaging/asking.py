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
    if not client.is_connected:  # nats-py would keep the request, and send it when its rider has left
        raise Nobody("the broker is not there")
    try:
        return read_answer(await client.request(subject, json.dumps(wish).encode(), timeout=seconds))
    except Error as error:  # nats-py's TimeoutError is one, too: of all these it alone leaves open what was done
        raise (Unclear if isinstance(error, TimeoutError) else Nobody)(f"{subject}: {error}") from None


async def ask_all(client: Client, subject: str, seconds: float) -> dict[str, dict[str, int]]:
    found: dict[str, dict[str, int]] = {}
    answers = await client.subscribe(inbox := client.new_inbox())  # of this question alone: no late answer finds it
    try:
        async with asyncio.timeout(seconds):
            await client.publish(subject, b"{}", reply=inbox)
            while len(found) < len(DISTRICTS):
                with suppress(Refused, Unclear):
                    found |= read_batteries(await answers.next_msg(timeout=None))
    except (TimeoutError, Nobody):
        pass
    finally:
        await answers.unsubscribe()
    return found


# --- end 4.3 ---
