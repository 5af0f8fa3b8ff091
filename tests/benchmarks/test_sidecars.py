"""Ten sidecars: the time until all are ready when they start together, and the memory that is theirs alone."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median

import pytest

from lab_services.lab import Lab
from lab_services.runtime.spec_types import LabSpec
from tests.benchmarks.plain import table
from tests.benchmarks.test_start import MEBIBYTE, private_bytes
from tests.runtime.town_mesh import PLANE, PRICING, meshed, plane

SIDECARS = 10
ROUNDS = 5
START_SECONDS = 1.0  # the aim, on two cores
PRIVATE_MEGABYTES = 200
Record = Callable[[str, object], None]


@dataclass(frozen=True)
class Start:
    """One round: seconds until ten sidecars were ready, and their private bytes then."""

    seconds: float
    private: int


@pytest.fixture(scope="module")
def starts(tmp_path_factory: pytest.TempPathFactory) -> list[Start]:
    """Kill ten sidecars and launch them together, six times; the first fills the caches and does not count."""
    folder = tmp_path_factory.mktemp("sidecars")
    code = folder / "code"
    code.mkdir()
    (code / "plane.py").write_text(PLANE)
    (code / "pricing.py").write_text(PRICING)
    services = {spec.name: spec for spec in (plane(), meshed("pricing", replicas=SIDECARS))}
    spec = LabSpec("10_sidecars", code, "ten sidecars", 1, False, services, {}, {})
    lab = Lab(spec, code, folder / "runs")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COURSE_WORK", str(folder / "work"))
        try:
            lab.start()
            return [one_round(lab) for _ in range(ROUNDS + 1)][1:]
        finally:
            lab.close()


def one_round(lab: Lab) -> Start:
    """Launch all sidecars at once; the control plane and the applications run."""
    lab.kill("pricing_sidecar")
    began = time.perf_counter()
    lab.launch("pricing_sidecar")
    seconds = time.perf_counter() - began
    pids = lab["pricing_sidecar"].pids
    assert len(pids) == SIDECARS
    return Start(seconds, private_bytes(*pids))


def test_ten_sidecars_start_together(starts: list[Start], record_property: Record) -> None:
    """Ten Envoys have their configuration from the control plane and are ready within a second."""
    seconds = [start.seconds for start in starts]
    keep(record_property, "ten sidecars to ready", median(seconds), START_SECONDS, "s", seconds)


def test_private_memory_of_ten_sidecars(starts: list[Start], record_property: Record) -> None:
    """Ten Envoys hold 200 MB that would be free again without them."""
    megabytes = [start.private / MEBIBYTE for start in starts]
    figure = "private memory of ten sidecars"
    keep(record_property, figure, median(megabytes), PRIVATE_MEGABYTES, "MB", megabytes)


def keep(record: Record, figure: str, value: float, limit: float, unit: str, rounds: list[float]) -> None:
    """Record the median, print the rounds, hold the limit."""
    table(figure, {"ten Envoys": rounds}, unit)
    for name, said in {"figure": figure, "value": value, "limit": limit, "unit": unit}.items():
        record(name, said)
    assert value <= limit
