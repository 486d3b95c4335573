"""Quantiles, means, shares, rates, slopes and ratios: edges and honesty."""

from __future__ import annotations

import math
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from faultload_analysis.compare.builds import ratio_estimate
from faultload_analysis.evidence.dependence import (
    batch_counts,
    batch_means,
    inflation_of,
    largest_passing,
    measured,
    more_to_decide,
    share_bounds,
    smallest_failing,
)
from faultload_analysis.latency.histogram import Histogram
from faultload_analysis.latency.population import Population
from faultload_analysis.latency.quantiles import (
    mean_estimate,
    quantile,
    quantile_estimate,
    samples_needed_quantile,
    summary,
    variance_inflation,
)
from faultload_analysis.latency.rank import rank
from faultload_analysis.latency.throughput import rate_estimate
from faultload_analysis.latency.trend import slope_estimate
from faultload_analysis.slo.availability import (
    burn_alerts,
    burn_rate_estimate,
    error_budget,
    largest_unseen_outage,
    more_needed,
    proportion_estimate,
)

RNG = np.random.default_rng(20)
values = st.lists(st.floats(0, 1e9) | st.just(math.inf), min_size=1, max_size=300)


@settings(max_examples=150)
@given(values, st.integers(1, 1000))
def test_quantile_is_numpys_inverted_cdf(xs: list[float], thousandths: int) -> None:
    exact = Fraction(thousandths, 1000)
    at = -(-len(xs) * thousandths // 1000)
    assert quantile(xs, exact) == sorted(xs)[at - 1]
    if all(map(math.isfinite, xs)) and len(xs) * thousandths % 1000:  # numpy's rank is a float's off the integers
        assert quantile(xs, exact) == np.quantile(xs, thousandths / 1000, method="inverted_cdf")


@settings(max_examples=60)
@given(values, st.sampled_from([0.5, 0.9, 0.99]))
def test_bounds_enclose_the_quantile(xs: list[float], p: float) -> None:
    e = quantile_estimate(xs, p, target=1.0)
    assert e.value is not None
    assert e.low is None or e.low <= e.value
    assert e.high is None or e.high >= e.value
    assert e.n == len(xs)
    assert (e.n_eff is None and e.high is None) if len(xs) < 60 else 0 < e.n_eff <= e.n  # type: ignore[operator]


def test_a_float_p_means_the_decimal_it_prints_as() -> None:
    assert rank(100, 0.07) == rank(100, Decimal("0.07")) == rank(100, Fraction(7, 100)) == 7
    assert rank(1000, np.float64(0.999)) == 999


@pytest.mark.parametrize("p", [0.0, -0.1, 1.1])
def test_a_quantile_outside_of_its_range_is_refused(p: float) -> None:
    with pytest.raises(ValueError, match="lies in"):
        quantile([1.0], p)


def test_nothing_and_nan_are_refused_or_say_nothing() -> None:
    with pytest.raises(ValueError, match="no samples"):
        quantile([], 0.5)
    for function in (lambda x: quantile(x, 0.5), lambda x: quantile_estimate(x, 0.5), mean_estimate, summary):
        with pytest.raises(ValueError, match="NaN"):
            function([1.0, math.nan])
    assert quantile_estimate([], 0.99).value is None
    assert mean_estimate([]).value is None
    assert proportion_estimate([]).value is None
    assert summary([]).p99 is None


def test_one_sample_proves_nothing() -> None:
    e = quantile_estimate([0.001], 0.5, target=1.0)
    assert (e.value, e.low, e.high) == (0.001, None, None)


def test_all_failed_is_an_infinite_quantile_that_fails() -> None:
    e = quantile_estimate(np.full(1000, np.inf), 0.99, target=0.5)
    assert (e.value, e.low) == (math.inf, math.inf)
    assert mean_estimate(np.full(10, np.inf)).low == math.inf


def test_two_percent_failed_move_p99_to_infinity_but_not_p95() -> None:
    x = RNG.exponential(0.02, 50_000)
    x[RNG.random(x.size) < 0.02] = np.inf
    p99, p95 = quantile_estimate(x, 0.99, target=0.5), quantile_estimate(x, 0.95, target=0.5)
    assert p99.value == math.inf and p99.low == math.inf
    assert p95.high is not None and p95.high < 0.5


def test_from_fewer_than_60_no_quantile_passes_and_what_is_needed_is_said() -> None:
    for p, needed in ((0.5, 60), (0.95, 60), (0.99, 299), (0.999, 2995)):
        e = quantile_estimate(np.full(59, 0.01), p, target=0.5)
        assert (e.high, e.n_eff) == (None, None)
        assert e.why.endswith(f"at least {needed} are needed")


def test_from_fewer_than_60_a_quantile_fails_only_where_any_dependence_would_make_it_fail() -> None:
    """The 50 requests all in one jam: a share q of such runs is slow altogether, and no other."""
    slow = np.where(np.arange(50) < 10, 2.0, 0.1)
    assert quantile_estimate(slow, 0.99, target=1.0).low == 2.0  # 10 of 50: at most 0.01 x 50 / 10 = 5 % of runs
    assert quantile_estimate(slow[1:], 0.99, target=1.0).low == 0.1
    assert quantile_estimate(np.full(50, 2.0), 0.95, target=1.0).low == 2.0
    assert quantile_estimate(np.full(50, 2.0), 0.9, target=1.0).low is None


def test_an_undecided_quantile_says_how_much_more_load() -> None:
    e = quantile_estimate(RNG.exponential(0.05, 300), 0.99, target=0.4)
    assert e.high is None or e.high > 0.4
    assert "more requests like these" in e.why


def test_millions_of_samples_are_bounded_closely() -> None:
    e = quantile_estimate(np.random.default_rng(1).exponential(0.05, 3_000_000), 0.99, target=0.5)
    assert e.low is not None and e.high is not None
    assert e.low < 0.05 * math.log(100) < e.high
    assert e.high - e.low < 0.002


def test_independent_series_are_hardly_inflated_and_bursts_much() -> None:
    independent = RNG.random(20_000) < 0.02
    burst = np.zeros(20_000, dtype=bool)
    burst[5000:5400] = True
    assert 1.0 <= variance_inflation(independent) < 4
    assert variance_inflation(burst) > 300
    assert variance_inflation(np.zeros(100, dtype=bool)) == 1.0
    with pytest.raises(ValueError, match="too few"):
        variance_inflation(np.ones(30, dtype=bool))


def test_dependence_that_outlasts_the_batches_is_still_seen() -> None:
    """Exceedances of an AR(1) with relaxation time 200 in 64 batches of 78: their variance alone says 60."""
    noise = np.random.default_rng(12).normal(size=5000)
    z = np.zeros(5000)
    for i in range(1, 5000):
        z[i] = 0.995 * z[i - 1] + noise[i]
    events, sizes = batch_counts(z > np.quantile(z, 0.8), 64)
    share = events.sum() / sizes.sum()
    by_variance = float(np.var(events / sizes, ddof=1)) * 5000 / 64 / (share * (1 - share))
    found = measured(events, sizes)
    assert found is not None
    assert found.inflation > 2 * by_variance


def test_dependence_is_not_read_from_nothing_nor_from_too_few_batches() -> None:
    sizes = np.full(64, 10)
    assert measured(np.zeros(64, dtype=np.int64), sizes) is None
    assert measured(sizes, sizes) is None
    assert measured(np.arange(9), np.full(9, 10)) is None
    even = measured(np.full(64, 3), sizes)
    assert even is not None and even.inflation == 1.0


@settings(max_examples=60)
@given(st.lists(st.integers(0, 20), min_size=64, max_size=64), st.floats(0.001, 0.6))
def test_a_bound_that_may_pass_is_never_surer_than_what_was_measured(events: list[int], share: float) -> None:
    kinds = [measured(np.array(events), np.full(64, 20))]
    found = inflation_of(1280, share, kinds)
    assert 1.0 <= found.seen <= found.failing <= found.passing


@settings(max_examples=80)
@given(st.integers(1, 3000), st.floats(0.001, 0.5), st.floats(1.0, 300.0))
def test_counts_that_pass_or_fail_are_those_of_the_bounds(n: int, allowed: float, inflation: float) -> None:
    most, least = (
        largest_passing(n, allowed, inflation=inflation),
        smallest_failing(n, allowed, inflation=inflation),
    )
    if most is not None:
        assert share_bounds(most, n, inflation=inflation)[1] <= allowed * (1 + 1e-9)
    if most is not None and most + 1 < n:
        assert share_bounds(most + 1, n, inflation=inflation)[1] > allowed * (1 - 1e-9)
    if least is not None:
        assert share_bounds(least, n, inflation=inflation)[0] > allowed * (1 - 1e-9)
        assert least == 1 or share_bounds(least - 1, n, inflation=inflation)[0] <= allowed * (1 + 1e-9)


@settings(max_examples=40)
@given(st.integers(0, 400), st.integers(20, 4000), st.floats(0.001, 0.3))
def test_the_load_that_would_decide_decides(k: int, n: int, allowed: float) -> None:
    more = more_to_decide(min(k, n), n, allowed)
    if more is not None:
        low, high = share_bounds(min(k, n) / n * (n + more), n + more)
        assert more == 1 or high <= allowed * 1.01 or low > allowed * 0.99


def test_what_cannot_be_a_share_is_refused() -> None:
    for k, n, inflation in ((2, 1, 1.0), (-1, 5, 1.0), (0, 0, 1.0), (1, 5, 0.5)):
        with pytest.raises(ValueError, match="not a share"):
            share_bounds(k, n, inflation=inflation)


def test_clustered_failures_widen_availability_and_clean_runs_are_exact() -> None:
    scattered = np.zeros(60_000, dtype=bool)
    scattered[RNG.choice(60_000, 60, replace=False)] = True
    clustered = np.arange(60_000) < 60
    a, b = proportion_estimate(scattered, slo=0.995), proportion_estimate(clustered, slo=0.995)
    assert a.value == b.value == pytest.approx(0.999)
    assert a.low is not None and b.low is not None and b.low < a.low
    clean = proportion_estimate(np.zeros(2995, dtype=bool))
    assert clean.low is not None and clean.low >= 0.999 > proportion_estimate(np.zeros(2994, dtype=bool)).low  # type: ignore[operator]
    assert clean.n_eff == 2995


def test_one_outage_fails_the_run_but_says_little_of_the_long_run() -> None:
    bad = np.zeros(60_000, dtype=bool)
    bad[30_000:31_000] = True
    long_run, run = proportion_estimate(bad), proportion_estimate(bad, of_run=True)
    assert long_run.high is not None and long_run.high > 0.999
    assert run.high is not None and 0.983 < run.high < 0.985
    assert long_run.low is not None and long_run.low < 0.95
    assert run.low is not None and 0.982 < run.low < run.value  # type: ignore[operator]
    assert (run.n_eff, run.missed) == (60_000, 1000)


def test_bursty_failures_at_the_slo_rarely_pass() -> None:
    """An on-off failure process whose long-run bad share is exactly the 1 % allowed."""
    rng = np.random.default_rng(4)
    passed = 0
    for _ in range(100):
        # bursts of 50 requests on average, one per 5000
        bad = np.zeros(200_000, dtype=bool)
        starts = np.flatnonzero(rng.random(bad.size) < 1 / 5000)
        for at, length in zip(starts, rng.geometric(1 / 50, starts.size), strict=True):
            bad[at : at + length] = True
        low = proportion_estimate(bad).low
        passed += low is not None and low >= 0.99
    assert passed <= 11


def test_more_needed_is_what_the_table_leaves() -> None:
    assert more_needed(1000, 0, 0.999) == 1995
    assert more_needed(4742, 1, 0.999) == 0
    assert more_needed(3000, 1, 0.999) == 1742
    more = more_to_decide(6, 2000, 0.005)
    assert more is not None
    size = 2000 + more
    _, high = share_bounds(6 / 2000 * size, size)
    assert high <= 0.005 < share_bounds(6, 2000)[1]


def test_an_unseen_outage_is_named() -> None:
    outage = largest_unseen_outage(6000, 600, 0.999)
    assert outage.rarer_than_s == pytest.approx(600 / math.log(20))
    assert outage.breaks_slo_from_s == pytest.approx(0.6 / math.log(20))
    assert "could have gone unseen" in outage.sentence


def test_budgets_and_burn_rates_have_bounds_and_need_data() -> None:
    bad = np.arange(20_000) % 1000 == 0
    budget = error_budget((np.linspace(0, 600, bad.size), bad), 0.999, 30 * 86400, 600)
    assert budget.burn_rate == pytest.approx(1.0)
    assert budget.estimate.low is not None and budget.estimate.high is not None
    assert budget.estimate.low < 600 / (30 * 86400) < budget.estimate.high
    assert burn_rate_estimate(bad, 0.999).value == pytest.approx(1.0)
    assert error_budget((np.array([]), np.array([])), 0.999, 1, 1).consumed is None
    assert burn_rate_estimate([], 0.999).value is None
    with pytest.raises(ValueError, match="event-based"):
        error_budget(np.ones(3), 0.999, 1, 1, 100)
    with pytest.raises(ValueError, match="between 0 and 1"):
        proportion_estimate([True], slo=1.0)
        error_budget(np.ones(3), 1.0, 1, 1)


def test_alerts_need_both_windows_and_end() -> None:
    times = np.arange(0, 2000, 0.1)
    bad = (times >= 100) & (times < 200)
    alerts = burn_alerts(times, bad, 0.999)
    assert [a.factor for a in alerts] == [14.4]  # 6 x over 6 h takes 129.6 s of outage
    first = alerts[0]
    assert first.end_s is not None and first.end_s == pytest.approx(200 + 300 - 4.3, abs=1.5)
    assert burn_alerts(times, np.zeros(times.size, dtype=bool), 0.999) == []
    assert burn_alerts([], [], 0.999) == []


def test_the_mean_is_not_sure_of_what_never_varied() -> None:
    hits = mean_estimate(np.ones(100))
    assert hits.value == 1.0 and hits.low == pytest.approx(0.05 ** (1 / 100)) and hits.high == 1.0
    few = mean_estimate(np.full(10, 7.0))
    assert (few.value, few.low, few.high) == (7.0, None, None)
    assert mean_estimate([3.0]).low is None


def test_the_mean_of_a_queue_at_its_target_rarely_passes() -> None:
    rng, passed = np.random.default_rng(9), 0
    for _ in range(60):
        service, gaps = rng.exponential(1.0, 20_000), rng.exponential(1.25, 20_000)
        walk = np.concatenate(([0.0], np.cumsum(service[:-1] - gaps[1:])))
        high = mean_estimate((walk - np.minimum.accumulate(walk) + service)[5000:]).high
        passed += high is not None and high <= 5.0  # M/M/1, mu = 1, lambda = 0.8: 1 / (mu - lambda)
    assert passed <= 8  # binomial(60, .05) exceeds 8 with probability .002


def test_the_mean_of_dependent_values_has_wide_bounds() -> None:
    noise = np.random.default_rng(8).normal(size=20_000)
    walk = np.convolve(noise, np.full(200, 200**-0.5), mode="same")
    free, bound = mean_estimate(noise), mean_estimate(walk)
    assert free.n_eff is not None and bound.n_eff is not None
    assert bound.n_eff < free.n_eff / 20
    assert bound.low is not None and bound.high is not None and bound.low < 0 < bound.high


def test_the_mean_of_a_trend_is_not_bounded_and_says_why() -> None:
    """Batches worth 64 (1 - 0.95)/(1 + 0.95) = 1.64 are to be worth 16: 9.75 times as many."""
    e = mean_estimate(np.arange(5000.0))
    assert (e.value, e.low, e.high) == (2499.5, None, None)
    assert "depend on each other" in e.why and e.why.endswith("about 48750 are needed")


@pytest.mark.parametrize("jam", [40, 50])
def test_a_mean_of_a_few_long_jams_is_open(jam: int) -> None:
    e = mean_estimate(np.where(np.arange(400) % (2 * jam) < jam, 8.0, 0.01))
    assert (e.low, e.high) == (None, None)


def test_a_skewed_mean_is_less_sure_of_its_long_tail() -> None:
    x = np.random.default_rng(13).lognormal(0.0, 2.0, 3000)
    e, mirrored = mean_estimate(x), mean_estimate(-x)
    assert e.value is not None and e.low is not None and e.high is not None
    assert e.high - e.value > 1.3 * (e.value - e.low)
    assert (mirrored.low, mirrored.high) == pytest.approx((-e.high, -e.low))


def test_batch_means_without_skewness_are_student_t() -> None:
    """No autocorrelation, no skewness: t x sd / sqrt(B), widened by exp(0.3 e), e^2 = 6/B."""
    sums = np.array([1.0, -1.0] * 8)
    found = batch_means(sums, np.ones(16, dtype=np.int64))
    assert found is not None
    assert found.error == pytest.approx(math.sqrt(16 / 15 / 16))
    assert (found.skewness, found.worth) == (0.0, 16.0)
    below, above = found.margins(0.95)
    assert below == pytest.approx(above)
    t = stats.t.ppf(0.95, 2 / found.error_of_variance**2)
    assert below == pytest.approx(t * found.error * math.exp(0.3 * found.error_of_variance))
    assert batch_means(np.ones(16), np.ones(16, dtype=np.int64)) is None


def test_a_population_answers_like_its_values_also_at_the_edges() -> None:
    assert quantile_estimate(Population(), 0.99).value is None
    assert mean_estimate(Population()).value is None
    assert proportion_estimate(Population()).value is None
    assert summary(Population()).max is None
    one = Population([0.2])
    assert (quantile_estimate(one, 0.5).low, mean_estimate(one).low, summary(one).p99) == (None, None, 0.2)
    failed = Population(np.full(200, np.inf))
    assert (quantile_estimate(failed, 0.5).low, proportion_estimate(failed).value) == (math.inf, 0.0)
    assert (summary(failed).ok_p50, summary(failed).mean, summary(failed).n_failed) == (None, None, 200)
    some = [0.1, 0.3, math.inf, 0.2]
    assert summary(some) == summary(Population(some))
    assert summary(Histogram(some)).n_failed == 1
    with pytest.raises(ValueError, match="-inf"):
        quantile_estimate([-math.inf, 1.0], 0.5)


def test_a_rate_is_bounded_and_a_short_phase_is_cut_finer() -> None:
    times = np.sort(RNG.uniform(0, 60, 6000))
    e = rate_estimate(times, start_s=0, end_s=60)
    assert e.value == pytest.approx(100) and e.n == 60
    assert e.low is not None and 90 < e.low < 100
    short = rate_estimate(times, start_s=0, end_s=15)
    assert short.n == 60 and short.low is not None and 80 < short.low < 100
    silent = rate_estimate([], start_s=0, end_s=60)
    assert (silent.value, silent.low, silent.high) == (0.0, 0.0, pytest.approx(-math.log(0.05) / 60))
    assert rate_estimate(times, start_s=0, end_s=0.5).value is None


def test_a_slope_is_found_under_noise_and_not_claimed_without() -> None:
    t = np.arange(600.0)
    rng = np.random.default_rng(2)
    leak = slope_estimate(t, 1e6 + 500 * t + rng.normal(0, 3e4, 600), min_points=30, min_duration_s=60)
    assert leak.low is not None and leak.high is not None and leak.low < 500 < leak.high and leak.low > 300
    flat = slope_estimate(t, 1e6 + rng.normal(0, 3e4, 600), min_points=30, min_duration_s=60)
    assert flat.low is not None and flat.high is not None and flat.low < 0 < flat.high
    short = slope_estimate(t[:20], t[:20], min_points=30, min_duration_s=60)
    assert short.value is None and "too short to say" in short.why
    assert slope_estimate([], [], min_points=1, min_duration_s=0).value is None


def test_a_random_walk_is_rarely_called_a_slope() -> None:
    rng = np.random.default_rng(6)
    t, claimed = np.arange(300.0), 0
    for _ in range(60):
        residual = np.zeros(300)
        for i, step in enumerate(rng.normal(size=299)):
            residual[i + 1] = 0.9 * residual[i] + step
        e = slope_estimate(t, residual, min_points=30, min_duration_s=60)
        claimed += e.low is not None and (e.low > 0 or (e.high or 0) < 0)
    assert claimed <= 14  # two one-sided 5 % bounds: 6 expected, 14 with probability .003


def test_a_ratio_is_bounded_and_repeatable() -> None:
    rng = np.random.default_rng(3)
    a, b = rng.exponential(0.3, 3000), rng.exponential(0.01, 3000)
    first = ratio_estimate(a, b, lambda x: float(np.median(x)))
    assert first.low is not None and first.high is not None and first.low < 30 < first.high
    assert first == ratio_estimate(a, b, lambda x: float(np.median(x)))
    assert ratio_estimate(a[:10], b, lambda x: float(np.median(x))).low is None
    assert ratio_estimate(a, np.zeros(100), lambda x: float(np.median(x))).value is None
    assert ratio_estimate([], b, lambda x: float(np.median(x))).value is None


# -- what a change of unit or of zero must not change


@pytest.mark.parametrize("n", [100, 400, 3000])
@pytest.mark.parametrize("p", [0.5, 0.95, 0.99])
def test_a_latency_in_another_unit_or_from_another_zero_has_the_same_bounds_there(n: int, p: float) -> None:
    """However short the run, the tail beyond P90 included."""
    x = np.random.default_rng(n).exponential(1.0, n)
    plain = quantile_estimate(x, p)
    moved, scaled = quantile_estimate(x + 5.0, p), quantile_estimate(x * 1000.0, p)
    assert plain.low is not None
    assert (moved.value, moved.low) == pytest.approx((plain.value + 5, plain.low + 5))
    assert scaled.low == pytest.approx(plain.low * 1000)
    if n == 100 and p > 0.5:
        assert plain.high is moved.high is scaled.high is None
        return
    assert plain.high is not None
    assert (moved.high, scaled.high) == pytest.approx((plain.high + 5, plain.high * 1000))
    assert plain.low <= plain.value <= plain.high


@pytest.mark.parametrize("n", [60, 400, 3000])
def test_a_mean_in_another_unit_or_from_another_zero_has_the_same_bounds_there(n: int) -> None:
    x = np.random.default_rng(n).exponential(1.0, n)
    plain, moved, scaled = mean_estimate(x), mean_estimate(x - x.mean()), mean_estimate(x * 0.001)
    assert plain.low is not None and plain.high is not None and moved.low is not None
    assert moved.value == pytest.approx(0.0, abs=1e-12)
    assert (moved.low, moved.high) == pytest.approx((plain.low - x.mean(), plain.high - x.mean()))
    assert (scaled.low, scaled.high) == pytest.approx((plain.low / 1000, plain.high / 1000))
    assert moved.n_eff == pytest.approx(plain.n_eff)
    assert scaled.n_eff == pytest.approx(plain.n_eff)


@pytest.mark.parametrize("n", [60, 3000])
def test_a_mean_of_nothing_is_nothing(n: int) -> None:
    """Values that add up to exactly zero."""
    half = np.random.default_rng(n).exponential(1.0, n // 2).round(3)
    values = np.stack((half, -half), axis=1).ravel()
    e = mean_estimate(values)
    assert e.value == 0.0
    assert e.low is not None and e.high is not None
    assert e.low < 0 < e.high


def test_independent_observations_are_worth_about_as_many_as_they_are() -> None:
    for scale in (0.01, 1.0, 50.0):
        e = mean_estimate(np.random.default_rng(4).normal(5 * scale, scale, 4000))
        assert e.n_eff == pytest.approx(4000, rel=0.5)


def test_the_mean_of_few_observations_is_open_however_much_they_vary() -> None:
    for few in ([2.0] * 59, [1.0, 3.0] * 29, [7.0]):
        e = mean_estimate(few)
        assert (e.value, e.low, e.high, e.n_eff) == (np.mean(few), None, None, None)
        assert e.why.endswith("at least 60 are needed")
    enough = mean_estimate([1.0, 3.0] * 30)  # batches of two that are all alike
    assert enough.low is not None and enough.high is not None
    assert enough.low < 2.0 < enough.high


def test_a_mean_stays_on_the_side_of_zero_on_which_all_values_are() -> None:
    """Jams of 28 requests: 6 standard deviations would reach from -20 to 28 s."""
    x = np.where(np.arange(400) % 56 < 28, 8.0, 0.01)
    up, down = mean_estimate(x), mean_estimate(-x)
    assert up.low == 0.0 and up.high is not None and up.high > 8.0
    assert down.high == 0.0 and down.low == pytest.approx(-up.high)


@pytest.mark.parametrize("value", [0.1, 0.01, 0.3, 123.456, -0.7, 1e-7, 3e9])
@pytest.mark.parametrize("keep", [0, 10_000])
def test_observations_that_do_not_vary_are_that_value_however_their_sum_is_rounded(value: float, keep: int) -> None:
    """The mean of a hundred times 0.1 is not 0.1 in floats, and what it is off by is no dependence."""
    for n in (60, 100, 6000):
        e = mean_estimate(Population(np.full(n, value), keep=keep))
        assert (e.value, e.low, e.high, e.n_eff, e.why) == (value, value, value, n, "")
    for n in (4, 59):
        e = mean_estimate(Population(np.full(n, value), keep=keep))
        assert (e.value, e.low, e.high) == (value, None, None)


@pytest.mark.parametrize(("p", "confidence", "needed"), [("0.1", 0.9, 1), ("0.1", 0.9999, 4), ("0.01", 0.9999, 2)])
def test_as_many_samples_are_needed_as_it_takes_and_not_one_more(p: str, confidence: float, needed: int) -> None:
    """1 - p^n reaches the confidence exactly, where the logarithms of floats would round it away."""
    assert samples_needed_quantile(Fraction(p), confidence) == needed
