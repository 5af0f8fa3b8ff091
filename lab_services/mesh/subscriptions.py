"""What each Envoy was sent, what it has confirmed and what it has refused: the bookkeeping of the control plane.

An Envoy that speaks REST xDS sends no "refused". It asks again, and says which version it lives by: the new one when it
took it, still the old one when it did not. So the plane must remember what it has sent: were it to compare with what
the Envoy reports, it would send a refused version again and again, some hundred times a second.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from .resources.messages import NAMES, Message, Resources

KINDS = {  # as a kind is called in the address, and as its message is called
    "clusters": "envoy.config.cluster.v3.Cluster",
    "endpoints": "envoy.config.endpoint.v3.ClusterLoadAssignment",
    "listeners": "envoy.config.listener.v3.Listener",
    "routes": "envoy.config.route.v3.RouteConfiguration",
    "secrets": "envoy.extensions.transport_sockets.tls.v3.Secret",
}
# How long after the n-th telling the same version is told again. Who still has nothing was refused, or has just begun.
# Who still has another version was refused, or has lost the answer: to it a repetition is worth little.
FIRST_AGAIN_SECONDS = (0.0, 0.1, 0.2, 0.5, 1.0, 2.0)
OTHER_AGAIN_SECONDS = (5.0, 20.0, 60.0)
REFUSED_FIRST = 3  # so often in a row a first version was told and not taken: refused


def chosen(resources: Resources, kind: str, names: Sequence[str]) -> list[Message]:
    """Return the resources of a kind, or those with these names when the Envoy asks by name."""
    found: Sequence[Message] = getattr(resources, kind)
    return [one for one in found if not names or one[NAMES.get(kind, "name")] in names]


def version_of(found: Sequence[Message]) -> str:
    """Return the version of resources: the same for the same content, in every run of the plane."""
    content = json.dumps(found, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(content.encode()).hexdigest()[:12]


@dataclass
class Subscription:
    """One question of one Envoy: `sent` is the newest version it was told, `confirmed` the one it says it lives by.

    `refused` is the newest version that it was sent and did not take, empty when it took the last one.
    """

    node: str
    kind: str
    names: tuple[str, ...]
    sent: str = ""
    confirmed: str = ""
    refused: str = ""
    waiting: int = 0  # questions that are held now: the Envoy is there
    _told: dict[str, tuple[int, float]] = field(default_factory=dict)  # version of the asker -> how often, when last

    @property
    def key(self) -> tuple[str, str, tuple[str, ...]]:
        """Whose question it is, and for what."""
        return self.node, self.kind, self.names

    def asked(self, have: str) -> bool:
        """Learn from a question what became of the last answer; say whether that was news."""
        before = self.confirmed, self.refused
        if have and have == self.sent:
            self.settle(have)
        elif self._told.get(have, (0, 0.0))[0] >= (1 if have else REFUSED_FIRST):
            self.confirmed, self.refused = have, self.sent
        return before != (self.confirmed, self.refused)

    def settle(self, have: str) -> None:
        """Note that the asker lives by the newest version, whoever has sent it: perhaps the plane before this one."""
        self.sent = self.confirmed = have
        self.refused = ""
        self._told.clear()

    def pause(self, have: str, version: str, now: float) -> float | None:
        """Return in how many seconds this version is to be sent to an asker who has `have`; None is never."""
        if have == version:
            return None
        times, at = self._told.get(have, (0, 0.0))
        if version != self.sent or not times:
            return 0.0
        again = OTHER_AGAIN_SECONDS if have else FIRST_AGAIN_SECONDS
        return max(0.0, at + again[min(times, len(again)) - 1] - now)

    def tell(self, have: str, version: str, now: float) -> None:
        """Note that this version goes out now to an asker who has `have`."""
        if version != self.sent:
            self._told.clear()
            self.sent = version
        self._told[have] = self._told.get(have, (0, 0.0))[0] + 1, now

    def as_dict(self) -> dict[str, Any]:
        """Return the subscription as the page /mesh shows it."""
        state = "refused" if self.refused else "confirmed" if self.sent == self.confirmed else "sent"
        return {
            "kind": self.kind,
            "names": list(self.names),
            "state": state,
            "sent": self.sent,
            "confirmed": self.confirmed,
            "refused": self.refused,
            "connected": self.waiting > 0,
        }
