"""What runs now, one row a service."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..runtime.states import READY, ReplicaState, ServiceState
from .compare import ComparisonTable
from .html_table import Html, heading, paragraph, table
from .plain_text import counted, text_table, visible
from .state_words import origin_words, state_badge, state_words

_COLUMNS = ("service", "state", "program", "needs", "restarts", "note")
_NOTHING = "nothing runs yet; next: lab.start()"


@dataclass(frozen=True, repr=False)
class StatusView:
    """The services of a lab and their states; the same on every run of the same lab.

    Addresses and process numbers differ from run to run: they are behind `details()`.
    """

    title: str
    states: tuple[ServiceState, ...]

    def __repr__(self) -> str:
        if not self.states:
            return f"{visible(self.title)}: {_NOTHING}"
        return self._headline() + "\n" + text_table(_COLUMNS, [_plain_row(state) for state in self.states], {4})

    def _repr_html_(self) -> str:
        if not self.states:
            return heading(visible(self.title)) + paragraph(_NOTHING)
        rows: list[Sequence[str | Html]] = []
        for state in self.states:
            service, _, *rest = _plain_row(state)
            rows.append([service, state_badge(state), *rest])
        return table(self._headline(), _COLUMNS, rows, {4})

    def details(self) -> ComparisonTable:
        """Return addresses and process numbers, one row a replica."""
        rows = [
            (state.name, replica.number, replica.state, replica.url or state.url or None, str(replica.pid or "-"))
            for state in self.states
            for replica in state.replicas or (ReplicaState(1, state.state),)
        ]
        return ComparisonTable(
            f"{self.title}: addresses and processes", ("service", "replica", "state", "address", "process"), rows
        )

    def _headline(self) -> str:
        services = [state for state in self.states if state.kind != "runtime"]
        ready = sum(state.state == READY for state in services)
        return f"{visible(self.title)}: {ready} of {counted(len(services), 'service')} ready"


def _plain_row(state: ServiceState) -> list[str]:
    return [
        visible(state.name),
        state_words(state),
        origin_words(state),
        _needs_words(state),
        str(state.restarts),
        visible(state.note),
    ]


def _needs_words(state: ServiceState) -> str:
    """Return "stations, wallet; calls notices", or "nothing"."""
    needs = ", ".join(visible(name) for name in state.needs)
    calls = ", ".join(visible(name) for name in state.calls)
    parts = [needs] if needs else []
    return "; ".join([*parts, f"calls {calls}"] if calls else parts) or "nothing"
