"""The histogram keeps its error bound everywhere, counts targets exactly, and merges as if it were one."""

from __future__ import annotations

import math
import sys
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from faultload_analysis.latency.histogram import Histogram, key, representatives
from faultload_analysis.latency.rank import rank

ANY = st.floats(allow_nan=False).filter(lambda x: x != -math.inf)
LATENCY = st.floats(1e-6, 1e3) | st.just(math.inf)
ANYTHING = st.lists(ANY, max_size=60) | st.lists(LATENCY, max_size=60)
SOME = st.lists(ANY, min_size=1, max_size=60) | st.lists(LATENCY, min_size=1, max_size=60)
TARGETS = st.lists(st.floats(allow_nan=False, allow_infinity=False), max_size=3)
QUICK = settings(max_examples=100)
pytestmark = pytest.mark.filterwarnings("ignore:overflow encountered in reduce")  # sums near the largest float


def within_bound(seen: float, true: float) -> bool:
    """In exact arithmetic, because near the ends of the floats a quotient is not."""
    if math.isinf(true) or math.isinf(seen):
        return seen == true
    return abs(Fraction(seen) - Fraction(true)) <= abs(Fraction(true)) / 1024


def same(a: Histogram, b: Histogram) -> None:
    assert (a.n, a.n_failed, a.targets) == (b.n, b.n_failed, b.targets)
    assert all((x == y).all() for x, y in zip(a.bins(), b.bins(), strict=True))
    assert [a.count_above(t) for t in a.targets] == [b.count_above(t) for t in b.targets]
    if a.n:
        assert (a.minimum, a.maximum) == (b.minimum, b.maximum)
        assert [a.order_statistic(r) for r in range(1, a.n + 1)] == [
            b.order_statistic(r) for r in range(1, b.n + 1)
        ]


@QUICK
@given(ANYTHING, ANYTHING, ANYTHING, TARGETS)
def test_merge_is_associative_commutative_and_the_same_as_adding(
    xs: list[float], ys: list[float], zs: list[float], targets: list[float]
) -> None:
    x, y, z = (Histogram(v, targets=targets) for v in (xs, ys, zs))
    together = Histogram(xs + ys + zs, targets=targets)
    same(x.merge(y).merge(z), together)
    same(x.merge(y.merge(z)), together)
    same(z.merge(x).merge(y), together)
    added = Histogram(xs, targets=targets)
    added.add(ys)
    added.add(zs)
    same(added, together)


def test_merge_leaves_both_as_they_were() -> None:
    a, b = Histogram([1.0, 2.0], targets=[1.5]), Histogram([3.0], targets=[1.5])
    a.merge(b).add([7.0, 8.0])
    assert (a.n, a.maximum, a.count_above(1.5), b.n, b.maximum) == (2, 2.0, 1, 1, 3.0)


@QUICK
@given(SOME, st.integers(1, 1000), TARGETS)
@example([5e-324, 1e-320, 3e-318, 2.2e-308], 500, [])
@example([512 * 5e-324, 513 * 5e-324, 1023 * 5e-324], 500, [])
@example([sys.float_info.max, -sys.float_info.max, 0.0, -0.0], 700, [0.0])
def test_every_quantile_is_within_a_thousandth_of_numpys_inverted_cdf(
    xs: list[float], thousandths: int, targets: list[float]
) -> None:
    seen = Histogram(xs, targets=targets).quantile(Fraction(thousandths, 1000))
    true = sorted(xs)[rank(len(xs), Fraction(thousandths, 1000)) - 1]
    assert within_bound(seen, true)
    if all(map(math.isfinite, xs)) and len(xs) * thousandths % 1000:  # numpy's rank is a float's off the integers
        assert within_bound(seen, float(np.quantile(xs, thousandths / 1000, method="inverted_cdf")))


def test_the_error_comes_close_to_its_bound_but_not_over_it() -> None:
    x = np.geomspace(1e-3, 100.0, 200_001)
    seen = np.array([Histogram(x).order_statistic(r) for r in (1, 2, x.size)])
    assert seen[0] == x[0] and seen[2] == x[-1]
    values, counts = Histogram(x).bins()
    error = np.abs(np.repeat(values, counts) / x - 1.0)
    assert 0.0009 < error.max() <= 1 / 1025 + 1e-12


@QUICK
@given(SOME, TARGETS, st.data())
def test_counts_above_targets_are_exact_and_order_statistics_on_the_right_side_of_them(
    xs: list[float], targets: list[float], data: st.DataObject
) -> None:
    targets = [*targets, data.draw(st.sampled_from(xs).filter(math.isfinite) | st.just(0.0))]
    histogram = Histogram(xs, targets=targets)
    for target in targets:
        assert histogram.count_above(target) == sum(x > target for x in xs)
        for r, x in enumerate(sorted(xs), start=1):
            assert (histogram.order_statistic(r) <= target) == (x <= target)


