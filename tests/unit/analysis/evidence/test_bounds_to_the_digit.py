"""The bounds of fixed samples, to the digit.

How often bounds are wrong is measured by `benchmarks/coverage.py` for the constants of docs/calibration.md. Whoever
changes one of them, or a step of the recipe, sees it here within a second, measures again and writes new figures.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest

from faultload_analysis.latency.quantiles import mean_estimate, quantile_estimate

Array = npt.NDArray[np.float64]


def mixed(n: int, neighbours: int = 1) -> Array:
    """The n scores of an exponential with mean 1, in an order without pattern but that neighbours stay together."""
    scores = -np.log1p(-(np.arange(n) + 0.5) / n)
    blocks = np.array_split(scores, n // neighbours)
    order = np.argsort(np.modf(np.arange(len(blocks)) * (math.sqrt(5) - 1) / 2)[0])
    return np.concatenate([blocks[at] for at in order])


@pytest.mark.parametrize(
    ("n", "neighbours", "p", "low", "high", "by"),
    [
        (60, 1, 0.95, 2.2225423853205095, 9.841924900222768, "tail beyond P90"),
        (60, 1, 0.99, 3.1780538303479466, 25.896599113605895, "tail beyond P90"),
        (100, 1, 0.5, 0.5361434317502806, 0.9288695140810151, "50 autocorrelated batch means)"),
        (100, 1, 0.99, 3.3524072174927224, 16.220549879914692, "tail beyond P90"),
        (400, 1, 0.99, 3.851398383611712, 6.684611727667948, "64 autocorrelated batch means)"),
        (400, 5, 0.5, 0.53828246999903, 0.9131706045379114, "64 autocorrelated batch means)"),
        (400, 5, 0.95, 2.3151638752009056, 8.484270825956237, "tail beyond P90"),
        (400, 5, 0.99, 3.3887748616635998, 21.993537124975393, "tail beyond P90"),
        (3000, 1, 0.99, 4.330066895743171, 5.035953102080553, "64 autocorrelated batch means)"),
        (3000, 20, 0.95, 2.515365857272709, 4.145637856609649, "64 autocorrelated batch means)"),
        (3000, 20, 0.99, 3.6306105459899616, 14.279075930151556, "tail beyond P90"),
        (3000, 20, 1, 8.699514748210301, None, "64 autocorrelated batch means)"),
        (3000, 100, 0.99, 2.3279029009783354, 86.23758541545901, "tail beyond P50"),
        (3000, 100, 0.95, 1.647659125254298, None, "64 autocorrelated batch means)"),
    ],
)
def test_the_bounds_of_a_quantile(
    n: int, neighbours: int, p: float, low: float, high: float | None, by: str
) -> None:
    found = quantile_estimate(mixed(n, neighbours), p)
    assert found.low == pytest.approx(low, rel=1e-9)
    assert found.high == (None if high is None else pytest.approx(high, rel=1e-9))
    assert found.method.endswith(by)


@pytest.mark.parametrize(
    ("n", "neighbours", "low", "high", "n_eff"),
    [
        (30, 1, 0.07172755725631541, 1.9052601233183477, 5.0),
        (30, 6, -0.45061932791881887, 2.4276070084934824, 2.029071612140291),
        (100, 1, 0.8659576092853674, 1.1881338016038128, 100.0),
        (400, 1, 0.9515930991225501, 1.0614842291985225, 400.0),
        (400, 5, 0.8465870756739367, 1.7648514692593873, 133.87376440779698),
        (400, 20, -4.442244654511864, 6.4405123073936075, 11.640885780135044),
        (3000, 20, 0.900373778861075, 1.1663172844117988, 316.8882893219919),
        (3000, 100, 0.6629577461080045, 2.6199635893735276, 28.439972280081264),
    ],
)
def test_the_bounds_of_a_mean(n: int, neighbours: int, low: float, high: float, n_eff: float) -> None:
    found = mean_estimate(mixed(n, neighbours))
    assert (found.low, found.high, found.n_eff) == pytest.approx((low, high, n_eff), rel=1e-7)


@pytest.mark.parametrize(
    ("n", "neighbours", "low", "high"),
    [(400, 1, 0.48910853698926965, 0.5112228321480621), (400, 5, 0.4600663640022048, 0.5412757958393503)],
)
def test_the_bounds_of_a_mean_without_a_long_tail(n: int, neighbours: int, low: float, high: float) -> None:
    found = mean_estimate(np.exp(-mixed(n, neighbours)))
    assert (found.low, found.high) == pytest.approx((low, high), rel=1e-7)
