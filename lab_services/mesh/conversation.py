"""What a control plane and one Envoy say to each other on one stream of ADS: the order of answers, ACK and NACK.

An Envoy replies to each answer, and names it by its nonce. A reply without an error is an ACK: the Envoy lives by the
answer. One with an error is a NACK: it says why, and goes on with what it had. Until the reply is there nothing else is
said, so the answers keep the order that REST cannot have: an Envoy knows a cluster before the routes that lead there,
and loses it after them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .resources.messages import TYPES, Message, Resources
from .subscriptions import KINDS, chosen, version_of

ORDER = ("clusters", "endpoints", "listeners", "routes", "secrets")
WHOLE = ("clusters", "listeners")  # an Envoy gets all of them; of the other kinds those that it names
NAMED_IN = {"clusters": "endpoints", "listeners": "routes"}  # told anew, it waits for what it names once more
KIND_OF = {TYPES + message: kind for kind, message in KINDS.items()}


@dataclass(frozen=True)
class Answer:
    """One answer of the plane: all resources of a kind that this Envoy is to have now."""

    kind: str
    version: str
    nonce: str
    found: Sequence[Message]


class Conversation:
    """One stream, from its first question to its end."""

    def __init__(self) -> None:
        self.refused: set[str] = set()  # the kinds of which the Envoy lives by an older version
        self._names: dict[str, tuple[str, ...]] = {}  # what it asks for, by kind
        self._sent: dict[str, str] = {}  # the newest version that it was told, by kind
        self._clusters: Sequence[Message] = ()  # those that it was told of last
        self._open: Answer | None = None  # the answer that it has not replied to
        self._answers = 0

    def hear(self, kind: str, names: Sequence[str], nonce: str, error: str) -> str:
        """Take in one message of the Envoy; return a line for the log when it is an ACK or a NACK."""
        asked, told = tuple(sorted(names)), ""
        if self._open is not None and nonce == self._open.nonce:
            told, self._open = self._judge(self._open, error), None
        if self._names.get(kind) != asked:
            self._names[kind] = asked
            self._sent.pop(kind, None)
        return told

    def _judge(self, answer: Answer, error: str) -> str:
        if error:
            self.refused.add(answer.kind)
            return f"NACK {answer.kind} {answer.version}: {' '.join(error.split())}"
        self.refused.discard(answer.kind)
        return f"ACK {answer.kind} {answer.version}"

    def answer(self, wanted: Resources) -> Answer | None:
        """Return what to say next so that the Envoy gets to `wanted`; None when it has all, or has to reply first."""
        if self._open is not None:
            return None
        known = {cluster["name"] for cluster in wanted.clusters}
        leaving = [one for one in self._clusters if one["name"] not in known]
        for kind in ORDER:
            found = [*chosen(wanted, kind, self._names.get(kind, ())), *(leaving if kind == "clusters" else ())]
            if answer := self._news(kind, found):
                return answer
        # Nothing that it lives by leads to them any more; what it has refused may have replaced a route that does.
        return None if self.refused else self._news("clusters", wanted.clusters)

    def _news(self, kind: str, found: Sequence[Message]) -> Answer | None:
        version = version_of(found)
        nothing = kind not in self._names or (kind not in WHOLE and not (self._names[kind] and found))
        if nothing or version == self._sent.get(kind):
            return None
        self._sent[kind] = version
        if kind in NAMED_IN:
            self._sent.pop(NAMED_IN[kind], None)
        if kind == "clusters":
            self._clusters = found
        self._answers += 1
        self._open = Answer(kind, version, str(self._answers), found)
        return self._open
