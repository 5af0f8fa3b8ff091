"""The error budget of an objective: how much may fail, how much has failed, how fast it is being spent.

A burn rate of 1 spends the budget exactly over the time that the objective is for; 10 spends it in a tenth of it
(Google, The Site Reliability Workbook, chapter 5).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lab_services.telemetry.queries import Prometheus


@dataclass(frozen=True)
class Window:
    """The events of one stretch of time that ends now, such as "5m": how many, and how many of them were bad."""

    name: str
    events: float
    bad: float


@dataclass(frozen=True)
class BudgetFacts:
    """An objective (0.99: of 100 events 99 are to be good) and the windows, the longest of which it is for.

    Raises ValueError for an objective that leaves no budget or asks for nothing, and without a window.
    """

    objective: float
    windows: tuple[Window, ...]

    def __post_init__(self) -> None:
        if not 0 < self.objective < 1:
            raise ValueError(f"an objective lies between 0 and 1, such as 0.99, and {self.objective!r} does not")
        if not self.windows:
            raise ValueError("an error budget needs at least one window")

    @property
    def whole(self) -> Window:
        """The window that the objective is for: the last."""
        return self.windows[-1]

    def burn_rate(self, window: Window) -> float | None:
        """Return how many times as fast as allowed the budget was spent in a window; None without events."""
        return window.bad / window.events / (1 - self.objective) if window.events > 0 else None

    @property
    def good_share(self) -> float | None:
        """The share of good events in the whole, 0 to 1; None without events."""
        return 1 - self.whole.bad / self.whole.events if self.whole.events > 0 else None

    @property
    def spent(self) -> float | None:
        """The share of the budget that is spent; 1 is all of it, more is overspent; None without events."""
        return self.burn_rate(self.whole)


def read_budget(
    prometheus: Prometheus, objective: float, *, events: str, bad: str, windows: Sequence[str], at: float | None = None
) -> BudgetFacts:
    """Read an error budget; `events` and `bad` select counters, `windows` go from the shortest to the longest.

    read_budget(p, 0.99, events='calls_total{service="rides"}', bad='calls_total{service="rides", status="500"}',
    windows=("5s", "1m"))

    Raises:
        PrometheusRefuses: a selector or a window is no PromQL.
    """

    def count(selector: str, window: str) -> float:
        return prometheus.value(f"sum(increase({selector}[{window}]))", at) or 0.0

    found = tuple(Window(window, count(events, window), count(bad, window)) for window in windows)
    return BudgetFacts(objective, found)
