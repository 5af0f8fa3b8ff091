"""What a broker keeps: its streams, and how far each consumer has come with them."""

from __future__ import annotations

from dataclasses import dataclass

from .html_table import heading, paragraph, table
from .plain_text import counted, text_table, visible

_COLUMNS = (
    *("stream", "subjects", "storage", "messages"),
    *("consumer", "delivered", "unacknowledged", "waiting", "redelivered"),
)
_NUMERIC = {3, 5, 6, 7, 8}
_NOTHING = "no stream: what is said is heard now, or never"


@dataclass(frozen=True)
class ConsumerFacts:
    """How far one consumer is: `delivered` counts every delivery, a second one of the same message too.

    `unacknowledged` were delivered and not acknowledged, `waiting` not yet delivered; `redelivered` are the
    unacknowledged ones that were delivered more than once. The name is empty when the broker has made one up.
    """

    name: str
    delivered: int
    unacknowledged: int
    waiting: int
    redelivered: int


@dataclass(frozen=True)
class StreamFacts:
    """What one stream keeps, where ("file" or "memory"), and on how many nodes of the broker."""

    name: str
    subjects: tuple[str, ...]
    storage: str
    nodes: int
    messages: int
    consumers: tuple[ConsumerFacts, ...] = ()


@dataclass(frozen=True, repr=False)
class StreamsView:
    """The streams of a broker, one row for each consumer; the same whenever the same is kept."""

    title: str
    streams: tuple[StreamFacts, ...]

    def __repr__(self) -> str:
        if not self.streams:
            return f"{visible(self.title)}: {_NOTHING}"
        return self._headline() + "\n" + text_table(_COLUMNS, self._rows(), _NUMERIC)

    def _repr_html_(self) -> str:
        if not self.streams:
            return heading(visible(self.title)) + paragraph(_NOTHING)
        return table(self._headline(), _COLUMNS, self._rows(), _NUMERIC)

    def _headline(self) -> str:
        consumers = sum(len(stream.consumers) for stream in self.streams)
        return f"{visible(self.title)}: {counted(len(self.streams), 'stream')}, {counted(consumers, 'consumer')}"

    def _rows(self) -> list[list[str]]:
        return [row for stream in sorted(self.streams, key=lambda stream: stream.name) for row in _rows_of(stream)]


def _rows_of(stream: StreamFacts) -> list[list[str]]:
    storage = stream.storage if stream.nodes < 2 else f"{stream.storage}, {counted(stream.nodes, 'node')}"
    subjects = ", ".join(visible(subject) for subject in stream.subjects)
    first = [visible(stream.name), visible(subjects), visible(storage), f"{stream.messages:,}"]
    rows = [[*first, *_cells(consumer)] for consumer in sorted(stream.consumers, key=lambda c: (c.name == "", c.name))]
    return rows or [[*first, "none", "-", "-", "-", "-"]]


def _cells(consumer: ConsumerFacts) -> list[str]:
    numbers = (consumer.delivered, consumer.unacknowledged, consumer.waiting, consumer.redelivered)
    return [visible(consumer.name) or "without a name", *(f"{number:,}" for number in numbers)]
