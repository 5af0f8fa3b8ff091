"""Which node of a broker leads a stream: the one that numbers its messages and acknowledges them; and life without."""

from __future__ import annotations

import time
from uuid import uuid4

from nats.errors import Error

from lab_services.checks.broker_probes import spying
from lab_services.errors import NotReady

ANSWER_SECONDS = 0.25  # for one try
PAUSE_SECONDS = 0.01
ELECTION_SECONDS = 60.0  # a new leader is there after 4 to 10, on a busy machine later


def leader_of(url: str, stream: str) -> int | None:
    """Return the replica number of the node that leads a stream, 1 of a broker alone; None where nobody leads it.

    A leader that has lost the others takes some seconds to notice it.

    Raises:
        nats.errors.Error, OSError, TimeoutError: no node of the broker is there.
    """
    with spying(url) as spy:
        try:
            info = spy.stream(stream)
        except (Error, TimeoutError):  # no majority: nobody answers, or the answer is that nobody leads
            return None
    if info is None or (info.cluster is not None and not info.cluster.leader):
        return None
    number: str = info.cluster.leader.removeprefix("node_") if info.cluster else "1"
    return int(number) if number.isdigit() else 1


def seconds_until_kept(url: str, subject: str, content: bytes = b"") -> float:
    """Publish one message until a stream acknowledges it, and return how long that took.

    Every try has the same id, so that one whose acknowledgement was lost is not kept twice.

    Raises:
        NotReady: no stream has acknowledged it within 60 s.
        nats.errors.Error, OSError, TimeoutError: no node of the broker is there.
    """
    began, headers, refused = time.monotonic(), {"Nats-Msg-Id": uuid4().hex}, ""
    with spying(url) as spy:
        while time.monotonic() < began + ELECTION_SECONDS:
            try:
                spy.jetstream("publish", subject, content, timeout=ANSWER_SECONDS, headers=headers)
                return time.monotonic() - began
            except (Error, TimeoutError) as error:
                refused = repr(error)
            time.sleep(PAUSE_SECONDS)
    raise NotReady(
        f"no stream has acknowledged {subject} within {ELECTION_SECONDS:g} s",
        where=subject,
        evidence=refused,
        next_step="lab.status() tells which nodes run: more than half of them must",
    )
