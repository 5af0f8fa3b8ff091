"""Look on while services talk: what the broker reads and delivers, drawn as a sequence.

The broker's own notes are the only place that knows both ends: a subscription to everything hears what is said, not by
whom nor who else got it, and the monitoring page knows subscriptions, not messages. The broker takes notes only while
somebody looks, in a file that is deleted afterwards, and of each payload no more than four characters.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from nats.errors import Error

from lab_services.broker.talk import OWN, Spoken, conversation
from lab_services.checks.broker_probes import Spy, spying
from lab_services.errors import LabError, NotReady, UnknownName
from lab_services.lab import Lab
from lab_services.servers.nats import trace
from lab_services.views import SequenceView

OBEY_SECONDS = 10.0  # until the broker has read its configuration again: some milliseconds
PAUSE_SECONDS = 0.01
MOST_BYTES = 20_000_000  # of notes, about 100,000 messages


class Talk:
    """What was said while somebody looked on; it is there at the end of the `with`."""

    def __init__(self, title: str, names: dict[str, str], jetstream: bool) -> None:
        self.spoken: tuple[Spoken, ...] = ()
        self._title = title
        self._names = names
        self._jetstream = jetstream

    def __repr__(self) -> str:
        return repr(self.view())

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        return self.view()._repr_mimebundle_()

    def view(self, *, jetstream: bool | None = None) -> SequenceView:
        """Return the sequence; `jetstream` shows its own traffic too: requests, acknowledgements and its answers."""
        whole = self._jetstream if jetstream is None else jetstream
        shown = [spoken for spoken in self.spoken if whole or not spoken.inner]
        return SequenceView(
            self._title, [(self._named(s.sender), self._named(s.receiver), s.what, s.ok) for s in shown]
        )

    def _named(self, client: str) -> str:
        return self._names.get(client, client)


@contextmanager
def overhearing(lab: Lab, broker: str = "broker", *, jetstream: bool = False) -> Iterator[Talk]:
    """Take down who says what to whom at a broker of a running lab: subjects, no contents.

    Raises:
        UnknownName: that is no broker, or one of several nodes, which have no common order.
        NotReady: the broker does not obey within 10 s.
    """
    _refuse_all_but_one_node(lab, broker)
    talk = Talk(f"said at the {broker}", _names(lab), jetstream)
    handle = lab[broker]
    with spying(handle.url, name=OWN) as spy:
        notes = trace(handle.data, secrets.token_hex(4))
        try:
            lab.reload(broker)
            _until(lambda: _noted(spy, notes), f"{broker} does not take notes")
            yield talk
            with suppress(Error, TimeoutError):  # it was killed meanwhile: what it had noted is there
                _noted(spy, notes)
            talk.spoken = tuple(conversation(_lines(notes)))
        finally:
            trace(handle.data)
            with suppress(LabError, Error, TimeoutError):  # it was stopped or killed meanwhile
                lab.reload(broker)
                _until(lambda: not _noted(spy, notes), f"{broker} does not stop taking notes")
            notes.unlink(missing_ok=True)


def _noted(spy: Spy, notes: Path) -> bool:
    """Say something of our own, and whether the broker has noted it: its notes are whole up to here."""
    mark = f"overheard.{secrets.token_hex(8)}"
    spy.publish(mark, b"")
    with suppress(FileNotFoundError):
        return any(mark in line for line in _lines(notes))
    return False


def _lines(notes: Path) -> list[str]:
    with notes.open("rb") as log:
        return log.read(MOST_BYTES).decode("utf-8", "replace").split("\n")


def _until(probe: Callable[[], bool], otherwise: str) -> None:
    end = time.monotonic() + OBEY_SECONDS
    while not probe():
        if time.monotonic() > end:
            raise NotReady(otherwise, evidence=f"asked for {OBEY_SECONDS:g} s", next_step='lab.logs("broker")')
        time.sleep(PAUSE_SECONDS)


def _refuse_all_but_one_node(lab: Lab, broker: str) -> None:
    services = lab.spec.system(lab.shape)
    spec = services.get(broker)
    if spec is None or spec.target != "nats" or spec.replicas > 1:
        raise UnknownName(
            f"nobody can listen in at {broker!r}",
            where=lab.spec.name,
            evidence="brokers of one node: "
            + (", ".join(s.name for s in services.values() if s.target == "nats" and s.replicas == 1) or "none"),
            next_step="name one of these; several nodes have no common order",
        )


def _names(lab: Lab) -> dict[str, str]:
    """Return the service for the name of each connection, where the service has one process."""
    return {f"{state.name}-1": state.name for state in lab.states() if len(state.replicas) == 1}
