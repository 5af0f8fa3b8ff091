"""What waking the relay brings: from the commit of a row to its event at a listener, measured in its own process."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lab_services.views import Chart, latency_chart, ratio_chart
from lab_services.views.charts import percentile

RUN_SECONDS = 60
PROGRAM = "lab_services.bikeshare.outbox_delay_times"


@dataclass(frozen=True)
class OutboxDelays:
    """Milliseconds from commit to delivery, of the same rows, by relay; the one that is woken comes first."""

    milliseconds: Mapping[str, Sequence[float]]

    def p95_ms(self) -> dict[str, float]:
        """Return what 95 of 100 events took at most, by relay."""
        return {name: percentile(sorted(values), 0.95) for name, values in self.milliseconds.items()}

    def ratio(self) -> float:
        """Return how many times as long an event waits for a look each second as for a relay that is woken, at p95."""
        woken, polled = self.p95_ms().values()
        return polled / woken

    def picture(self) -> Chart:
        """Draw how often each delay came, and what the slowest events took."""
        return latency_chart("From commit to delivered event", self.milliseconds)

    def ratio_picture(self) -> Chart:
        """Draw the p95 of each relay as a multiple of the first one's."""
        first, *_ = self.p95_ms().values()
        ratios = {name: value / first for name, value in self.p95_ms().items()}
        return ratio_chart("From commit to delivered event, p95", ratios)


def outbox_delays(url: str) -> OutboxDelays:
    """Measure at a broker whose user may do everything; takes some seconds.

    Raises:
        RuntimeError: the measurement has failed, with the end of what it said.
    """
    done = subprocess.run([sys.executable, "-m", PROGRAM, url], capture_output=True, text=True, timeout=RUN_SECONDS)
    if done.returncode:
        raise RuntimeError(f"the measurement has failed:\n{done.stderr[-2000:]}")
    return OutboxDelays(json.loads(done.stdout))
