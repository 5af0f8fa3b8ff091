"""What is made of measured calls: ratios to the first way, within each round, and percentiles."""

from __future__ import annotations

import pytest

from lab_services.measuring import Costs, Round, WayCosts


def way(name: str, beside: int, rates: list[int], factor: float) -> WayCosts:
    """Return a way whose calls take `factor` times 1 to 100 ms; a round takes a second."""
    times = tuple(factor * number for number in range(1, 101))
    rounds = tuple(Round(rate, 1.0, rate * 200e-6, rate * beside * 150e-6) for rate in rates)
    return WayCosts(name, beside, 30.0, 16.0 * beside, times, (10.0 + factor,), rounds)


COSTS = Costs((way("none", 0, [1000, 100, 2000], 1.0), way("both", 2, [500, 60, 400], 3.0)))


def test_ratios_are_to_the_first_way() -> None:
    """Percentiles of all calls; the rate within each round, of which the middle one counts: 0.5, 0.6 and 0.2."""
    assert COSTS.latency(50) == COSTS.latency(99) == {"none": 1.0, "both": 3.0}
    assert COSTS.rate() == {"none": 1.0, "both": 0.5}
    assert COSTS.waiting() == {"none": 1.0, "both": 13 / 11}
    assert COSTS.processor() == {"none": 1.0, "both": pytest.approx(2.5)}


def test_percentiles_are_of_calls_that_took_place() -> None:
    """Of a hundred calls that took 1 to 100 ms the median is the 51st, and one call took longer than nearly all."""
    assert (COSTS.ways[0].p_ms(50), COSTS.ways[0].p_ms(90), COSTS.ways[0].p_ms(99)) == (51.0, 91.0, 100.0)


def test_processor_time_is_that_of_a_call() -> None:
    """All rounds together, the application apart from what stands beside it."""
    assert COSTS.ways[1].app_us() == pytest.approx(200) and COSTS.ways[1].beside_us() == pytest.approx(300)
    assert COSTS.ways[1].per_second() == 400
