"""Look on at a running broker: who says what to whom, what it keeps for whom, who leads a stream, how a saga went."""

from __future__ import annotations

from .causes import Causes, causes
from .leaders import leader_of, seconds_until_kept
from .overhearing import Talk, overhearing
from .quiet import until_quiet
from .ride_record import recorded
from .saga_pictures import saga_sequence, saga_states
from .streams import read_streams, streams

__all__ = [
    "Causes",
    "Talk",
    "causes",
    "leader_of",
    "overhearing",
    "read_streams",
    "recorded",
    "saga_sequence",
    "saga_states",
    "seconds_until_kept",
    "streams",
    "until_quiet",
]
