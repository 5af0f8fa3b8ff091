"""Look on at a running broker: who says what to whom, what it keeps for whom, and who leads a stream."""

from __future__ import annotations

from .leaders import leader_of, seconds_until_kept
from .overhearing import Talk, overhearing
from .streams import read_streams, streams

__all__ = ["Talk", "leader_of", "overhearing", "read_streams", "seconds_until_kept", "streams"]
