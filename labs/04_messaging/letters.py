"""Dead letters: what is written on one, and how it goes back to work when the cause is mended.

GET /dead lists them; POST /dead/{sequence}/replay says again what a letter holds, where it was first said. The letter
stays: whoever is not sure whether a replay has worked may send it again.
"""

from typing import Any

from fastapi import APIRouter, Request
from nats.aio.msg import Msg
from nats.js.errors import NotFoundError
from streams import DEAD_PREFIX

from lab_services.bikeshare.problems import Problem

REASON_CHARACTERS = 300
MOST_LISTED = 100
router = APIRouter()


def on_the_letter(message: Msg, reason: Exception) -> dict[str, str]:
    """Return the headers of the letter about a message: why, at which try, and a Nats-Msg-Id of its own.

    A letter that is published twice is kept once, as long as the broker remembers its id.
    """
    facts = message.metadata
    text = " ".join(f"{type(reason).__name__}: {reason}".split())[:REASON_CHARACTERS]
    return {
        "Reason": text.encode("ascii", "backslashreplace").decode(),
        "Tries": str(facts.num_delivered),
        "Nats-Msg-Id": f"{facts.stream}-{facts.sequence.stream}-{facts.timestamp.timestamp()}",
    }


@router.get("/dead")
async def list_letters(request: Request) -> list[dict[str, Any]]:
    state = (await request.app.state.broker.stream_info("DEAD")).state
    first = max(state.first_seq, state.last_seq + 1 - MOST_LISTED)
    found = [await _letter(request, sequence) for sequence in range(first, state.last_seq + 1)]
    return [{"sequence": letter.seq, "subject": letter.subject, **(letter.headers or {})} for letter in found if letter]


@router.post("/dead/{sequence}/replay")
async def replay(sequence: int, request: Request) -> dict[str, Any]:
    letter = await _letter(request, sequence)
    if letter is None:
        raise Problem(404, "no such letter", f"DEAD keeps no letter {sequence}")
    subject = letter.subject.removeprefix(DEAD_PREFIX)
    kept = await request.app.state.broker.publish(subject, letter.data or b"")  # no Nats-Msg-Id: it is to be kept again
    return {"stream": kept.stream, "sequence": kept.seq}


async def _letter(request: Request, sequence: int) -> Any:
    try:
        return await request.app.state.broker.get_msg("DEAD", sequence)
    except NotFoundError:
        return None
