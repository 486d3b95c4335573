"""Scalability curves and knees against published data and coefficients."""

from __future__ import annotations

import math

import numpy as np
import pytest

from faultload_analysis.capacity.knee import kneedle
from faultload_analysis.capacity.usl import PeakState, UslFit, usl_fit

USERS = [1, 18, 36, 72, 108, 144, 216]
SCRIPTS_PER_HOUR = [64.9, 995.9, 1652.4, 1853.2, 1828.9, 1775.0, 1702.2]
RAYTRACER = (
    [1, 4, 8, 12, 16, 20, 24, 28, 32, 48, 64],
    [20.0, 78, 130, 170, 190, 200, 210, 230, 260, 280, 310],
)
CISCO = [
    955.16, 1878.91, 2688.01, 3548.68, 4315.54, 5130.43, 5931.37, 6531.08, 7219.8, 7867.61, 8278.71, 8646.7,
    9047.84, 9426.55, 9645.37, 9897.24, 10097.6, 10240.5, 10532.39, 10798.52, 11151.43, 11518.63, 11806, 12089.37,
    12075.41, 12177.29, 12211.41, 12158.93, 12155.27, 12118.04, 12140.4, 12074.39,
]  # fmt: skip


def specsdm91() -> UslFit:
    return usl_fit(USERS, SCRIPTS_PER_HOUR)


def test_specsdm91_as_r_prints_it() -> None:
    """SPEC SDM91 on a SPARCcenter 2000, smoeding/usl: README.md and tests/summary.Rout.save."""
    fit = specsdm91()
    assert fit.alpha == pytest.approx(0.0277285, abs=5e-8)
    assert fit.beta == pytest.approx(0.0001044, abs=5e-8)
    assert fit.gamma == pytest.approx(89.9952330, abs=5e-6)
    assert fit.se == pytest.approx((0.0091217, 1.988e-05, 14.2134894), rel=3e-4)
    assert (fit.rse, fit.df) == (pytest.approx(82.846, abs=5e-4), 4)
    assert fit.notes == ()


def test_specsdm91_fitted_residuals_and_efficiency() -> None:
    """smoeding/usl: tests/fitted.Rout.save, residuals.Rout.save, efficiency.Rout.save (3 digits)."""
    fit = specsdm91()
    fitted = fit.throughput(USERS)
    assert [round(float(x)) for x in fitted] == [90, 1078, 1541, 1850, 1879, 1822, 1646]
    left = np.array(SCRIPTS_PER_HOUR) - fitted
    assert left == pytest.approx([-25.10, -81.66, 111.09, 3.05, -49.99, -46.60, 56.00], abs=5e-3)
    measured = np.array(SCRIPTS_PER_HOUR) / (np.array(USERS) * fit.gamma)
    assert measured == pytest.approx([0.7211, 0.6148, 0.5100, 0.2860, 0.1882, 0.1370, 0.0876], abs=5e-5)
    assert fit.efficiency(1.0) == pytest.approx(1.0)


def test_specsdm91_peak_limit_and_optimum() -> None:
    """cran/usl: peak 96.5196 users at 1883.9, 1/alpha 36.064, limit 3245.59."""
    fit = specsdm91()
    peak = fit.peak()
    assert peak.users.value == pytest.approx(96.5196, abs=5e-5)
    assert peak.throughput_per_s == pytest.approx(1883.9, abs=0.05)
    assert peak.state is PeakState.TESTED
    assert fit.optimal_users == pytest.approx(36.064, abs=5e-4)
    assert fit.limit_per_s == pytest.approx(3245.59, abs=5e-3)
    assert peak.users.low is not None
    assert peak.users.high is not None
    assert peak.users.low < 96.5196 < peak.users.high


def test_the_interval_is_student_t_on_n_minus_3_at_the_level_it_says() -> None:
    """t_{.975, 4} = 2.776445 (any t table) times the published standard errors."""
    fit = specsdm91()
    half = 2.776445 * 0.0091217
    assert fit.interval("alpha") == pytest.approx((0.0277285 - half, 0.0277285 + half), abs=2e-7)
    assert fit.interval("gamma") == pytest.approx((50.5322, 129.4582), abs=5e-4)


