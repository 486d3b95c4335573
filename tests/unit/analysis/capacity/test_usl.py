"""Scalability curves that are known come back, and what they cannot tell is said."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from repeats import most, rounds

from faultload_analysis.capacity.usl import NAMES, PeakState, usl_fit

Array = npt.NDArray[np.float64]
LEVELS = np.array([1.0, 2, 4, 8, 12, 16, 24, 32, 48, 64])


def curve(n: Array, alpha: float, beta: float, gamma: float = 100.0) -> Array:
    return gamma * n / (1.0 + alpha * (n - 1.0) + beta * n * (n - 1.0))


def noisy(alpha: float, beta: float, seed: int, noise: float = 20.0) -> Array:
    rng = np.random.default_rng(seed)
    return np.maximum(curve(LEVELS, alpha, beta) + noise * rng.standard_normal(LEVELS.size), 1.0)


@settings(max_examples=60)
@given(st.floats(0.0, 0.9), st.floats(0.0, 0.05), st.floats(1e-3, 1e6))
def test_a_curve_without_noise_gives_its_coefficients_back(alpha: float, beta: float, gamma: float) -> None:
    fit = usl_fit(LEVELS, curve(LEVELS, alpha, beta, gamma))
    assert fit.alpha == pytest.approx(alpha, rel=1e-5, abs=1e-7)
    assert fit.beta == pytest.approx(beta, rel=1e-5, abs=1e-9)
    assert fit.gamma == pytest.approx(gamma, rel=1e-6)


def test_order_and_unit_of_throughput_do_not_matter() -> None:
    x = noisy(0.03, 2e-4, 0)
    one, other = usl_fit(LEVELS, x), usl_fit(LEVELS[::-1], x[::-1] * 3600.0)
    assert other.alpha == pytest.approx(one.alpha, rel=1e-7)
    assert other.beta == pytest.approx(one.beta, rel=1e-7)
    assert other.gamma == pytest.approx(3600.0 * one.gamma, rel=1e-8)
    assert other.se[2] == pytest.approx(3600.0 * one.se[2], rel=1e-5)


def test_repeats_at_one_concurrency_are_welcome() -> None:
    n = np.repeat(LEVELS, 3)
    fit = usl_fit(n, curve(n, 0.03, 2e-4) * (1 + 0.01 * np.random.default_rng(0).standard_normal(n.size)))
    assert (fit.df, fit.notes) == (27, ())
    assert fit.alpha == pytest.approx(0.03, rel=0.1)


def test_profile_bounds_miss_the_truth_in_about_5_percent_on_each_side() -> None:
    """Also at the bound beta = 0, where the standard error tells nothing."""
    fits = rounds(100)
    for beta in (0.0, 2e-4):
        below = above = 0
        for seed in range(fits):
            estimate = usl_fit(LEVELS, noisy(0.03, beta, seed)).estimate("beta")
            assert estimate.low is not None
            assert estimate.high is not None
            below, above = below + (estimate.high < beta), above + (estimate.low > beta)
        assert below <= most(fits, 0.05, chance=0.01)
        assert above <= most(fits, 0.05, chance=0.01)


@pytest.mark.parametrize("levels", [5, 8, 12])
def test_errors_in_proportion_to_the_throughput_are_covered_too(levels: int) -> None:
    """As noise of a real sweep is; with even errors alone beta is missed in 22 to 31 %."""
    n = np.geomspace(1.0, 64.0, levels)
    missed, repeats, truth = {"alpha": 0, "beta": 0, "gamma": 0}, rounds(80), (0.03, 1e-3, 100.0)
    for seed in range(repeats):
        noise = 1.0 + 0.03 * np.random.default_rng((levels, seed)).standard_normal(levels)
        fit = usl_fit(n, curve(n, *truth) * noise)
        for name, true in zip(NAMES, truth, strict=True):
            missed[name] += all(one.cost_of(name)(true) > one.allowed(0.95) for one in fit.fits)
    for name in NAMES:
        assert missed[name] <= most(repeats, 0.1, chance=0.005), name


def test_a_point_weighs_by_its_error() -> None:
    """One wild point, known to be so, moves nothing; unknown, it does."""
    x = curve(LEVELS, 0.03, 2e-4) * (1 + 0.002 * np.random.default_rng(3).standard_normal(LEVELS.size))
    error = 0.002 * x
    x[5], error[5] = 0.5 * x[5], 0.5 * x[5]
    known, unknown = usl_fit(LEVELS, x, error), usl_fit(LEVELS, x)
    assert known.alpha == pytest.approx(0.03, rel=0.1)
    assert abs(unknown.alpha - 0.03) > 3 * abs(known.alpha - 0.03)
    scaled = usl_fit(LEVELS, x, 1000.0 * error)
    assert scaled.alpha == pytest.approx(known.alpha, rel=1e-6), "of the errors only the ratios count"
    assert scaled.estimate("beta").high == pytest.approx(known.estimate("beta").high, rel=1e-4)


def test_the_throughput_at_the_peak_has_bounds() -> None:
    peak = usl_fit(LEVELS, noisy(0.03, 1e-3, 1)).peak()
    assert peak.throughput_per_s is not None and peak.low_per_s is not None and peak.high_per_s is not None
    assert peak.low_per_s < peak.throughput_per_s < peak.high_per_s
    assert peak.low_per_s < float(curve(np.array([math.sqrt(0.97 / 1e-3)]), 0.03, 1e-3)[0]) < peak.high_per_s


def test_where_the_curve_is_well_determined_profile_and_student_t_agree() -> None:
    n = np.repeat(LEVELS, 20)
    fit = usl_fit(n, curve(n, 0.03, 2e-4) * (1 + 0.01 * np.random.default_rng(1).standard_normal(n.size)))
    for name in NAMES:
        bounds = fit.fits[0].bounds(name, 0.95)
        assert bounds == pytest.approx(fit.interval(name, level=0.9), rel=5e-3)


def test_a_peak_within_the_tested_range_has_both_bounds() -> None:
    inside = 0
    for seed in range(25):
        peak = usl_fit(LEVELS, noisy(0.03, 1e-3, seed)).peak()
        assert peak.state is PeakState.TESTED
        assert peak.users.low is not None
        assert peak.users.high is not None
        inside += peak.users.low < math.sqrt(0.97 / 1e-3) < peak.users.high
    assert inside >= 20, "two one-sided 95 % bounds hold together in 90 %"


def test_a_peak_beyond_what_was_tested_is_called_an_extrapolation() -> None:
    peak = usl_fit(LEVELS, noisy(0.03, 1e-4, 0, noise=2.0)).peak()
    assert peak.state is PeakState.EXTRAPOLATED
    assert peak.users.value == pytest.approx(math.sqrt(0.97 / 1e-4), rel=0.1)
    assert "at most 64 users were tested" in peak.users.why


@pytest.mark.filterwarnings("error")
def test_throughput_that_only_falls_is_highest_with_one_user() -> None:
    fit = usl_fit(np.arange(1, 6), [932.8, 497.4, 201.9, 234.2, 70.3])
    peak = fit.peak()
    assert (fit.alpha, fit.beta) == (1.0, 1.0)
    assert (peak.users.value, peak.state) == (0.0, PeakState.TESTED)
    assert peak.throughput_per_s == pytest.approx(fit.gamma)
    assert "falls from 1 user on" in peak.users.why


def test_a_sweep_that_never_saturates_has_no_peak() -> None:
    for x in (noisy(0.0, 0.0, 1), noisy(0.05, 0.0, 4)):
        peak = usl_fit(LEVELS, x).peak()
        assert (peak.state, peak.users.value, peak.users.high) == (PeakState.NOT_REACHED, math.inf, None)
        assert "no peak can be told" in peak.users.why


def test_linear_growth_has_no_limit() -> None:
    fit = usl_fit(LEVELS, 10.0 * LEVELS)
    assert (fit.alpha, fit.beta, fit.limit_per_s, fit.optimal_users) == (0.0, 0.0, math.inf, math.inf)
    assert fit.efficiency(LEVELS) == pytest.approx(1.0)
    assert any("linear or better" in note for note in fit.notes)
    assert fit.peak().state is PeakState.NOT_REACHED


def test_throughput_that_never_grows_is_all_contention() -> None:
    fit = usl_fit([1, 2, 4, 8], [50.0, 50.0, 50.0, 50.0])
    assert (fit.alpha, fit.beta, fit.gamma) == (pytest.approx(1.0), 0.0, pytest.approx(50.0))
    estimate = fit.estimate("alpha")
    assert (estimate.low, estimate.high) == (None, None)
    assert "nothing tells their noise" in estimate.why


def test_few_levels_are_warned_about() -> None:
    fit = usl_fit([1, 2, 4, 8, 16], [10.0, 19, 35, 60, 90])
    assert any("only 5 levels" in note for note in fit.notes)


def test_the_band_holds_the_curve_and_widens_beyond_the_data() -> None:
    fit = usl_fit(LEVELS, noisy(0.03, 2e-4, 0))
    low, high = fit.band([16.0, 256.0])
    assert (low < fit.throughput([16.0, 256.0])).all()
    assert high[1] - low[1] > high[0] - low[0]


@pytest.mark.parametrize(
    ("n", "x", "message"),
    [
        ([1, 2, 3], [1, 2, 3], "at least 4 points"),
        ([2, 2, 2, 4], [1, 1, 1, 2], "at 2"),
        ([], [], "at least 4 points"),
        ([1, 2, 3, math.nan], [1, 2, 3, 4], "finite and above 0"),
        ([1, 2, 3, 4], [1, 2, 3, math.inf], "finite and above 0"),
        ([0, 2, 3, 4], [1, 2, 3, 4], "finite and above 0"),
        ([1, 2, 3, 4], [1, 2, 0, 4], "finite and above 0"),
        ([1, 2, 3, 4], [1, 2, 3], "one shape"),
    ],
)
def test_what_cannot_be_fitted_is_refused(n: list[float], x: list[float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        usl_fit(n, x)


@pytest.mark.parametrize(("error", "message"), [([1, 1, 1, 0], "above 0"), ([1, 1, 1], "one shape")])
def test_errors_that_are_none_are_refused(error: list[float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        usl_fit([1, 2, 3, 4], [1, 2, 3, 4], error)
