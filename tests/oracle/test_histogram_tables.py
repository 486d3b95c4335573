"""Coordinated omission and quantiles of histograms against HdrHistogram's published example."""

from __future__ import annotations

import numpy as np
import pytest

from faultload_analysis.histogram import Histogram
from faultload_analysis.latency import quantile
from faultload_analysis.omission import correct_omission, corrected_chunks

# HdrHistogram, HistogramDataAccessTest.java: 10,000 values of 1,000 us, then one of 100,000,000 us, expected
# interval 10,000 us. Its assertions allow 0.1 % (and 0.01 % of the percentage for percentiles).
RAW = np.array([1000.0] * 10_000 + [100_000_000.0])
INTERVAL = 10_000.0
RAW_QUANTILES = [(0.30, 1000), (0.99, 1000), (0.9999, 1000), (0.99999, 1e8), (1.0, 1e8)]
CORRECTED_QUANTILES = [
    (0.30, 1000),
    (0.50, 1000),
    (0.75, 5e7),
    (0.90, 8e7),
    (0.99, 9.8e7),
    (0.99999, 1e8),
    (1.0, 1e8),
]


@pytest.mark.parametrize(("p", "value"), RAW_QUANTILES)
def test_raw_quantiles(p: float, value: float) -> None:
    assert quantile(RAW, p) == value
    assert Histogram(RAW).quantile(p) == pytest.approx(value, rel=1e-3)


@pytest.mark.parametrize(("p", "value"), CORRECTED_QUANTILES)
def test_corrected_quantiles(p: float, value: float) -> None:
    exact = correct_omission(RAW, interval=INTERVAL).values
    assert quantile(exact.values, p) == pytest.approx(value, rel=1e-3)
    folded = correct_omission(RAW, interval=INTERVAL, keep=1000).values
    assert not folded.exact
    assert folded.histogram().quantile(p) == pytest.approx(value, rel=1e-3)
    filled = Histogram()
    for chunk in corrected_chunks(RAW, interval=INTERVAL):
        filled.add(chunk)
    assert filled.quantile(p) == pytest.approx(value, rel=1e-3)


def test_counts_and_means() -> None:
    """Mean (10000 * 1000 + 1e8) / 10001 raw; (1000 + 50,005,000) / 2 corrected, where half stands still."""
    corrected = correct_omission(RAW, interval=INTERVAL)
    folded = correct_omission(RAW, interval=INTERVAL, keep=1000)
    assert (RAW.size, corrected.values.n, folded.values.n) == (10_001, 20_000, 20_000)
    assert corrected.added == folded.added == 9_999
    assert Histogram(RAW).mean == pytest.approx(10_998.9, rel=1e-3)
    for population in (corrected.values, folded.values):
        assert population.mean == pytest.approx(25_000_500, rel=1e-3)
        assert population.histogram().mean == pytest.approx(25_000_500, rel=1e-3)


def test_shares_below_a_value() -> None:
    """getPercentileAtOrBelowValue: 99.99 % of the raw values lie at or below 5,000 us, 50 % of the corrected
    (75 % at or below 50,000,000 us)."""
    raw, corrected = Histogram(RAW), correct_omission(RAW, interval=INTERVAL, keep=1000).values
    assert 1 - raw.count_above(5000.0) / raw.n == pytest.approx(0.9999, abs=1e-4)
    assert 1 - corrected.count_above(5000.0) / corrected.n == pytest.approx(0.5, abs=1e-4)
    assert 1 - corrected.count_above(5e7) / corrected.n == pytest.approx(0.75, abs=1e-3)
