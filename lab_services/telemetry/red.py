"""Rate, errors, duration (RED) of services over a stretch of time, read from Prometheus.

Which metrics hold them differs from program to program: `Metrics` names them. The window of a rate has to cover at
least two scrapes.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lab_services.telemetry.queries import Prometheus

QUANTILES = (0.5, 0.9, 0.99)
Points = tuple[tuple[float, float], ...]  # time in seconds since 1970, and a value


@dataclass(frozen=True)
class Metrics:
    """A counter of calls, the labels of those that failed, a histogram of seconds; as finished services have them."""

    calls: str = "http_server_requests_total"
    failed: str = 'status=~"5.."'
    seconds: str = "http_server_request_duration_seconds"


@dataclass(frozen=True)
class RedFacts:
    """One service: calls and failed calls a second, and for each quantile the seconds that a call took."""

    service: str
    rate: Points
    errors: Points
    durations: tuple[tuple[float, Points], ...]

    @property
    def calls_per_second(self) -> float:
        """Calls a second, on the average over the whole time."""
        return _mean(self.rate)

    @property
    def failed_share(self) -> float | None:
        """The share of the calls that failed, 0 to 1, or None without calls."""
        calls = sum(value for _, value in self.rate)
        return sum(value for _, value in self.errors) / calls if calls else None

    def seconds(self, quantile: float) -> float | None:
        """The seconds of one quantile, at the middle of all moments at which there were calls."""
        found = sorted(value for _, value in dict(self.durations).get(quantile, ()) if value == value)  # nan: no calls
        return found[len(found) // 2] if found else None


def read_red(
    prometheus: Prometheus,
    services: Iterable[str],
    start: float,
    end: float,
    *,
    step: float = 1.0,
    window: str = "5s",
    metrics: Metrics | None = None,
) -> tuple[RedFacts, ...]:
    """Read what the services did from `start` to `end` (seconds since 1970), a point each `step` seconds.

    Raises:
        PrometheusRefuses: a name of a metric, the window or the times are no PromQL.
    """
    names = metrics or Metrics()

    def points(query: str) -> Points:
        found = prometheus.range(query, start, end, step)
        return found[0].points if found else ()

    def facts(service: str) -> RedFacts:
        of = f'service="{_quoted(service)}"'
        buckets = f"sum by (le) (rate({names.seconds}_bucket{{{of}}}[{window}]))"
        return RedFacts(
            service,
            points(f"sum(rate({names.calls}{{{of}}}[{window}]))"),
            points(f"sum(rate({names.calls}{{{of}, {names.failed}}}[{window}]))"),
            tuple((quantile, points(f"histogram_quantile({quantile}, {buckets})")) for quantile in QUANTILES),
        )

    return tuple(map(facts, services))


def _mean(points: Points) -> float:
    return sum(value for _, value in points) / len(points) if points else 0.0


def _quoted(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
