"""A population answers the same whether it was kept or folded, and however it was fed."""

from __future__ import annotations

import itertools
import math

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from faultload_analysis.latency.blocks import FEWEST_BLOCKS, MOST_BLOCKS
from faultload_analysis.latency.population import Population

Array = npt.NDArray[np.float64]
TARGETS = (0.05, 0.1)
QUICK = settings(max_examples=12)


def latencies(n: int, seed: int = 0) -> Array:
    """With failures, zeros and a stretch that is slow."""
    rng = np.random.default_rng(seed)
    x = rng.lognormal(-3.0, 1.0, n)
    x[n // 3 : n // 2] *= 3.0
    x[rng.random(n) < 0.01] = math.inf
    x[rng.random(n) < 0.001] = 0.0
    return x


def fed(x: Array, cuts: list[int], *, keep: int, targets: tuple[float, ...] = TARGETS) -> Population:
    population = Population(targets=targets, keep=keep)
    for part in np.split(x, sorted(cuts)):
        population.add(part)
    return population


def test_few_values_are_kept_and_every_answer_is_exact() -> None:
    x = latencies(5000)
    population = fed(x, [17, 17, 900], keep=5000)
    assert population.exact
    assert (population.values == x).all()
    assert (population.sorted_values() == np.sort(x)).all()
    assert population.order_statistic(4321) == np.sort(x)[4320]
    ok = x[np.isfinite(x)]
    assert (population.n, population.n_failed) == (x.size, x.size - ok.size)
    assert (population.minimum, population.maximum) == (0.0, math.inf)
    assert population.mean == ok.mean() and population.variance == ok.var(ddof=1)
    assert population.count_above(0.07) == np.count_nonzero(x > 0.07)
    above, size = population.counts_above(0.07, 7)
    edges = np.arange(8) * 5000 // 7
    assert size.tolist() == np.diff(edges).tolist()
    assert above.tolist() == [np.count_nonzero(x[a:b] > 0.07) for a, b in itertools.pairwise(edges)]
    sums, _ = population.sums(7)
    assert sums == pytest.approx([x[a:b][np.isfinite(x[a:b])].sum() for a, b in itertools.pairwise(edges)])


@QUICK
@given(st.integers(1001, 5000), st.integers(0, 1000), st.integers(0, 5))
def test_folded_and_kept_agree_within_a_thousandth_and_exactly_at_targets(n: int, keep: int, seed: int) -> None:
    x = latencies(n, seed)
    kept, folded = Population(x, targets=TARGETS), Population(x, targets=TARGETS, keep=keep)
    assert kept.exact and not folded.exact
    assert (folded.n, folded.n_failed) == (kept.n, kept.n_failed)
    assert (folded.minimum, folded.maximum) == (kept.minimum, kept.maximum)
    seen = np.array([folded.order_statistic(r) for r in range(1, n + 1)])
    true = kept.sorted_values()
    finite = np.isfinite(true)
    assert (np.abs(seen[finite] - true[finite]) <= true[finite] / 1024).all()
    assert np.isinf(seen[~finite]).all()
    for target in TARGETS:
        assert ((seen <= target) == (true <= target)).all()
        assert folded.count_above(target) == kept.count_above(target) == np.count_nonzero(x > target)
    assert folded.mean == pytest.approx(kept.mean, rel=1e-12)
    assert folded.variance == pytest.approx(kept.variance, rel=1e-9)


@QUICK
@given(st.lists(st.integers(0, 8000), max_size=12), st.sampled_from([0, 700, 3000]))
def test_how_the_values_are_cut_into_chunks_does_not_matter(cuts: list[int], keep: int) -> None:
    x = latencies(8000)
    a, b = fed(x, cuts, keep=keep), fed(x, [], keep=keep)
    for level in (0.0, 0.03, 0.05, 0.1, 0.2):
        for mine, other in zip(a.counts_above(level, 20), b.counts_above(level, 20), strict=True):
            assert mine.tolist() == other.tolist()
    assert [a.order_statistic(r) for r in range(1, 8001, 97)] == [b.order_statistic(r) for r in range(1, 8001, 97)]
    assert a.sums(20)[0] == pytest.approx(b.sums(20)[0], rel=1e-12)


@pytest.mark.parametrize("n", [1001, 1024, 1025, 2049, 50_000, 131_073])
@pytest.mark.parametrize("keep", [0, 1000])
def test_there_are_512_to_1024_blocks_of_one_size_but_the_last(n: int, keep: int) -> None:
    population = Population(latencies(n), keep=keep)
    blocks = population._folded()
    assert blocks is not None
    sizes = np.diff(blocks.ends, prepend=0)
    assert FEWEST_BLOCKS <= sizes.size <= MOST_BLOCKS
    assert sizes.sum() == n
    assert set(sizes[:-1].tolist()) == {blocks.size} and sizes[-1] <= blocks.size


@pytest.mark.parametrize("batches", [1, 2, 20, 40, 128])
def test_batches_of_a_folded_population_are_stretches_of_the_values_with_their_true_sizes(batches: int) -> None:
    x = latencies(30_011)
    population = Population(x, targets=TARGETS, keep=1000)
    above, size = population.counts_above(0.05, batches)
    sums, same = population.sums(batches)
    failed, _ = population.failures(batches)
    edges = np.concatenate(([0], np.cumsum(size)))
    assert edges[-1] == x.size and (size == same).all()
    assert np.abs(edges - np.arange(batches + 1) * x.size // batches).max() <= 32  # half a block of 64
    parts = [x[a:b] for a, b in itertools.pairwise(edges)]
    assert above.tolist() == [np.count_nonzero(p > 0.05) for p in parts]
    assert failed.tolist() == [np.count_nonzero(np.isinf(p)) for p in parts]
    assert sums == pytest.approx([p[np.isfinite(p)].sum() for p in parts], rel=1e-12)


def test_counts_of_batches_add_up_to_the_count_of_all_at_any_level() -> None:
    population = Population(latencies(20_000), targets=TARGETS, keep=1000)
    levels = [population.order_statistic(r) for r in (1, 50, 10_000, 19_700, 20_000)]
    for level in (*levels, *TARGETS, -1.0, 0.0, 0.0501, 0.0999, 1e9, math.inf):
        assert population.counts_above(level, 20)[0].sum() == population.count_above(level)


@QUICK
@given(
    st.integers(0, 6000), st.integers(0, 6000), st.sampled_from([600, 3000, 50_000]), st.sampled_from([600, 50_000])
)
def test_one_population_then_another_is_both_in_time_order(m: int, n: int, keep: int, keep_later: int) -> None:
    x, y = latencies(m, 1), latencies(n, 2)
    first, second = Population(x, targets=TARGETS, keep=keep), Population(y, targets=TARGETS, keep=keep_later)
    joined = first.then(second)
    both = np.concatenate((x, y))
    assert (joined.n, first.n, second.n) == (m + n, m, n)
    assert joined.exact == (first.exact and second.exact and m + n <= max(keep, keep_later))
    assert joined.count_above(0.05) == np.count_nonzero(both > 0.05)
    assert joined.n_failed == np.count_nonzero(np.isinf(both))
    above, size = joined.counts_above(0.05, 3)
    edges = np.concatenate(([0], np.cumsum(size)))
    assert above.tolist() == [np.count_nonzero(both[a:b] > 0.05) for a, b in itertools.pairwise(edges)]
    joined.add([0.2] * 3000)
    assert joined.count_above(0.1) == np.count_nonzero(both > 0.1) + 3000
    assert (first.n, second.n) == (m, n)
    if m:
        assert first.count_above(0.05) == np.count_nonzero(x > 0.05)


def test_an_array_is_kept_whole_and_a_population_passes_through() -> None:
    x = latencies(3000)
    population = Population.of(x)
    assert population.exact and population.values is x
    assert Population.of(population) is population
    assert Population.of([1, 2, 3]).order_statistic(2) == 2.0


def test_chunks_may_be_overwritten_by_their_owner_after_they_were_added() -> None:
    buffer = np.array([1.0, 2.0])
    population = Population(keep=10)
    population.add(buffer)
    buffer[:] = 9.0
    population.add(buffer)
    assert population.values.tolist() == [1.0, 2.0, 9.0, 9.0]
    assert population.maximum == 9.0


def test_small_chunks_are_seen_whether_or_not_they_were_folded_yet() -> None:
    x = latencies(200_000)
    population = Population(targets=TARGETS, keep=1000)
    for part in np.array_split(x, 400):
        population.add(part)
    whole = Population(x, targets=TARGETS, keep=1000)
    assert population.n == whole.n == x.size
    assert population.count_above(0.05) == np.count_nonzero(x > 0.05)
    assert population.counts_above(0.08, 20)[0].tolist() == whole.counts_above(0.08, 20)[0].tolist()
    assert population.order_statistic(150_000) == whole.order_statistic(150_000)
    assert population.variance == pytest.approx(whole.variance, rel=1e-9)


def test_answers_follow_values_that_are_added_after_they_were_asked_for() -> None:
    for keep in (0, 100):
        population = Population([1.0, 2.0], keep=keep)
        assert (population.order_statistic(2), population.n_failed) == (2.0, 0)
        population.add([math.inf])
        assert (population.order_statistic(3), population.n_failed, population.maximum) == (math.inf, 1, math.inf)


@pytest.mark.parametrize("keep", [0, 10_000])
def test_binary_values_are_known_as_such(keep: int) -> None:
    ones = (np.random.default_rng(1).random(5000) < 0.3).astype(float)
    binary = Population(ones, keep=keep)
    assert binary.is_binary
    assert binary.mean == pytest.approx(ones.mean())
    assert binary.count_above(0.5) == ones.sum()
    for other in ([0.5], [1.001], [1.0 - 1e-9], [-1.0], [math.inf], [5e-324]):
        assert not Population(np.concatenate((ones, other)), keep=keep).is_binary
    assert Population([0.0], keep=keep).is_binary and Population([1.0], keep=keep).is_binary
    assert not Population([1.0005], keep=keep).is_binary
    assert not Population(keep=keep).is_binary


@pytest.mark.parametrize("keep", [0, 100])
def test_failures_alone_have_no_mean(keep: int) -> None:
    population = Population([math.inf] * 5, targets=[1.0], keep=keep)
    assert (population.n_failed, population.minimum, population.order_statistic(1)) == (5, math.inf, math.inf)
    assert population.mean is None and population.variance is None
    assert population.count_above(1.0) == 5
    assert population.sums(2)[0].tolist() == [0.0, 0.0]


def test_the_histogram_of_a_population_holds_all_of_it() -> None:
    x = latencies(4000)
    kept, folded = Population(x, targets=TARGETS).histogram(), Population(x, targets=TARGETS, keep=0).histogram()
    assert all((a == b).all() for a, b in zip(kept.bins(), folded.bins(), strict=True))
    assert kept.count_above(0.05) == folded.count_above(0.05)


def test_folded_values_are_gone_and_asking_for_them_says_so() -> None:
    population = Population(latencies(100), keep=10)
    with pytest.raises(ValueError, match="folded"):
        population.sorted_values()


@pytest.mark.parametrize("keep", [0, 100])
def test_what_has_no_answer_is_refused(keep: int) -> None:
    population = Population([1.0, 2.0], keep=keep)
    for bad in (0, 3):
        with pytest.raises(ValueError, match="no order statistic"):
            population.order_statistic(bad)
    for batches in (0, 129):
        with pytest.raises(ValueError, match="batches"):
            population.counts_above(1.0, batches)
    for call in (population.count_above, lambda level: population.counts_above(level, 1)):
        with pytest.raises(ValueError, match="not a number"):
            call(math.nan)
    for bad_values in ([math.nan], [-math.inf], [[1.0]]):
        with pytest.raises(ValueError, match="values"):
            population.add(bad_values)
    assert population.n == 2
    with pytest.raises(ValueError, match="other targets"):
        population.then(Population(targets=[1.0]))
    with pytest.raises(ValueError, match="empty"):
        _ = Population(keep=keep).minimum
    with pytest.raises(ValueError, match="keep"):
        Population(keep=-1)


def test_an_empty_population_counts_nothing() -> None:
    empty = Population()
    assert (empty.n, empty.n_failed, empty.count_above(1.0), empty.mean) == (0, 0, 0, None)
    assert empty.counts_above(1.0, 3)[1].tolist() == [0, 0, 0]


def test_the_mean_excess_is_over_finite_values_above_a_level_kept_or_folded() -> None:
    values = np.append(np.random.default_rng(3).lognormal(0, 1, 5000), [np.inf, np.inf])
    for level in (0.0, 1.0, 5.0):
        above = values[(values > level) & np.isfinite(values)]
        assert Population(values).mean_excess(level) == pytest.approx(above.mean() - level)
        assert Population(values, keep=100).mean_excess(level) == pytest.approx(above.mean() - level, rel=0.02)
    assert Population([1.0, np.inf]).mean_excess(2.0) is None
    assert Population().mean_excess(0.0) is None
