"""What a sidecar costs: ratios to the same call without one, all ways in turn, and the memory of one Envoy."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from lab_services.lab import Lab
from lab_services.measuring import Costs
from lab_services.mesh.costs import mesh_costs
from lab_services.runtime.spec import load_spec
from lab_services.runtime.workspace import snapshot
from lab_services.views import MeshCostsView
from tests.benchmarks.test_sidecars import PRIVATE_MEGABYTES, SIDECARS

Record = Callable[[str, object], None]
SEALED = "both, mutual TLS"
P50_RATIO, WAITING_RATIO, PROCESSOR_RATIO = 6.0, 1.5, 5.0  # twice what two cores need that nobody else uses


@pytest.fixture(scope="module")
def costs(tmp_path_factory: pytest.TempPathFactory) -> Costs:
    """Measure all ways, and print what was found."""
    spec = load_spec("06_mesh", Path(__file__).parents[2])
    folder = snapshot(spec, tmp_path_factory.mktemp("lab"), spec.folder)
    lab = Lab(spec, folder, tmp_path_factory.mktemp("scratch"), shape="costs")
    try:
        lab.start()
        found = mesh_costs(lab)
    finally:
        lab.close()
    view = MeshCostsView(found)
    print(f"\n{view}\n{view.numbers()}\n{view.published()}")
    return found


def test_latency_through_two_sidecars(costs: Costs, record_property: Record) -> None:
    """Two sidecars with mutual TLS make the median of a call that costs nothing a few times as long."""
    keep(record_property, "p50 through two sidecars with mutual TLS", costs.latency(50), P50_RATIO)


def test_latency_of_a_call_that_waits(costs: Costs, record_property: Record) -> None:
    """What they add is a small part of a call for which the callee waits 10 ms."""
    keep(record_property, "the same when the callee waits 10 ms", costs.waiting(), WAITING_RATIO)


def test_processor_time_of_two_sidecars(costs: Costs, record_property: Record) -> None:
    """Application and sidecars together use a few times as much processor time as the application alone."""
    keep(record_property, "processor time of callee and two sidecars", costs.processor(), PROCESSOR_RATIO)


def test_calls_a_second_through_two_sidecars(costs: Costs, record_property: Record) -> None:
    """The rate on eight connections is reported; it hangs on how many cores are free, so nothing is promised."""
    keep(record_property, "calls a second through two sidecars with mutual TLS", costs.rate(), None)


def test_private_memory_of_a_sidecar_that_has_worked(costs: Costs, record_property: Record) -> None:
    """One Envoy holds a tenth of what ten may."""
    value = max(way.beside_mb / way.beside for way in costs.ways if way.beside)
    keep(record_property, "private memory of a sidecar", {SEALED: value}, PRIVATE_MEGABYTES / SIDECARS, "MB")


def keep(record: Record, figure: str, values: dict[str, float], limit: float | None, unit: str = "ratio") -> None:
    """Record a figure of the way by mutual TLS, all ways beside it, and hold the limit."""
    said = {"figure": figure, "value": values[SEALED], "limit": limit, "unit": unit, "ways": values}
    for name, what in said.items():
        record(name, what)
    assert limit is None or values[SEALED] <= limit
