"""Coordinated omission and quantiles of histograms against HdrHistogram's published example."""

from __future__ import annotations

import numpy as np
import pytest

from faultload_analysis.latency.histogram import Histogram
from faultload_analysis.latency.omission import correct_omission, corrected_chunks
from faultload_analysis.latency.population import Population
from faultload_analysis.latency.quantiles import quantile

# HdrHistogram, HistogramDataAccessTest.java: 10,000 values of 1,000 us, then one of 100,000,000 us, expected
# interval 10,000 us. Its assertions allow 0.1 % of a value, and 0.0001 of a percentage.
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
    """testGetTotalCount, testGetMean: (10000 * 1000 + 1e8) / 10001 raw; (1000 + 5e7) / 2 corrected."""
    corrected = correct_omission(RAW, interval=INTERVAL)
    folded = correct_omission(RAW, interval=INTERVAL, keep=1000)
    assert (RAW.size, corrected.values.n, folded.values.n) == (10_001, 20_000, 20_000)
    assert corrected.added == folded.added == 9_999
    assert Histogram(RAW).mean == pytest.approx(10_998.9, rel=1e-3)
    for population in (corrected.values, folded.values):
        assert population.mean == pytest.approx(25_000_500, rel=1e-3)
        assert population.histogram().mean == pytest.approx(25_000_500, rel=1e-3)


def test_standard_deviations() -> None:
    """testGetStdDeviation: about those means, over 10,001 raw and 20,000 corrected values."""
    raw = np.sqrt((10_000 * (1000 - 10_998.9) ** 2 + (1e8 - 10_998.9) ** 2) / 10_001)
    held_up = np.arange(10_000.0, 100_000_001.0, 10_000.0)
    expected = np.sqrt((10_000 * (1000 - 25_000_500) ** 2 + ((held_up - 25_000_500) ** 2).sum()) / 20_000)
    for keep in (1000, 100_000):
        assert Population(RAW, keep=keep).variance == pytest.approx(raw**2, rel=2e-3)
        corrected = correct_omission(RAW, interval=INTERVAL, keep=keep).values
        assert corrected.variance == pytest.approx(expected**2, rel=2e-3)


def test_shares_at_or_below_a_value() -> None:
    """testGetPercentileAtOrBelowValue: 99.99 % of the raw values by 5 ms, 50 % of the corrected, all by 100 s."""
    raw, corrected = Histogram(RAW), correct_omission(RAW, interval=INTERVAL, keep=1000).values
    assert 100 - 100 * raw.count_above(5000.0) / raw.n == pytest.approx(99.99, abs=1e-4)
    assert 100 - 100 * corrected.count_above(5000.0) / corrected.n == pytest.approx(50.0, abs=1e-4)
    assert raw.count_above(1e8) == corrected.count_above(1e8) == 0


def test_counts_between_values() -> None:
    """testGetCountBetweenValues: between 5 ms and 150 s lie 1 raw value and 10,000 corrected ones."""
    raw, corrected = Histogram(RAW), correct_omission(RAW, interval=INTERVAL, keep=1000).values
    assert raw.count_above(5000.0) - raw.count_above(150_000_000.0) == 1
    assert corrected.count_above(5000.0) - corrected.count_above(150_000_000.0) == 10_000