def test_r_calls_a_90_percent_interval_95_percent() -> None:
    """smoeding/usl tests/confint.Rout.save, raytracer: alpha 0.033677 to 0.081864, `2.5 %` to `97.5 %`.

    That is 1.8125 standard errors, t_{.95, 10}: 90 % on n - 1. The 95 % interval on n - 3 = 8 is wider.
    """
    fit = usl_fit(*RAYTRACER)
    assert (0.081864 - fit.alpha) / fit.se[0] == pytest.approx(1.8125, abs=5e-4)
    low, high = fit.interval("alpha")
    assert low < 0.033677
    assert high > 0.081864
    assert (high - fit.alpha) / fit.se[0] == pytest.approx(2.306, abs=5e-4)


def test_the_raytracer_has_no_peak() -> None:
    """data(raytracer) of smoeding/usl; its tests/confint.Rout.save: alpha 0.0578, beta 0.0000, gamma 21.8488."""
    fit = usl_fit(*RAYTRACER)
    assert (fit.alpha, fit.gamma) == (pytest.approx(0.0578, abs=5e-5), pytest.approx(21.8488, abs=5e-5))
    assert fit.beta == 0.0
    assert any("beta at the bound" in note for note in fit.notes)
    peak = fit.peak()
    assert (peak.state, peak.users.value, peak.users.high, peak.throughput_per_s) == (
        PeakState.NOT_REACHED, math.inf, None, None,
    )  # fmt: skip
    assert peak.users.low is not None
    assert peak.users.low > 64
    low, high = fit.fits[0].bounds("beta", 0.95)
    assert low == 0.0
    assert high is not None
    assert 0.0 < high < 2.2e-4, "the profile is tighter than the standard error, which does not know the bound"
    beta = fit.estimate("beta")
    assert beta.low == 0.0
    assert beta.high == pytest.approx(2.24e-4, rel=5e-3), "errors in proportion are as likely, and tell less"


def test_cisco_data_of_practical_scalability() -> None:
    """B. Schwartz, Practical Scalability Analysis with the USL; codahale/usl4j ModelTest: within 0.02 %."""
    fit = usl_fit(np.arange(1, 33), CISCO)
    assert fit.alpha == pytest.approx(0.02671591, rel=2e-4)
    assert fit.beta == pytest.approx(7.690945e-4, rel=2e-4)
    assert fit.gamma == pytest.approx(995.6486, rel=2e-4)
    peak = fit.peak()
    assert (math.floor(peak.users.value or 0), peak.state) == (35, PeakState.EXTRAPOLATED)
    assert float(fit.throughput(35)) == pytest.approx(12341, rel=2e-4)
    assert fit.throughput([1, 20, 35]) == pytest.approx([995.648772, 11063.633138, 12341.745621], rel=1e-6)


def test_made_data_give_their_own_coefficients_back() -> None:
    """cran/usl tests/t02.Rout.save and coef.Rout.save: alpha 0.02, beta 0.02, gamma 1.00."""
    fit = usl_fit([1, 2, 4, 6, 8, 10], [1, 1.8868, 3.0769, 3.5294, 3.5398, 3.3557])
    assert (fit.alpha, fit.beta, fit.gamma) == pytest.approx((0.02, 0.02, 1.0), abs=1e-5)


def test_kneed_figure_2() -> None:
    """Satopaa et al. 2011, figure 2, as in kneed's DataGenerator.figure2: the knee is at 0.2222."""
    x = np.linspace(0.0, 1.0, 10)
    assert kneedle(x, 5.0 - 1.0 / (x + 0.1)) == pytest.approx(0.2222, abs=5e-5)


def test_kneedle_agrees_with_kneed() -> None:
    kneed = pytest.importorskip("kneed")
    x = np.linspace(1.0, 95.0, 60)
    rng = np.random.default_rng(0)
    shapes = [
        (np.sqrt(x), "concave", "increasing"),
        (1.0 / (100.0 - x), "convex", "increasing"),
        (1.0 / x, "convex", "decreasing"),
        (np.sqrt(96.0 - x), "concave", "decreasing"),
        (np.minimum(x, 50.0) + rng.normal(0, 0.5, x.size), "concave", "increasing"),
    ]
    for y, curve, direction in shapes:
        theirs = kneed.KneeLocator(x, y, curve=curve, direction=direction).knee
        assert kneedle(x, y, curve=curve, direction=direction) == pytest.approx(theirs)
