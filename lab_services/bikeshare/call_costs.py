"""What a call costs by JSON over HTTP and by gRPC, measured by a program of lab 03 in a process of its own.

A notebook has an event loop and a protobuf of its own; neither may be measured along.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from lab_services.views import Chart, ComparisonTable
from lab_services.views.chart import INK, paper, quiet_drawing
from lab_services.views.charts import LINES
from lab_services.views.compare import three_digits

RUN_SECONDS = 60  # five turns take 6
TITLE = "One order of five items, each way in the same run"
COLUMNS = {
    "bytes on the wire": "wire_bytes",
    "us a call, alone": "microseconds",
    "orders/s, 16 at once": "per_second",
    "us of the client's processor": "client_microseconds",
    "us of the server's processor": "server_microseconds",
    "functions called by the client": "functions",
}
Numbers = Mapping[str, Mapping[str, float]]


class Answering(Protocol):
    """A running service of a lab."""

    url: str
    pids: tuple[int, ...]


@dataclass(frozen=True, repr=False)
class CallCosts:
    """The numbers of each way, of the codecs (microseconds to write and to read), and the bytes of a body by format."""

    ways: Numbers
    codecs: Numbers
    bodies: Mapping[str, int]

    def ratios(self, number: str = "per_second", to: str = "gRPC") -> dict[str, float]:
        """Return how many times as much of a number each way has as the way `to`."""
        return {name: each[number] / self.ways[to][number] for name, each in self.ways.items()}

    def table(self) -> ComparisonTable:
        """Return all numbers of the ways side by side."""
        rows = [(name, *(round(each[key]) for key in COLUMNS.values())) for name, each in self.ways.items()]
        return ComparisonTable(TITLE, ("way", *COLUMNS), rows)

    def picture(self) -> Chart:
        """Draw whose processor is busy for one order, and how many orders a second that leaves."""
        names = list(self.ways)
        with quiet_drawing():
            figure, (work, rate) = paper(TITLE, columns=2, height=1.8 + 0.4 * len(names))
            _draw_work(work, self.ways)
            bars = rate.barh(names, [each["per_second"] for each in self.ways.values()], color=LINES[2][0], height=0.55)
            rate.bar_label(bars, [f"{each['per_second']:,.0f}" for each in self.ways.values()], padding=4, color=INK)
            rate.set_xlabel("orders a second, 16 calls at once", color=INK)
            rate.margins(x=0.25)
            rate.locator_params(axis="x", nbins=4)
            rate.invert_yaxis()
        twin = f"{TITLE}: processor time of client and server for an order, and orders a second; {'; '.join(names)}"
        words = "; ".join(
            f"{name}: client {three_digits(each['client_microseconds'])} and server "
            f"{three_digits(each['server_microseconds'])} microseconds, {three_digits(each['per_second'])} a second"
            for name, each in self.ways.items()
        )
        return Chart(figure, twin, f"{twin}. {words}", self.table())

    def __repr__(self) -> str:
        return repr(self.table())

    def _repr_html_(self) -> str:
        return self.table()._repr_html_()


def call_costs(folder: Path, http: Answering, grpc: Answering, turns: int = 5) -> CallCosts:
    """Measure the services of the shape `compare`; `folder` is the lab's, with its programs. A turn takes 0.8 s.

    Raises:
        RuntimeError: the program of the lab has failed, with the end of what it said.
    """
    command = [sys.executable, "compare_costs.py", http.url, grpc.url, *map(str, (http.pids[0], grpc.pids[0], turns))]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=RUN_SECONDS)
    if done.returncode:
        raise RuntimeError(f"compare_costs.py has failed:\n{done.stderr[-2000:]}")
    return CallCosts(**json.loads(done.stdout))


def _draw_work(axes: Any, ways: Numbers) -> None:
    client = [each["client_microseconds"] for each in ways.values()]
    server = [each["server_microseconds"] for each in ways.values()]
    axes.barh(list(ways), client, color=LINES[0][0], height=0.55, label="client")
    both = axes.barh(list(ways), server, left=client, color=LINES[1][0], height=0.55, hatch="//", label="server")
    sums = [f"{mine:,.0f} + {theirs:,.0f}" for mine, theirs in zip(client, server, strict=True)]
    axes.bar_label(both, sums, padding=4, color=INK)
    axes.set_xlabel("processor time for one order, microseconds", color=INK)
    axes.margins(x=0.35)
    axes.invert_yaxis()
    axes.legend(frameon=False, labelcolor=INK, loc="lower right")
