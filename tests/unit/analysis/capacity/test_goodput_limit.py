"""Goodput that grows, meets a limit or falls is told apart, and noise is called none of them."""

from __future__ import annotations

import numpy as np
import pytest
from repeats import most, rounds

from faultload_analysis.capacity.limit import Growth, Limit, bound_confidence, goodput_limit
from faultload_analysis.evidence.distributions import t_quantile
from faultload_analysis.evidence.verdict import Estimate, no_data

RATES = (100.0, 200.0, 250.0, 300.0, 340.0, 390.0)


def measured(goodput: list[float], seed: int = 0, noise: float = 0.1) -> list[Estimate]:
    """Each goodput from 60 seconds of noise in proportion, with the bounds that steps have."""
    rng, found = np.random.default_rng(seed), []
    for true in goodput:
        seconds = true * (1.0 + noise * rng.standard_normal(60))
        half = t_quantile(bound_confidence(len(goodput)), 59) * float(seconds.std(ddof=1)) / 60**0.5
        middle = float(seconds.mean())
        found.append(Estimate(middle, middle - half, middle + half, 60, None, "t"))
    return found


def told(goodput: list[float], seed: int = 0) -> Limit:
    return goodput_limit(RATES, measured(goodput, seed), unit="/s")


def test_a_throttle_is_a_limit() -> None:
    found = told([min(rate, 200.0) for rate in RATES])
    assert (found.state, found.load) == (Growth.LIMITED, 200.0)
    assert found.per_s == pytest.approx(200.0, rel=0.02)
    assert found.low_per_s is not None and found.high_per_s is not None
    assert found.low_per_s < 200.0 < found.high_per_s
    assert "a limit: goodput stays at about" in found.why and "from 200/s to 390/s" in found.why


def test_goodput_that_falls_beyond_its_peak_is_retrograde() -> None:
    found = told([100.0, 200.0, 250.0, 220.0, 190.0, 150.0])
    assert (found.state, found.load) == (Growth.FALLS, 250.0)
    assert found.per_s == pytest.approx(250.0, rel=0.05)
    assert found.why.startswith("retrograde: goodput falls from 2") and "at 390/s" in found.why


def test_goodput_that_falls_and_comes_back_is_no_limit() -> None:
    assert told([100.0, 200.0, 250.0, 150.0, 190.0, 270.0]).state is Growth.UNDECIDED
    assert told([100.0, 200.0, 250.0, 150.0, 190.0, 230.0]).state is Growth.FALLS, "not to where it was"


def test_goodput_that_keeps_up_has_no_limit() -> None:
    found = goodput_limit(RATES, measured(list(RATES), noise=0.03), unit="/s")
    assert (found.state, found.per_s) == (Growth.GROWS, None)
    assert found.why == "goodput grows with the load up to 390/s: no limit was reached"


def test_what_keeps_up_is_called_limited_or_retrograde_in_5_percent_at_most() -> None:
    repeats = rounds(400)
    wrong = sum(told(list(RATES), seed).state in (Growth.LIMITED, Growth.FALLS) for seed in range(repeats))
    assert wrong <= most(repeats, 0.05, chance=0.01)


def test_a_plateau_is_called_retrograde_in_5_percent_at_most() -> None:
    repeats = rounds(400)
    states = [told([min(rate, 200.0) for rate in RATES], seed).state for seed in range(repeats)]
    assert states.count(Growth.FALLS) <= most(repeats, 0.05, chance=0.01)
    assert states.count(Growth.LIMITED) >= 0.9 * repeats


def test_bounds_that_are_open_decide_nothing() -> None:
    open_ended = [Estimate(min(rate, 200.0), None, None, 3, None, "none") for rate in RATES]
    found = goodput_limit(RATES, open_ended, unit="/s")
    assert (found.state, found.why) == (Growth.UNDECIDED, "how goodput grows up to 390/s cannot be told")


def test_too_few_steps_say_so() -> None:
    for goodput in ([], measured([100.0]), [no_data("none"), *measured([100.0])]):
        found = goodput_limit(RATES[: len(goodput)], goodput, unit="/s")
        assert (found.state, found.why) == (Growth.UNDECIDED, "too few steps to tell how goodput grows")


def test_loads_and_goodputs_must_belong_together() -> None:
    with pytest.raises(ValueError):
        goodput_limit(RATES, measured([100.0]), unit="/s")
