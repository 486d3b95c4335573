"""Slices of a run that comes in chunks: the same answers, in bounded memory."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from repeats import rounds

from faultload_analysis.latency.slices import SliceBuilder
from faultload_analysis.recovery.faults import SliceRule, Slices, recover, slices

COLUMNS = ("starts", "total", "failed", "failed_share", "p50", "p99")


def built(
    times: np.ndarray, latency: np.ndarray, edges: Sequence[int], limit_s: float, **span: float
) -> tuple[Slices, list[tuple[float, float]]]:
    """Slices from the chunks between `edges`, and the stretches that were fetched later."""
    builder = SliceBuilder(span["start_s"], span["end_s"], span["width_s"], limits_s=[limit_s])
    for a, b in zip([0, *edges], [*edges, times.size], strict=True):
        builder.add(times[a:b], latency[a:b])
    fetched = []

    def fetch(a_s: float, b_s: float) -> tuple[np.ndarray, np.ndarray]:
        fetched.append((a_s, b_s))
        a, b = np.searchsorted(times, [a_s, b_s])
        return times[a:b], latency[a:b]

    return builder.finish(fetch), fetched


def assert_same(one: Slices, other: Slices, limit_s: float) -> None:
    for name in COLUMNS:
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name), err_msg=name)
    np.testing.assert_array_equal(one.over(limit_s), other.over(limit_s))


@settings(max_examples=150)
@given(
    arrivals=st.lists(st.floats(-1.0, 11.0), max_size=120),
    seed=st.integers(0, 2**16),
    cuts=st.lists(st.integers(0, 120), max_size=12),
    width=st.sampled_from([0.1, 0.3, 1.0, 2.5, 20.0]),
)
def test_chunks_of_any_size_give_the_slices_of_the_whole(
    arrivals: list[float], seed: int, cuts: list[int], width: float
) -> None:
    rng = np.random.default_rng(seed)
    times = np.sort(np.array(arrivals, dtype=np.float64))
    latency = np.where(rng.random(times.size) < 0.2, np.inf, rng.exponential(0.1, times.size))
    whole = slices(times, latency, start_s=0.0, end_s=10.0, width_s=width)
    edges = sorted(min(c, times.size) for c in cuts)
    in_chunks, _ = built(times, latency, edges, 0.1, start_s=0.0, end_s=10.0, width_s=width)
    assert_same(in_chunks, whole, 0.1)
    inside = (times >= 0) & (times < 10)
    assert whole.total.sum() == inside.sum()
    assert whole.failed.sum() == np.isinf(latency[inside]).sum()
    assert whole.over(0.1).sum() == (latency[inside] > 0.1).sum()
    for i in np.flatnonzero(whole.total):
        _, part = in_chunks.requests(float(whole.starts[i]), whole.end_of(int(i)))
        assert part.size == whole.total[i]
        assert whole.p50[i] == np.quantile(part, 0.5, method="inverted_cdf")
        assert whole.p99[i] == np.quantile(part, 0.99, method="inverted_cdf")


def test_slices_of_any_size_have_exact_quantiles() -> None:
    rng = np.random.default_rng(1)
    sizes = [1, 2, 3, 4, 5, 99, 100, 101, 255, 256, 257, 1000, 5000]
    latency = [rng.permutation(size) + 1.0 for size in sizes]
    times = [i + np.arange(size) / size for i, size in enumerate(sizes)]
    cut = slices(np.concatenate(times), np.concatenate(latency), start_s=0, end_s=len(sizes))
    assert cut.p50.tolist() == [math.ceil(size / 2) for size in sizes]
    assert cut.p99.tolist() == [-(-99 * size // 100) for size in sizes]


def random_timeline(seed: int) -> tuple[np.ndarray, np.ndarray, SliceRule, dict[str, Any]]:
    """60 s at a random rate with one or two stretches of failing, slow or dead answers."""
    rng = np.random.default_rng(seed)
    rate = float(rng.choice([1.0, 5.0, 30.0, 200.0]))
    times = np.sort(rng.uniform(0, 60, rng.poisson(rate * 60)))
    latency = rng.exponential(0.02, times.size)
    for _ in range(int(rng.integers(1, 4))):
        begin = rng.uniform(15, 50)
        hit = (
            (times >= begin)
            & (times < begin + rng.exponential(8))
            & (rng.random(times.size) < rng.choice([1, 1, 0.4, 0.1]))
        )
        latency[hit] = rng.choice([np.inf, 2.0])
    if rng.random() < 0.2:
        silent = (times > 25) & (times < 32)
        times, latency = times[~silent], latency[~silent]
    rule = SliceRule(float(rng.choice([0.0, 0.001, 0.1, 0.4])), 0.3)
    watch = {
        "injected_s": float(rng.choice([20.0, 20.37])),
        "until_s": float(rng.choice([60.0, 47.3])),
        "hold_s": float(rng.choice([3.0, 8.0])),
    }
    return times, latency, rule, watch


def test_a_recovery_is_the_same_from_chunks_and_reads_only_around_its_ends() -> None:
    recovered = 0
    for seed in range(rounds(400)):
        times, latency, rule, watch = random_timeline(seed)
        rng = np.random.default_rng(seed + 10_000)
        width = float(rng.choice([0.5, 1.0, 3.0]))
        span = {"start_s": 0.0, "end_s": 60.0, "width_s": width}
        edges = np.sort(rng.integers(0, times.size + 1, int(rng.integers(0, 40)))).tolist()
        cut, fetched = built(times, latency, edges, 0.3, **span)
        found = recover(cut, rule, **watch)
        assert found == recover(slices(times, latency, **span), rule, **watch), seed
        if found.recovered_at_s is not None and times.size > 1000 and width <= 1.0:
            recovered += 1
            assert sum(b - a for a, b in fetched) <= 20 * width, seed
        elif found.absorbed:
            assert not fetched
    assert recovered > rounds(400) // 8


def test_other_limits_than_the_built_one_are_refused() -> None:
    cut, _ = built(np.array([0.5]), np.array([0.1]), [], 0.3, start_s=0, end_s=1, width_s=1)
    assert cut.over(0.3).tolist() == [0]
    with pytest.raises(ValueError, match=r"built for limits of 0\.3 s, not for 0\.5 s"):
        cut.over(0.5)
    with pytest.raises(ValueError, match="built for no limit"):
        SliceBuilder(0, 1, 1).finish(lambda a, b: ([], [])).over(0.3)


def test_a_clock_that_goes_back_is_named() -> None:
    builder = SliceBuilder(0, 10, 1)
    builder.add([1.0, 2.0], [0.1, 0.1])
    builder.add([], [])
    with pytest.raises(ValueError, match=r"back between chunks: 1\.5.* after 2\.0"):
        builder.add([1.5, 3.0], [0.1, 0.1])
    with pytest.raises(ValueError, match=r"back within a chunk: 4\.0.* after 5\.0"):
        builder.add([5.0, 4.0], [0.1, 0.1])
    builder.add([2.0], [0.1])
    assert builder.finish(lambda a, b: ([], [])).total.tolist() == [0, 1, 2, 0, 0, 0, 0, 0, 0, 0]


def test_what_is_no_chunk_is_refused() -> None:
    builder = SliceBuilder(0, 10, 1)
    for times, latency in (([1.0], [math.nan]), ([math.nan], [1.0])):
        with pytest.raises(ValueError, match="NaN"):
            builder.add(times, latency)
    with pytest.raises(ValueError, match="one shape"):
        builder.add([1.0, 2.0], [0.1])
    with pytest.raises(ValueError, match="no slices"):
        SliceBuilder(5, 5, 1)
    with pytest.raises(ValueError, match="not a number"):
        SliceBuilder(0, 1, 1, limits_s=[math.nan])
    empty = builder.finish(lambda a, b: ([], []))
    assert not empty.total.any() and np.isnan(empty.p99).all() and np.isnan(empty.failed_share).all()


def test_what_fetch_gives_is_cut_to_what_was_asked_for() -> None:
    builder = SliceBuilder(0, 10, 1)
    more = ([3.0, 0.5, 1.5, 1.2], [4.0, 1.0, 3.0, 2.0])
    times, latency = builder.finish(lambda a, b: more).requests(1.0, 2.0)
    assert times.tolist() == [1.2, 1.5] and latency.tolist() == [2.0, 3.0]
    with pytest.raises(ValueError, match="NaN"):
        builder.finish(lambda a, b: ([1.0], [math.nan])).requests(0, 2)
