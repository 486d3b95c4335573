"""Statements of a run alone: exact bounds that ignore dependence, not sample size, and what a PASS needs."""

from __future__ import annotations

from faultload_analysis.evidence.dependence import largest_passing, share_bounds
from faultload_analysis.evidence.inputs import checked_confidence
from faultload_analysis.evidence.verdict import Estimate, no_data

METHOD = "exact binomial, of this run"


def share_of_run(missed: int, n: int, *, confidence: float = 0.95) -> Estimate:
    """The share of n observations that missed, with the plain bounds of Clopper and Pearson on n as it is.

    They are conservative for observations that miss independently given the state the system was in, however that
    state changed over the run (Hoeffding 1956, Poisson binomial): a burst is part of the run, not a single event.
    No observations: value None. ValueError unless 0 <= missed <= n.
    """
    if n == 0:
        return no_data("no requests to judge")
    low, high = share_bounds(missed, n, confidence=checked_confidence(confidence))
    return Estimate(missed / n, low, high, n, float(n), METHOD, missed=missed)


def observations_needed(missed: int, allowed: float, *, confidence: float = 0.95) -> int:
    """The fewest observations with `missed` misses among them that pass a share `allowed` of misses.

    The smallest n with P(Bin(n, allowed) <= missed) <= 1 - confidence. None missed: 59 for 5 %, 299 for 1 %, 2995
    for 0.1 %. ValueError unless missed >= 0 and allowed lies between 0 and 1.
    """
    if missed < 0 or not 0.0 < allowed < 1.0:
        raise ValueError(f"no number of observations allows {missed} misses at a share of {allowed}")
    checked_confidence(confidence)

    def passes(n: int) -> bool:
        most = largest_passing(n, allowed, confidence=confidence)
        return most is not None and most >= missed

    low, high = missed, missed + 1
    while not passes(high):
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if passes(middle) else (middle, high)
    return high
