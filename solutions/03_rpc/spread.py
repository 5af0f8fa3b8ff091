"""Spread: which replica of the locks gets the next call.

LOCKS_REPLICAS_FILE lists them, and is replaced whenever one comes or goes. Calls go to all of them in turn; what is
under way at a replica that leaves ends in its own time. The locks allow one keepalive ping in five minutes, as each
gRPC server does by default.
"""

import json
import os
from pathlib import Path
from typing import Any

import grpc

from lab_services.bikeshare.interfaces import compiled

locks, locks_services = compiled("bikeshare/locks/v1/locks.proto")

REPLICAS_FILE = Path(os.environ["LOCKS_REPLICAS_FILE"])


def replicas() -> list[str]:
    """Return the target of each replica as of now: ["127.0.0.1:50051", ...]."""
    return list(json.loads(REPLICAS_FILE.read_text()))


# --- your turn 3.5 ---
# gRPC takes the first address that answers, and stays there, unless it is told otherwise. No keepalive: a replica
# that dies closes its connections, and one that pings too often is thrown out (GOAWAY, ENHANCE_YOUR_CALM).
OPTIONS = [("grpc.service_config", json.dumps({"loadBalancingConfig": [{"round_robin": {}}]}))]


class Spread:
    def __init__(self) -> None:
        self._targets: list[str] = []
        self._channel: Any = None

    def stub(self) -> Any:
        """Return a stub for one call or one stream."""
        targets = replicas()
        if targets != self._targets:  # the channel before is let go, not closed: that would end what is under way on it
            self._channel = grpc.aio.insecure_channel("ipv4:" + ",".join(targets), OPTIONS)
            self._targets = targets
        return locks_services.LocksServiceStub(self._channel)


# --- end 3.5 ---
