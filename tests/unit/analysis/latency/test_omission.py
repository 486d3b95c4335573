"""The correction for coordinated omission adds what it says, says that it did, and is not done twice."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from faultload_analysis.latency import omission
from faultload_analysis.latency.histogram import Histogram
from faultload_analysis.latency.omission import correct_omission, corrected_chunks
from faultload_analysis.latency.population import Population


def one_by_one(values: list[int], interval: int) -> list[float]:
    """HdrHistogram's loop: record v; then v - I, v - 2I, ... while at least I."""
    made: list[float] = []
    for value in values:
        made.append(float(value))
        missing = value - interval
        while missing >= interval:
            made.append(float(missing))
            missing -= interval
    return made


@settings(max_examples=100)
@given(st.lists(st.integers(0, 400), max_size=40), st.integers(1, 50))
def test_each_stall_is_followed_by_the_requests_that_it_held_up(values: list[int], interval: int) -> None:
    expected = one_by_one(values, interval)
    corrected = correct_omission(values, interval=interval)
    assert corrected.values.values.tolist() == expected
    assert corrected.added == len(expected) - len(values)


@settings(max_examples=50)
@given(st.lists(st.integers(0, 400), max_size=40), st.integers(1, 50), st.integers(1, 9))
def test_chunks_are_small_and_together_the_same(values: list[int], interval: int, chunk: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(omission, "CHUNK", chunk)
        patch.setattr("faultload_analysis.latency.histogram.PIECE", chunk)
        chunks = list(corrected_chunks(values, interval=interval))
    assert all(0 < c.size <= chunk for c in chunks)
    assert [x for c in chunks for x in c.tolist()] == one_by_one(values, interval)


def test_the_result_is_flagged_and_carries_its_caution() -> None:
    corrected = correct_omission([0.5, 0.01], interval=0.1, targets=[0.25])
    assert corrected.corrected is True
    assert corrected.interval == 0.1
    for word in ("one closed-loop user", "over-corrects", "invented"):
        assert word in corrected.caution
    assert corrected.values.targets == (0.25,)
    assert corrected.values.count_above(0.25) == 3


def test_multiples_of_a_decimal_interval_are_not_lost_to_rounding() -> None:
    assert correct_omission([0.3], interval=0.1).values.values == pytest.approx([0.3, 0.2, 0.1])
    assert correct_omission([0.7], interval=0.1).added == 6
    assert correct_omission([0.29], interval=0.1).added == 1
    assert correct_omission([0.19, 0.1, 0.05], interval=0.1).added == 0


def test_values_are_not_corrected_twice() -> None:
    corrected = correct_omission([0.5], interval=0.1)
    for again in (corrected, corrected.values):
        with pytest.raises(ValueError, match="already"):
            correct_omission(again, interval=0.1)


def test_a_kept_population_can_be_corrected_and_a_folded_one_cannot() -> None:
    assert correct_omission(Population([0.5]), interval=0.1).added == 4
    with pytest.raises(ValueError, match="folded"):
        correct_omission(Population([0.5, 0.1], keep=1), interval=0.1)


def test_failed_requests_stay_single() -> None:
    corrected = correct_omission([math.inf, 0.2, math.inf], interval=0.1)
    assert corrected.values.values.tolist() == [math.inf, 0.2, 0.1, math.inf]
    assert "failed requests are not corrected" in corrected.caution


def test_a_long_stall_goes_into_blocks_without_being_materialised() -> None:
    corrected = correct_omission([0.001] * 1000 + [3000.0], interval=0.001, keep=10_000)
    assert corrected.added == 2_999_999
    assert not corrected.values.exact
    assert corrected.values.order_statistic(1000 + 1_500_000) == pytest.approx(1500.0, rel=1e-3)


@pytest.mark.parametrize("value", [1e6, 1e300])
def test_an_interval_in_the_wrong_unit_is_refused(value: float) -> None:
    with pytest.raises(ValueError, match="unit"):
        correct_omission([value], interval=1e-3)
    with pytest.raises(ValueError, match="more than 10"):
        correct_omission([1.2], interval=0.1, most=10)


def test_nothing_stays_nothing() -> None:
    assert correct_omission([], interval=1.0).values.n == 0
    assert list(corrected_chunks([], interval=1.0)) == []


@pytest.mark.parametrize("interval", [0.0, -1.0, math.nan, math.inf])
def test_an_interval_is_a_positive_number(interval: float) -> None:
    with pytest.raises(ValueError, match="positive"):
        correct_omission([1.0], interval=interval)


@pytest.mark.parametrize(("values", "message"), [([math.nan], "NaN"), ([-math.inf], "-inf"), ([[1.0]], "one-dim")])
def test_what_is_no_latency_is_refused(values: list[float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        correct_omission(values, interval=1.0)


def test_histograms_fill_from_chunks() -> None:
    histogram = Histogram()
    for chunk in corrected_chunks(np.array([0.5, 0.2]), interval=0.1):
        histogram.add(chunk)
    assert histogram.n == 7
