"""What publishing, sharing and a missing bound cost at a real broker, measured in a process of its own.

A notebook has an event loop with other things to do, and a memory full of them; neither may be measured along.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lab_services.views import Chart, ComparisonTable, ratio_chart
from lab_services.views.chart import INK, paper, quiet_drawing
from lab_services.views.charts import LINES

RUN_SECONDS = 90
PROGRAM = "lab_services.bikeshare.message_rates"
Rates = Mapping[str, float]


@dataclass(frozen=True)
class MessageCosts:
    """Messages a second by way of publishing and by number of workers; memory (MB) over a flood, by consumer."""

    publishing: Rates
    sharing: Rates
    memory: Mapping[str, Sequence[float]]

    def publishing_picture(self) -> Chart:
        """Draw how many times as many messages a second each way brings as publishing one after the other."""
        return ratio_chart("Publications a second", _ratios(self.publishing))

    def sharing_picture(self) -> Chart:
        """Draw how many times as many bills a second several workers write as one does."""
        return ratio_chart("Bills a second", _ratios(self.sharing))

    def memory_picture(self) -> Chart:
        """Draw how the memory of a consumer grows while a flood arrives, with a bound and without one."""
        title = "Memory of a consumer while a flood of messages arrives"
        with quiet_drawing():
            figure, (axes,) = paper(title, columns=1)
            for (name, grown), (colour, line) in zip(self.memory.items(), LINES, strict=False):
                shares = [100 * at / (len(grown) - 1) for at in range(len(grown))]
                axes.plot(shares, grown, label=name, color=colour, linestyle=line, linewidth=2)
            axes.set_xlabel("share of the bills that are written, %", color=INK)
            axes.set_ylabel("memory above the start, MB", color=INK)
            axes.set_ylim(bottom=0)
            axes.legend(frameon=False, handlelength=4, labelcolor=INK)
        twin = f"{title}: {' and '.join(self.memory)}, over the share of the bills that are written"
        rows = [(name, max(grown)) for name, grown in self.memory.items()]
        words = ", ".join(f"{name}: {most:.1f} MB at most" for name, most in rows)
        return Chart(figure, twin, f"{twin}. {words}", ComparisonTable(title, ("consumer", "most MB"), rows))

    def most_memory(self) -> dict[str, float]:
        """Return the most memory above the start, in MB, of each consumer."""
        return {name: max(grown) for name, grown in self.memory.items()}


def message_costs(url: str, synced_url: str) -> MessageCosts:
    """Measure at a broker and at one that writes each message to the disk before it acknowledges; takes some seconds.

    Raises:
        RuntimeError: the measurement has failed, with the end of what it said.
    """
    command = [sys.executable, "-m", PROGRAM, url, synced_url]
    done = subprocess.run(command, capture_output=True, text=True, timeout=RUN_SECONDS)
    if done.returncode:
        raise RuntimeError(f"the measurement has failed:\n{done.stderr[-2000:]}")
    return MessageCosts(**json.loads(done.stdout))


def _ratios(rates: Rates) -> dict[str, float]:
    first = next(iter(rates.values()))
    return {name: rate / first for name, rate in rates.items()}
