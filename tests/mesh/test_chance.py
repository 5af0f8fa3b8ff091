"""The bounds of chance are those of the binomial distribution."""

from __future__ import annotations

from math import comb

import pytest

from lab_services.mesh.chance import binomial_bounds


@pytest.mark.parametrize(("calls", "share"), [(10, 0.5), (200, 0.1), (200, 0.9), (60, 1 / 3)])
def test_the_bounds_leave_out_just_less_than_the_false_alarm(calls: int, share: float) -> None:
    """What lies outside on either side is as likely as half of the rate at most, and one step further is not."""
    low, high = binomial_bounds(calls, share, 1e-3)
    chances = [comb(calls, k) * share**k * (1 - share) ** (calls - k) for k in range(calls + 1)]
    assert sum(chances[:low]) <= 5e-4 < sum(chances[: low + 1])
    assert sum(chances[high + 1 :]) <= 5e-4 < sum(chances[high:])


def test_nothing_and_everything_leave_no_room() -> None:
    """A share of 0 or 1 is no matter of chance; one beyond them is a mistake."""
    assert binomial_bounds(50, 0) == (0, 0) and binomial_bounds(50, 1) == (50, 50)
    with pytest.raises(ValueError, match="between 0 and 1"):
        binomial_bounds(50, 10)
