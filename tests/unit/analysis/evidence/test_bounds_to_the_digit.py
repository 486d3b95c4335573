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
        (59, 1, 0.99, 1.635190408536515, None, "Markov's inequality"),
        (60, 1, 0.5, 0.4700036292457356, 1.2909841813155656, "clusters of 3.0"),
        (60, 1, 0.95, 2.2225423853205095, None, "clusters of 10.2"),
        (100, 1, 0.5, 0.5361434317502806, 1.0642108619507773, "clusters of 2.3"),
        (100, 1, 0.99, 3.3524072174927224, None, "clusters of 3.0"),
        (400, 1, 0.99, 3.851398383611712, 10.518338363092969, "of 1.5, its margin by the tail beyond P90"),
        (400, 5, 0.5, 0.53828246999903, 0.894651556770674, "clusters of 3.5"),
        (400, 5, 0.95, 2.3151638752009056, None, "clusters of 8.9"),
        (3000, 1, 0.99, 4.330066895743171, 5.144166686720775, "clusters of 1.8"),
        (
            3000,
            1,
            0.999,
            6.134565390748663,
            24.37665876798959,
            "clusters of 1.3, its margin by the tail beyond P90",
        ),
        (3000, 20, 0.95, 2.515365857272709, 4.145637856609649, "clusters of 22.1"),
        (3000, 20, 0.99, 3.6306105459899616, 14.134584667860768, "of 22.3, its margin by the tail beyond P90"),
        (3000, 20, 1, 8.699514748210301, None, "64 autocorrelated batch means)"),
        (3000, 100, 0.95, 1.647659125254298, None, "clusters of 1451.7"),
        (20_000, 20, 0.95, 2.860764413143507, 3.154142010301632, "clusters of 7.6"),
        (20_000, 5, 0.999, 6.227186880629078, 8.987196820661639, "clusters of 5.0"),
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
        (60, 1, 0.8097751239581896, 1.3436954154448582, 60.0),
        (100, 1, 0.8659576092853674, 1.1881338016038128, 100.0),
        (400, 1, 0.9515930991225501, 1.0614842291985225, 400.0),
        (400, 5, 0.8465870756739367, 1.7648514692593873, 133.87376440779698),
        (400, 12, 0.6788268938137225, 2.6081760146644544, 30.07022353594476),
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
