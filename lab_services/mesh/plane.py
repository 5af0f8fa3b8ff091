"""What the control plane knows, and when it tells an Envoy: which messages each node is to have, what it was sent.

A node is told of a cluster before the routes that lead to it, and loses a cluster after them: REST xDS has no order of
its own, and a route to a cluster that is not there answers 503.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .registry import Workload, watch
from .resources.messages import Message, Resources
from .subscriptions import Subscription, chosen, version_of

HOLD_SECONDS = 1.5  # a question without news: a plane that is not told that it has to leave has 2 s for its answers
LONG_HOLD_SECONDS = 20.0  # one whose server tells it
REBUILD_SECONDS = 1.0  # without a change of the registry: certificates are renewed by their age
ORDER_SECONDS = 1.0  # routes wait so long for the clusters that they name
LINGER_SECONDS = 0.5  # a cluster stays so long behind the routes that named it
Build = Callable[[Workload, tuple[Workload, ...]], Resources]
Key = tuple[str, str, tuple[str, ...]]
Found = tuple[str, list[Message]]


class Plane:
    """What the plane knows: the workloads, what each node is to have, and what became of it."""

    def __init__(self, build: Build) -> None:
        self.workloads: tuple[Workload, ...] = ()
        self.errors: dict[str, str] = {}
        self._build, self._hold_seconds = build, HOLD_SECONDS
        self._wanted: dict[str, Resources] = {}
        self._since: dict[str, float] = {}  # when the node's resources changed, in the loop's time
        self._lingering: dict[str, list[Message]] = {}  # clusters that are on their way out
        self._told: dict[str, dict[str, list[Message]]] = {}  # by node and version, the clusters that it was told of
        self._subscriptions: dict[Key, Subscription] = {}
        self._found: dict[Key, Found] = {}  # worked out once for each change
        self._leaving = False
        self._watching: asyncio.Task[None] | None = None
        self._changed: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def rebuild(self) -> None:
        """Ask `build` for every node; a node for which it fails keeps what it had, and /mesh says why."""
        before, self._wanted, self.errors = self._wanted, {}, {}
        for workload in self.workloads:
            node = workload.node
            try:
                self._wanted[node] = _copied(self._build(workload, self.workloads))
            except Exception as error:  # whatever a learner's function raises
                self.errors[node] = f"{type(error).__name__}: {error}"
                if node in before:
                    self._wanted[node] = before[node]
            if node in self._wanted and self._wanted[node] != before.get(node):
                self._replace(node)
        self._forget_unasked()

    def _forget_unasked(self) -> None:
        """Forget the questions of nodes that have left, and those for names that are gone and nobody asks for."""
        nodes = {workload.node for workload in self.workloads}
        for key, subscription in list(self._subscriptions.items()):
            node, _, names = key
            lost = names and not subscription.waiting and not (node in self._wanted and self._find(key)[1])
            if node not in nodes or lost:
                del self._subscriptions[key]

    def _replace(self, node: str) -> None:
        """Let the clusters that a node has taken and is to lose stay until its routes have left them."""
        loop = asyncio.get_running_loop()
        self._since[node] = loop.time()
        self._found.clear()
        names = {cluster["name"] for cluster in self._wanted[node].clusters}
        self._lingering[node] = [one for one in self._taken(node) if one["name"] not in names]
        loop.call_later(LINGER_SECONDS, self._forget, node, self._lingering[node])
        self.wake()

    def _taken(self, node: str) -> list[Message]:
        clusters = self._subscriptions.get((node, "clusters", ()))
        return self._told.get(node, {}).get(clusters.confirmed, []) if clusters else []

    def _forget(self, node: str, lingering: list[Message]) -> None:
        if self._lingering.get(node) is lingering:
            del self._lingering[node]
            self._found.clear()
            self.wake()

    def wake(self) -> None:
        """Let every held question look again."""
        self._changed.set_result(None)
        self._changed = asyncio.get_running_loop().create_future()

    def watch_for(self, leaving: asyncio.Event) -> None:
        """Hold questions for longer from now on, and answer all of them as soon as the server has to leave."""
        if self._watching is None:
            self._hold_seconds = LONG_HOLD_SECONDS
            self._watching = asyncio.get_running_loop().create_task(self._leave(leaving))

    async def _leave(self, leaving: asyncio.Event) -> None:
        await leaving.wait()
        self._leaving = True
        self.wake()

    async def follow(self, path: Path) -> None:
        """Rebuild whenever the registry changes."""
        async for self.workloads in watch(path):
            self.rebuild()

    async def renew(self) -> None:
        """Rebuild now and then, because what `build` returns may depend on the time."""
        while True:
            await asyncio.sleep(REBUILD_SECONDS)
            self.rebuild()

    async def answer(self, key: Key, have: str, gone: asyncio.Future[Any]) -> Found | None:
        """Return version and resources once they are news to an asker who has `have`; None when nothing was for long.

        The key is the node, the kind, and the names that it asks for; `gone` is done when nobody waits any more.
        """
        loop = asyncio.get_running_loop()
        subscription = self._subscriptions.setdefault(key, Subscription(*key))
        if subscription.asked(have):
            self.wake()  # routes may have waited for this
        subscription.waiting += 1
        end = loop.time() + self._hold_seconds
        try:
            while (now := loop.time()) < end and not gone.done() and not self._leaving:
                changed = self._changed
                wait = self._wait(subscription, have, now) if key[0] in self._wanted else None
                if wait == 0.0:
                    return self._tell(subscription, have, now)
                timeout = end - now if wait is None else min(end - now, wait)
                await asyncio.wait((changed, gone), timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
        finally:
            subscription.waiting -= 1
        return None

    def _wait(self, subscription: Subscription, have: str, now: float) -> float | None:
        """Return in how many seconds to send: routes and listeners after the clusters that they name."""
        version, found = self._find(subscription.key)
        if have == version and (subscription.refused or have != subscription.sent):
            subscription.settle(have)
            self._remember(subscription, found)
            self.wake()
        pause = subscription.pause(have, version, now)
        if pause != 0.0 or subscription.kind not in ("routes", "listeners"):
            return pause
        key = (subscription.node, "clusters", ())
        clusters = self._subscriptions.get(key)
        if clusters is None or clusters.refused or clusters.confirmed == self._find(key)[0]:
            return 0.0
        return max(0.0, self._since[subscription.node] + ORDER_SECONDS - now)

    def _tell(self, subscription: Subscription, have: str, now: float) -> Found:
        version, found = self._find(subscription.key)
        subscription.tell(have, version, now)
        self._remember(subscription, found)
        return version, found

    def _remember(self, subscription: Subscription, found: list[Message]) -> None:
        if subscription.kind == "clusters":
            before = self._told.get(subscription.node, {})
            kept = {version: one for version, one in before.items() if version == subscription.confirmed}
            self._told[subscription.node] = kept | {subscription.sent: found}

    def _find(self, key: Key) -> Found:
        """Return what a node that is known is to have of a kind, with its version."""
        if key not in self._found:
            node, kind, names = key
            lingering = self._lingering.get(node, []) if kind == "clusters" else []
            found = chosen(self._wanted[node], kind, names) + lingering
            self._found[key] = version_of(found), found
        return self._found[key]

    def as_dict(self) -> dict[str, Any]:
        """Return what the page /mesh shows: the nodes, what each was sent, has confirmed and has refused."""
        nodes: dict[str, Any] = {
            w.node: {"service": w.service, "replica": w.replica, "state": w.state, "subscriptions": []}
            for w in self.workloads
        }
        for (node, _, _), subscription in sorted(self._subscriptions.items()):
            if node in nodes:
                nodes[node]["subscriptions"].append(subscription.as_dict())
        for node, error in self.errors.items():
            nodes[node]["error"] = error
        return {"nodes": nodes}


def _copied(found: Resources) -> Resources:
    """Return a copy that no later change can reach, made by way of JSON: that is how it will travel."""
    if not isinstance(found, Resources):
        raise TypeError(f"build returned {found!r}, which is no Resources")
    return Resources(**json.loads(json.dumps(vars(found))))
