"""Stories of the city as Prometheus would have scraped them: what the rules of task 7.5 are judged on.

    Story(Phase(40), Phase(60, taps=(Taps(failed=0.2), Taps(failed=0.2))))

A story has one sample a second of every series. The series are those of `labs/07_observability/alert_rules.yml`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

BUCKETS = (0.1, 0.25, 0.5, 1.0)
BILLED_BEFORE = 10_000
QUICK_SECONDS, SLOW_SECONDS = 0.05, 0.8
RESULTS = ("in_time", "late", "twice")
UNLOCK, HEALTH = "/unlock", "/health/ready"
Counts = dict[str, float]  # by series, as Prometheus writes it: name{label="value",...}


@dataclass(frozen=True)
class Taps:
    """What one replica of taps answers: `riders` taps and `probes` health checks a second, and which share of them how.

    `failed` is 503 at once, `slow` 200 after 0.8 s, `refused` 402 at once; the rest is 200 after 0.05 s.
    """

    riders: float = 10
    failed: float = 0
    slow: float = 0
    refused: float = 0
    probes: float = 1
    probes_failed: float = 0

    def answers(self) -> Iterator[tuple[str, str, float, float]]:
        """Yield route, status, seconds and how many a second."""
        shares = ("503", QUICK_SECONDS, self.failed), ("200", SLOW_SECONDS, self.slow), ("402", 0.01, self.refused)
        for status, seconds, share in shares:
            yield UNLOCK, status, seconds, self.riders * share
        yield UNLOCK, "200", QUICK_SECONDS, self.riders * (1 - self.failed - self.slow - self.refused)
        yield HEALTH, "503", QUICK_SECONDS, self.probes * self.probes_failed
        yield HEALTH, "200", 0.001, self.probes * (1 - self.probes_failed)


@dataclass(frozen=True)
class Phase:
    """So many seconds in which the city is the same.

    `ended` rides end a second, `billed` bills are written, `late` is the share of them that is late. Replicas that are
    `down` do not answer a scrape; those that are `forgotten` are not scraped at all; series whose name begins with one
    of `hidden` are no longer told; replicas in `restarted` begin at zero.
    """

    seconds: int
    taps: tuple[Taps, ...] = (Taps(), Taps())
    ended: float = 2
    billed: float = 2
    late: float = 0
    down: tuple[str, ...] = ()
    forgotten: tuple[str, ...] = ()
    hidden: tuple[str, ...] = ()
    restarted: tuple[str, ...] = ()


class Story:
    """Phases one after another; `before` is what each replica has counted when the story begins."""

    def __init__(self, *phases: Phase, before: Taps | None = None) -> None:
        self.phases, self.before = phases, before
        self.seconds = sum(phase.seconds for phase in phases)

    def series(self) -> dict[str, str]:
        """Return promtool's `values` by series: a number for each second, `_` for none, `stale` where it ends."""
        told: dict[str, dict[int, float]] = {}
        for second, sample in enumerate(self._samples()):
            for series, value in sample.items():
                told.setdefault(series, {})[second] = value
        return {series: self._values(values) for series, values in told.items()}

    def _samples(self) -> Iterator[Counts]:
        replicas = [f"taps-{number}" for number, _ in enumerate(self.phases[0].taps, start=1)]
        counts = {name: _fresh(name) for name in (*replicas, "rides-1", "billing-1", "billing-2")}
        for name in replicas if self.before else ():
            _add(counts[name], _answered(name, self.before or Taps()))
            counts["billing-1"][_series("rides_billed_total", "billing-1", result="in_time")] = BILLED_BEFORE
        for phase in self.phases:
            counts |= {name: _fresh(name) for name in phase.restarted}
            grown = _grown(phase)
            for _ in range(phase.seconds):
                for name, more in grown.items():
                    _add(counts[name], more)
                yield {series: value for name in counts for series, value in _scraped(name, counts[name], phase)}

    def _values(self, values: dict[int, float]) -> str:
        words = [f"{values[second]:.7g}" if second in values else "_" for second in range(self.seconds)]
        ends = {at for at in range(1, self.seconds) if words[at] == "_" and words[at - 1] != "_"}
        return " ".join("stale" if at in ends else word for at, word in enumerate(words))


def _grown(phase: Phase) -> dict[str, Counts]:
    """Return by how much each series of each replica grows in a second."""
    grown = {f"taps-{number}": _answered(f"taps-{number}", taps) for number, taps in enumerate(phase.taps, start=1)}
    grown["rides-1"] = {_series("rides_ended_total", "rides-1"): phase.ended}
    shares = {"late": phase.late, "in_time": 1 - phase.late}
    grown["billing-1"] = {
        _series("rides_billed_total", "billing-1", result=result): phase.billed * share
        for result, share in shares.items()
        if share
    }
    return grown


def _answered(name: str, taps: Taps) -> Counts:
    counts: Counts = {}
    for route, status, seconds, number in taps.answers():
        if number:
            _add(counts, _observed(name, route, status, seconds, number))
    return counts


def _observed(name: str, route: str, status: str, seconds: float, number: float) -> Counts:
    """Return what a histogram counts when so many answers take so long."""
    limits = {f"{limit}": number * (seconds <= limit) for limit in BUCKETS} | {"+Inf": number}
    counts = {
        _series("request_seconds_bucket", name, route=route, status=status, le=limit): value
        for limit, value in limits.items()
    }
    counts[_series("request_seconds_count", name, route=route, status=status)] = number
    counts[_series("request_seconds_sum", name, route=route, status=status)] = number * seconds
    return counts


def _add(counts: Counts, more: Counts) -> None:
    for series, number in more.items():
        counts[series] = counts.get(series, 0) + number


def _fresh(name: str) -> Counts:
    """Return the series that a replica has from its start, at zero."""
    if name.startswith("taps"):
        return _observed(name, UNLOCK, "200", 0, 0) | _observed(name, HEALTH, "200", 0, 0)
    if name.startswith("rides"):
        return {_series("rides_ended_total", name): 0}
    return {_series("rides_billed_total", name, result=result): 0 for result in RESULTS}


def _scraped(name: str, counts: Counts, phase: Phase) -> Iterator[tuple[str, float]]:
    if name in phase.forgotten:
        return
    yield _series("up", name), float(name not in phase.down)
    if name not in phase.down:
        yield from (each for each in counts.items() if not (phase.hidden and each[0].startswith(phase.hidden)))


def _series(metric: str, name: str, **labels: str) -> str:
    every = labels | {"job": name.partition("-")[0], "instance": name}
    return metric + "{" + ",".join(f'{label}="{value}"' for label, value in every.items()) + "}"
