"""How far chance alone may lead away from a share: exact bounds of the binomial distribution."""

from __future__ import annotations

from math import exp, lgamma, log

FALSE_ALARM = 1e-9


def binomial_bounds(calls: int, share: float, false_alarm: float = FALSE_ALARM) -> tuple[int, int]:
    """Return the least and the most of `calls` that a right proxy sends to a cluster with this `share` (0 to 1).

    Outside of them it is, for each side, with a probability of at most half of `false_alarm`: with the default, one
    right answer in a thousand million is called wrong. Of 1,000 calls with a share of 0.1 these are 48 to 164.
    """
    if not 0 <= share <= 1:
        raise ValueError(f"a share is between 0 and 1, not {share}")
    if share in (0, 1):
        return round(calls * share), round(calls * share)
    low, below = 0, _chance(calls, share, 0)
    while below <= false_alarm / 2:
        low += 1
        below += _chance(calls, share, low)
    high, above = calls, _chance(calls, share, calls)
    while above <= false_alarm / 2:
        high -= 1
        above += _chance(calls, share, high)
    return low, high


def _chance(calls: int, share: float, hits: int) -> float:
    ways = lgamma(calls + 1) - lgamma(hits + 1) - lgamma(calls - hits + 1)
    return exp(ways + hits * log(share) + (calls - hits) * log(1 - share))
