"""Who told whom what, read from the notes that nats-server writes of every message (its `trace`).

    [TRC] 127.0.0.1:5122 - cid:5 - "v2.16.0:python3:rides-1" - <<- [PUB ride.ended  14]
    [TRC] 127.0.0.1:5124 - cid:6 - "v2.16.0:python3:map-1" - ->> [MSG ride.ended 2 14]

(2.15.1; a broker with users writes "account/user:..." - behind the name.)
A connection's messages are delivered one after the other, so what goes out belongs to the last message of its subject
and length that has come in. What nobody has sent comes from the broker itself: JetStream.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

BROKER = "broker"
UNNAMED = "unnamed"
OWN = "overhearing"  # the name of the connection that looks on: its messages are nobody's
_LINE = re.compile(
    r'\[TRC\] .+? - cid:(?P<cid>\d+) - (?:"(?P<client>.*?)" - (?:"[^"]*" - )?)?(?P<way><<-|->>) '  # "...": the user
    r'(?:\[(?P<verb>H?PUB|H?MSG) (?P<words>.*)\]|MSG_PAYLOAD: \["(?P<start>.*)"\])$'
)
_ACK_WORDS = {"": "ack", "+ACK": "ack", "-NAK": "nak", "+WPI": "in progress", "+TER": "term", "+NXT": "ack and next"}
_ERROR = '{\\"er'  # {"error": ... as the notes quote it
_API_WORDS = {
    *("STREAM", "CONSUMER", "DIRECT", "ACCOUNT", "META", "SERVER", "PEER", "LEADER", "STEPDOWN", "MSG", "NEXT", "GET"),
    *("CREATE", "UPDATE", "DELETE", "INFO", "NAMES", "LIST", "DURABLE", "PURGE", "SNAPSHOT", "RESTORE", "PAUSE"),
}


@dataclass
class Said:
    """One message: who said it on which subject, and who got it, each as client and number of its subscription."""

    sender: str
    subject: str
    reply: str
    size: str
    start: str = ""  # its first characters: what kind of acknowledgement it is
    receivers: list[tuple[str, str]] = field(default_factory=list)


@dataclass(frozen=True)
class Spoken:
    """One arrow: `inner` is JetStream's own traffic (requests to it, acknowledgements, its answers)."""

    sender: str
    receiver: str
    what: str
    ok: bool
    inner: bool


def conversation(lines: Iterable[str]) -> list[Spoken]:
    """Return the messages in the order in which the broker read them; several receivers of one stand by name.

    Subjects for a single answer (_INBOX) and other words that differ from run to run are replaced by what they mean.
    """
    messages = _messages(lines)
    words = _Words()
    return [spoken for said in messages for spoken in words.arrows(said)]


def _messages(lines: Iterable[str]) -> list[Said]:
    found: list[Said] = []
    latest: dict[str, Said] = {}  # what each connection has said last
    from_broker: dict[str, Said] = {}  # what each has been told last by the broker itself
    for match in filter(None, map(_LINE.search, lines)):
        incoming, cid = match["way"] == "<<-", match["cid"]
        if match["verb"] is None:
            if said := (latest if incoming else from_broker).get(cid):
                said.start = match["start"].removesuffix("...")
            continue
        client = _name(match["client"] or "")
        subject, sid, reply, size = _parts(match["verb"], match["words"].split())
        if incoming:
            latest[cid] = Said(client, subject, reply, size)
            found.append(latest[cid])
            continue
        from_broker.pop(cid, None)
        said = None if reply.startswith("$JS.ACK.") else _said(latest.values(), client, subject, sid, reply, size)
        if said is None:
            said = from_broker[cid] = Said(BROKER, subject, reply, size)
            found.append(said)
        said.receivers.append((client, sid))
    return [said for said in found if not _is_own(said)]


def _is_own(said: Said) -> bool:
    """Say whether a message was only for whoever looks on, and take that one from the receivers."""
    heard_by_others = [(client, sid) for client, sid in said.receivers if client != OWN]
    mine = said.sender == OWN or (said.sender == BROKER and not heard_by_others)
    said.receivers = heard_by_others
    return mine


def _parts(verb: str, words: list[str]) -> tuple[str, str, str, str]:
    """Return subject, number of the subscription, reply and lengths; what a message does not have is empty."""
    lengths = 2 if verb.startswith("H") else 1
    subject, *rest = words
    sid = rest.pop(0) if verb.endswith("MSG") else ""
    return subject, sid, rest[0] if len(rest) > lengths else "", " ".join(rest[-lengths:])


def _said(open_ones: Iterable[Said], client: str, subject: str, sid: str, reply: str, size: str) -> Said | None:
    same = [s for s in open_ones if (s.subject, s.reply, s.size) == (subject, reply, size)]
    fresh = [said for said in same if (client, sid) not in said.receivers]
    return fresh[-1] if fresh else None


def _name(client: str) -> str:
    """Return the name out of "v2.16.0:python3:rides-1"; a client need not have one."""
    parts = client.split(":", 2)
    return parts[2] if len(parts) == 3 and parts[2] else UNNAMED


class _Words:
    """Puts what was said into words that are the same in every run."""

    def __init__(self) -> None:
        self._asked: dict[str, str] = {}  # what was asked, by the subject of the answer
        self._delivered: dict[str, str] = {}  # subject of a message, by that of its acknowledgement

    def arrows(self, said: Said) -> Iterator[Spoken]:
        asked = self._asked.get(said.subject)
        answer = said.sender == BROKER and (asked is not None or said.subject.startswith("_INBOX."))
        what, ok = self._what(said, asked), not (answer and said.start.startswith(_ERROR))
        if said.reply.startswith("$JS.ACK."):
            self._delivered[said.reply] = said.subject
        elif said.reply:
            self._asked[said.reply] = what
        inner = answer or said.subject.startswith("$JS.")
        for receiver in sorted({client for client, _ in said.receivers}) or [BROKER]:
            yield Spoken(said.sender, receiver, what, ok, inner)

    def _what(self, said: Said, asked: str | None) -> str:
        subject = said.subject
        if asked is not None:
            return f"reply to {asked}"
        if subject.startswith("$JS.ACK."):
            kind = _ACK_WORDS.get(said.start[:4], "ack")
            return f"{kind} of {self._delivered.get(subject, 'a message')}"
        if subject.startswith("_INBOX."):
            return "status" if said.sender == BROKER else "reply"
        times = _delivery(said.reply)
        return f"{_api(subject)} (delivery {times})" if times > 1 else _api(subject)


def _api(subject: str) -> str:
    """Return a request to JetStream up to the name of the stream: the name of a consumer may be a random one."""
    if not subject.startswith("$JS.API."):
        return subject
    words = subject.split(".")
    verbs = 2
    while verbs < len(words) and words[verbs] in _API_WORDS:
        verbs += 1
    return ".".join(words[: verbs + 1])


def _delivery(reply: str) -> int:
    """Return how often a stream has delivered a message, as the subject of its acknowledgement says (NATS ADR-15)."""
    if not reply.startswith("$JS.ACK."):
        return 0
    words = reply.split(".")
    number = words[4 if len(words) < 11 else 6]
    return int(number) if number.isdigit() else 0
