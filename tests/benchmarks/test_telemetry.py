"""What watching a service costs: the same finished service unwatched, counted, and counted and traced, in turn."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from lab_services.lab import Lab
from lab_services.measuring import Costs
from lab_services.runtime.spec import load_spec
from lab_services.runtime.workspace import snapshot
from lab_services.telemetry.costs import WAYS, telemetry_costs
from lab_services.views import TelemetryCostsView
from lab_services.views.telemetry_costs import MANY, SOME

Record = Callable[[str, object], None]
_, COUNTED, TRACED = WAYS


@pytest.fixture(scope="module")
def costs(tmp_path_factory: pytest.TempPathFactory) -> Costs:
    """Measure all ways, and print what was found."""
    spec = load_spec("07_observability", Path(__file__).parents[2])
    folder = snapshot(spec, tmp_path_factory.mktemp("lab"), spec.folder)
    lab = Lab(spec, folder, tmp_path_factory.mktemp("scratch"), shape="costs")
    try:
        lab.start()
        found = telemetry_costs(lab)
    finally:
        lab.close()
    print(f"\n{TelemetryCostsView(found).numbers()}")
    return found


def test_processor_time_of_a_request(costs: Costs, record_property: Record) -> None:
    """A span is made, copied and sent for each request, and a line written: a lot for one that does nothing else."""
    keep(record_property, "processor time of a request, of one unwatched", costs.processor(), MANY)


def test_latency_of_a_request(costs: Costs, record_property: Record) -> None:
    """The median on one connection stays in the same bounds."""
    keep(record_property, "p50 of a request, of one unwatched", costs.latency(50), MANY)


def test_private_memory_of_the_process(costs: Costs, record_property: Record) -> None:
    """What the process holds alone, without what it shares with those that were forked beside it."""
    memory = {way.name: way.app_mb / costs.ways[0].app_mb for way in costs.ways}
    keep(record_property, "private memory of a service, of one unwatched", memory, SOME)


def keep(record: Record, figure: str, values: dict[str, float], limit: float) -> None:
    """Record a figure of the service that is counted and traced, all ways beside it, and hold the limit."""
    said = {"figure": f"{figure} (counted alone: {values[COUNTED]:.2f})", "value": values[TRACED], "limit": limit}
    for name, what in {**said, "unit": "ratio", "ways": values}.items():
        record(name, what)
    assert values[TRACED] <= limit
