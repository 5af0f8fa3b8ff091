"""What the desk and the gateways say to each other over the broker. A message is a JSON object, in UTF-8.

| subject                 | who hears it     | request                            | answer                    |
| ----------------------- | ---------------- | ---------------------------------- | ------------------------- |
| lock.<district>.battery | that one gateway | {"lock_id"}                        | {"battery_percent"}       |
| lock.<district>.unlock  | that one gateway | {"lock_id", "request_id", "until"} | {"opened": true}          |
| lock.all.batteries      | all gateways     | {}                                 | {"district", "batteries"} |

A gateway that does not do it answers {"error": word, "detail": sentence} instead. Its words are those of WORDS: nothing
was done for this request, and nothing will be. One more is "mistake": the gateway does not know whether it was done.

`request_id` names the wish, not the try: a bolt moves once for it, however often it is asked for. `until` is the moment
(seconds since 1970) after which nobody waits any more: what has not begun by then does not begin.
"""

from typing import Any, Literal

from nats.aio.msg import Msg
from pydantic import BaseModel, FiniteFloat, TypeAdapter, ValidationError

from lab_services.bikeshare.messages import Id
from lab_services.bikeshare.problems import Problem

DISTRICTS = {"n": "north", "m": "middle", "s": "south"}  # by the first letter of a lock_id: n-01 is in the north
REQUEST_BYTES = 4096  # the most that a request needs
WORDS = {"malformed": 502, "unknown": 404, "taken": 409, "late": 503, "busy": 503}  # and the status that riders see


class Nobody(Problem):
    """Nobody hears what is asked: it was not done."""

    def __init__(self, detail: str) -> None:
        super().__init__(503, "nobody there", detail)


class Refused(Problem):
    """The gateway says no, by a word of WORDS: it was not done."""

    def __init__(self, word: str, detail: str) -> None:
        self.word = word
        super().__init__(WORDS[word], word, detail)


class Unclear(Problem):
    """No answer, or none that tells: it may have been done, or may be done yet."""

    def __init__(self, detail: str) -> None:
        super().__init__(504, "no answer", detail)


class Battery(BaseModel):
    lock_id: Id


class Unlock(BaseModel):
    lock_id: Id
    request_id: Id
    until: FiniteFloat


class Batteries(BaseModel):
    """All batteries of a district: nothing more to say."""


class BatteriesOf(BaseModel):
    """The answer of a gateway to Batteries."""

    district: Literal["north", "middle", "south"]
    batteries: dict[Id, int]


CONTENT = TypeAdapter(dict[str, Any])
FORMS: dict[str, type[BaseModel]] = {"battery": Battery, "unlock": Unlock, "batteries": Batteries}


def subject_for(verb: str, lock_id: str) -> str:
    """Return where to ask about a lock. Raises Refused for one that is in no district."""
    if lock_id[:1] not in DISTRICTS:
        raise Refused("unknown", f"there is no lock {lock_id}")
    return f"lock.{DISTRICTS[lock_id[0]]}.{verb}"


def read_wish(message: Msg) -> Any:
    """Return what is asked for: a Battery, an Unlock or a Batteries. Raises Refused where it cannot be read."""
    if len(message.data) > REQUEST_BYTES:
        raise Refused("malformed", f"{len(message.data):,} bytes, {REQUEST_BYTES:,} at most")
    try:
        return FORMS[message.subject.rpartition(".")[2]].model_validate_json(message.data)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        raise Refused("malformed", f"{'.'.join(map(str, first['loc'])) or 'content'}: {first['msg']}") from None


def read_answer(message: Msg) -> dict[str, Any]:
    """Return an answer that says what was asked for. Raises Refused or Unclear for any other.

    Raises Nobody where it is the broker's own answer: nobody listens. Client.request raises NoRespondersError.
    """
    if (message.headers or {}).get("Status") == "503":
        raise Nobody("nobody listens")
    try:
        answer = CONTENT.validate_json(message.data)
    except ValidationError:
        raise Unclear("the answer cannot be read") from None
    if "error" not in answer:
        return answer
    if answer["error"] not in list(WORDS):
        raise Unclear("the gateway does not know either")
    raise Refused(answer["error"], str(answer.get("detail", ""))[:200])


def read_batteries(message: Msg) -> dict[str, dict[str, int]]:
    """Return the batteries of the one district that has answered. Raises Nobody, Refused or Unclear for others."""
    try:
        answer = BatteriesOf.model_validate(read_answer(message))
    except ValidationError:
        raise Unclear("no batteries of a district of ours") from None
    return {answer.district: answer.batteries}
