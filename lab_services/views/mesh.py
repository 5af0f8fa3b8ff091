"""A running mesh: who calls whom, in which share and how well, who is spared, what was refused, whose time runs out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from ..mesh.facts import ArrowFacts, CertificateFacts, HostFacts, MeshFacts, ReplicaFacts
from ..runtime import states
from .compare import ComparisonTable
from .mermaid_text import accessible, diagram_bundle, label
from .plain_text import counted, visible
from .state_words import look_of

LAST_PART = 0.1  # of a certificate's life: what is left then is little
_LOOKS = {"ready": states.READY, "draining": states.UNREADY, "down": states.STOPPED, "unreachable": states.CRASHED}
_NOTHING = "no sidecar runs"


@dataclass(frozen=True, repr=False)
class MeshView:
    """The mesh as its Envoys report it: a node a service, an arrow a cluster, dashed where nobody has called yet.

    Numbers count from the start of each Envoy. How long certificates have left is behind `certificates()`, to the
    second: the picture says only whether that is enough.
    """

    title: str
    facts: MeshFacts

    def __repr__(self) -> str:
        return "\n".join([self._headline(), *self._lines()])

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        if not self.facts.replicas:
            return {"text/plain": repr(self)}
        return diagram_bundle(self.mermaid(), repr(self))

    def mermaid(self) -> str:
        """Return the source of the diagram."""
        names = self._services()
        ids = {name: f"s{at}" for at, name in enumerate(names)}
        nodes = [f"    {ids[name]}{self._box(name)}" for name in names]
        arrows = [
            f"    {ids[one.caller]} {_drawn(self._arrow_words(one), one.calls)} {ids[one.callee]}"
            for one in self.facts.arrows
        ]
        return "\n".join(["flowchart LR", *accessible(self._headline(), self._lines()), *nodes, *arrows])

    def calls(self) -> ComparisonTable:
        """Return what each caller has seen of each replica, one row a replica."""
        rows = [
            (one.caller, one.callee, host.replica, host.calls, host.errors, "spared" if host.spared else "called")
            for one in self.facts.arrows
            for host in one.hosts
        ]
        return ComparisonTable(
            f"{self.title}: attempts", ("caller", "callee", "replica", "attempts", "failed", "now"), rows
        )

    def certificates(self) -> ComparisonTable:
        """Return how long each certificate has left, one row a certificate."""
        rows = [
            (one.node, one.name or None, round(one.seconds_left), round(one.seconds), _life(one))
            for one in self.facts.certificates
        ]
        return ComparisonTable(
            f"{self.title}: certificates", ("sidecar", "name", "seconds left", "of", "in words"), rows
        )

    def _headline(self) -> str:
        if not self.facts.replicas:
            return f"{visible(self.title)}: {_NOTHING}"
        parts = [counted(len(self._services()), "service"), counted(len(self.facts.arrows), "arrow")]
        spared = len({(one.callee, host.replica) for one in self.facts.arrows for host in one.hosts if host.spared})
        refused = sum(one.now for one in self.facts.refusals)
        parts += [f"{counted(spared, 'replica')} spared"] if spared else []
        parts += [f"{counted(refused, 'configuration')} refused"] if refused else []
        return f"{visible(self.title)}: {', '.join(parts)}"

    def _lines(self) -> list[str]:
        services = [f"  {visible(name)}: {'; '.join(self._service_words(name))}" for name in self._services()]
        arrows = [
            f"  {visible(one.caller)} -> {visible(one.callee)}: {self._arrow_words(one)}" for one in self.facts.arrows
        ]
        return [*services, *arrows, *self._refusals()]

    def _refusals(self) -> Iterator[str]:
        for one in self.facts.refusals:
            since = "and lives by the version before" if one.now else "before"
            reason = f": {visible(one.message)}" if one.message else ""
            yield f"  {visible(one.node)} has refused {visible(one.kind)} {counted(one.times, 'time')} {since}{reason}"

    def _services(self) -> list[str]:
        named = [name for one in self.facts.arrows for name in (one.caller, one.callee)]
        return sorted({*(one.service for one in self.facts.replicas), *named})

    def _replicas(self, service: str) -> list[ReplicaFacts]:
        return [one for one in self.facts.replicas if one.service == service]

    def _service_words(self, service: str) -> list[str]:
        words = [_replica_words(one, self._spared_by(one)) for one in self._replicas(service)]
        own = {f"{service}-{one.replica}" for one in self._replicas(service)}
        lives = sorted({_life(one) for one in self.facts.certificates if one.node in own})
        return [*(words or ["not in the mesh"]), *(f"certificate {life}" for life in lives)]

    def _spared_by(self, replica: ReplicaFacts) -> list[str]:
        arrows = [one for one in self.facts.arrows if one.callee == replica.service]
        return sorted({one.caller for one in arrows if _host(one, replica.replica).spared})

    def _box(self, service: str) -> str:
        found = {one.state for one in self._replicas(service)}
        state = "ready" if "ready" in found else min(found, default="")
        begin, end = look_of(_LOOKS.get(state, state)).brackets
        text = "<br/>".join(label(line) for line in [service, *self._service_words(service)])
        return f'{begin}"{text}"{end}'

    def _arrow_words(self, arrow: ArrowFacts) -> str:
        all_calls = sum(o.calls for o in self.facts.arrows if (o.caller, o.callee) == (arrow.caller, arrow.callee))
        parts = [counted(arrow.calls, "call")]
        if all_calls != arrow.calls:
            parts[0] += f" ({_share(arrow.calls, all_calls)})"
        parts.append(
            f"{counted(arrow.errors, 'error')}" + (f" ({_share(arrow.errors, arrow.calls)})" if arrow.errors else "")
        )
        parts += [f"{arrow.retries:,} retried"] if arrow.retries else []
        parts += [f"{arrow.refused:,} refused by the breaker"] if arrow.refused else []
        which = f"{', '.join(visible(one) for one in arrow.versions)}: " if arrow.versions else ""
        return which + ", ".join(parts)


def _drawn(words: str, calls: int) -> str:
    return f'{"-->" if calls else "-.->"}|"{label(words, 120)}"|'


def _host(arrow: ArrowFacts, replica: int) -> HostFacts:
    return next((one for one in arrow.hosts if one.replica == replica), HostFacts(replica, 0, 0, False))


def _replica_words(replica: ReplicaFacts, spared_by: list[str]) -> str:
    version = f" ({visible(replica.version)})" if replica.version else ""
    spared = f", spared by {', '.join(visible(name) for name in spared_by)}" if spared_by else ""
    return f"replica {replica.replica}{version} {visible(replica.state)}{spared}"


def _share(part: int, whole: int) -> str:
    return f"{part / whole:.1%}".replace("%", " %") if whole else "-"


def _life(certificate: CertificateFacts) -> str:
    if certificate.seconds_left <= 0:
        return "expired"
    return "ends soon" if certificate.seconds_left < LAST_PART * certificate.seconds else "valid"
