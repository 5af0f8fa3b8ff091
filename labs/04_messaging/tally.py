"""What a listener says of its work: how many messages are done, how many failed, and why the last of them failed."""

import logging
from collections import deque
from threading import Lock
from typing import Any

REASONS = 20  # kept to be asked for; the log has all
log = logging.getLogger("tally")


class Tally:
    """Counts for one replica; its methods may be called from any thread."""

    def __init__(self) -> None:
        self._done = self._failed = 0
        self._reasons: deque[str] = deque(maxlen=REASONS)
        self._guard = Lock()

    def done(self) -> None:
        """Note a message whose work is done."""
        with self._guard:
            self._done += 1

    def failed(self, error: Exception) -> None:
        """Note a message that could not be read, or whose work has failed; the reason goes into the log, too."""
        reason = f"{type(error).__name__}: {error}"
        log.warning(reason)
        with self._guard:
            self._failed += 1
            self._reasons.append(reason)

    def told(self) -> dict[str, Any]:
        """Return {"done": 7, "failed": 1, "reasons": ["Unreadable: ..."]}."""
        with self._guard:
            return {"done": self._done, "failed": self._failed, "reasons": list(self._reasons)}