@QUICK
@given(SOME, TARGETS)
def test_order_statistics_ascend_and_counts_above_them_agree_with_their_ranks(
    xs: list[float], targets: list[float]
) -> None:
    histogram = Histogram(xs, targets=targets)
    seen = [histogram.order_statistic(r) for r in range(1, len(xs) + 1)]
    assert seen == sorted(seen)
    ordered = [x for x in sorted(xs) if x < math.inf]
    last = len(ordered) - 1
    stands = list(seen)  # the extremes are exact, but count as what stands for them when they share a bin
    for end, neighbour in ((0, 1), (last, last - 1)) if last > 0 else ():
        low, high = sorted((ordered[end], ordered[neighbour]))
        if key(low) == key(high) and not any(low <= t < high for t in targets):
            stands[end] = seen[neighbour]
    for value in seen[1:last]:
        assert histogram.count_above(value) == sum(x > value for x in stands)


def test_a_level_inside_a_bin_counts_each_value_as_what_stands_for_it() -> None:
    low, high = 1.0 + 1 / 4096, 1.0 + 1 / 1024  # one bin, and the target between them
    histogram = Histogram([0.5, low, low, high, 2.0], targets=[1.0 + 1 / 2048])
    middle = float(representatives(np.array([52 + 1023]))[0, 0])
    assert 1.0 + 1 / 2048 < middle < high
    assert histogram.order_statistic(3) == 1.0 + 1 / 2048
    assert histogram.order_statistic(4) == middle
    levels = [0.4, 0.9, low, 1.0 + 1 / 2048, 1.0006, middle, high, 1.5, 2.0, math.inf]
    assert [histogram.count_above(x) for x in levels] == [5, 4, 4, 2, 2, 1, 1, 1, 0, 0]


def test_zero_failures_and_the_extremes_are_exact() -> None:
    histogram = Histogram([0.0, 0.0, -0.0, 0.123456789, math.inf, 7.654321])
    assert [histogram.order_statistic(r) for r in (1, 2, 3, 5, 6)] == [0.0, 0.0, 0.0, 7.654321, math.inf]
    assert (histogram.minimum, histogram.maximum, histogram.n_failed) == (0.0, math.inf, 1)
    assert histogram.count_above(0.0) == 3
    assert histogram.mean == pytest.approx((0.123456789 + 7.654321) / 5)


def test_memory_grows_with_the_octaves_in_use_only() -> None:
    histogram = Histogram([1e-300, 0.0, -1e-5, 1.0, 1e300])
    assert histogram._counts.shape == (5, 512)


def test_failures_alone_have_infinite_order_statistics_and_no_mean() -> None:
    histogram = Histogram([math.inf, math.inf], targets=[1.0])
    assert (histogram.minimum, histogram.maximum, histogram.quantile(0.5)) == (math.inf,) * 3
    assert histogram.mean is None
    assert [histogram.count_above(x) for x in (0.0, 1.0, 5.0, math.inf)] == [2, 2, 2, 0]


def test_large_input_is_counted_in_pieces_and_agrees_with_numpy() -> None:
    x = np.random.default_rng(3).lognormal(-3.0, 1.0, 700_001)
    x[::1000] = math.inf
    histogram = Histogram(x, targets=[0.05])
    ordered = np.sort(x)
    for p in (0.001, 0.5, 0.9, 0.99, 0.9989):
        assert histogram.quantile(p) == pytest.approx(ordered[rank(x.size, p) - 1], rel=1 / 1024)
    assert histogram.count_above(0.05) == np.count_nonzero(x > 0.05)
    assert histogram.mean == pytest.approx(x[np.isfinite(x)].mean(), rel=1e-12)


def test_what_cannot_be_counted_is_refused() -> None:
    for bad, message in (([math.nan], "NaN"), ([-math.inf], "-inf"), ([[1.0]], "one-dimensional")):
        with pytest.raises(ValueError, match=message):
            Histogram(bad)
    with pytest.raises(ValueError, match="finite"):
        Histogram(targets=[math.inf])
    with pytest.raises(ValueError, match="do not merge"):
        Histogram(targets=[1.0]).merge(Histogram(targets=[2.0]))


def test_an_empty_histogram_has_no_quantile() -> None:
    empty = Histogram(targets=[1.0])
    assert (empty.n, empty.count_above(1.0), empty.count_above(0.5), empty.mean) == (0, 0, 0, None)
    with pytest.raises(ValueError, match="no samples"):
        empty.quantile(0.5)
    with pytest.raises(ValueError, match="empty"):
        _ = empty.minimum
    for bad in (0, 1):
        with pytest.raises(ValueError, match="no order statistic"):
            empty.order_statistic(bad)
    with pytest.raises(ValueError, match="not a number"):
        empty.count_above(math.nan)
