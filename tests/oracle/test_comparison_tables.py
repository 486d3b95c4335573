"""Comparisons of runs against published numbers."""

from __future__ import annotations

import numpy as np
import pytest

from faultload_analysis.compare.baseline import baseline_gate, baselines_needed
from faultload_analysis.compare.builds import Contrast, Difference, compare_many, compare_runs, runs_needed
from faultload_analysis.compare.ranks import least_p, pairwise_rank, rank_sum_p

AT_TERM = [0.80, 0.83, 1.89, 1.04, 1.45, 1.38, 1.91, 1.64, 0.73, 1.46]
EARLY = [1.15, 0.88, 0.90, 0.74, 1.21]


def test_permeability_of_hollander_and_wolfe() -> None:
    """Hollander & Wolfe 1973, table 4.1 (R, example(wilcox.test)): W = 35, one-sided p = 0.1272; the
    Hodges-Lehmann shift is 0.305 with the 95 % interval -0.15 to 0.76."""
    assert rank_sum_p(np.array(EARLY), np.array(AT_TERM)) == pytest.approx(0.1272, abs=5e-5)
    found = compare_runs(EARLY, AT_TERM)
    assert found.superiority == pytest.approx(35 / 50)
    assert (found.shift, found.shift_low, found.shift_high) == pytest.approx((0.305, -0.15, 0.76))
    assert found.p == pytest.approx(0.2544, abs=5e-5)
    assert found.state is Difference.UNDECIDED


@pytest.mark.parametrize(("n", "p"), [(3, 0.1), (4, 0.02857), (5, 0.0079365)])
def test_the_least_p_of_so_many_runs(n: int, p: float) -> None:
    """golang.org/x/perf, benchmath: the least p of the U-test is 0.1, 0.029 and 0.008 for 3, 4 and 5 a side."""
    assert least_p(n, n) == pytest.approx(p, rel=1e-3)
    apart = compare_runs(np.arange(n), 100.0 + np.arange(n))
    assert apart.p == pytest.approx(p, rel=1e-3)
    assert apart.state is (Difference.TOO_FEW if n == 3 else Difference.WORSE)
    assert runs_needed() == 4


CRITICAL_U = {
    (4, 4): 0,
    (5, 5): 2,
    (6, 6): 5,
    (7, 7): 8,
    (8, 8): 13,
    (9, 9): 17,
    (10, 10): 23,
    (5, 10): 8,
    (20, 20): 127,
}


@pytest.mark.parametrize(("sizes", "critical"), CRITICAL_U.items())
def test_critical_values_of_u(sizes: tuple[int, int], critical: int) -> None:
    """Critical values of the Mann-Whitney U, two-sided 5 % (Milton 1964): significant at U <= that."""
    assert pairwise_rank(*sizes, 0.025) - 1 == critical
    assert pairwise_rank(*sizes[::-1], 0.025) - 1 == critical


def test_prediction_limit_of_hahn_and_meeker() -> None:
    """Hahn & Meeker 1991, chapter 4: readings 51.4, 49.5, 48.7, 49.3, 51.6 (mean 50.10, s 1.31); the two-sided 95 %
    prediction interval for one more is 50.10 -+ 3.04 x 1.31."""
    readings = [51.4, 49.5, 48.7, 49.3, 51.6]
    found = baseline_gate(readings, [50.0], shape="normal", confidence=0.975)
    assert found.limit == pytest.approx(50.10 + 3.04 * 1.31, abs=0.02)
    other = baseline_gate(readings, [50.0], shape="normal", confidence=0.975, lower_is_better=False)
    assert other.limit == pytest.approx(50.10 - 3.04 * 1.31, abs=0.02)


def test_a_rank_limit_needs_19_baselines() -> None:
    """The largest of n bounds one more with probability n / (n + 1) (Hahn & Meeker 1991, 5.4)."""
    assert (baselines_needed(1), baselines_needed(1, 0.99)) == (19, 99)


def test_false_discoveries_as_benjamini_and_hochberg() -> None:
    """q of the i-th smallest of m p-values is the least p_(j) m / j over j >= i (Benjamini & Hochberg 1995)."""
    rng = np.random.default_rng(7)
    shifts = (3.0, 1.2, 0.9, 0.0, 0.0, 0.0)
    found = compare_many(
        [Contrast(f"m{i}", rng.normal(size=8), s + rng.normal(size=8)) for i, s in enumerate(shifts)]
    )
    p = np.array([one.p_beyond for one in found.values()], dtype=float)
    ordered = np.sort(p)
    expected = [min(ordered[j] * 6 / (j + 1) for j in range(int(np.sum(ordered < x)), 6)) for x in p]
    assert [one.q for one in found.values()] == pytest.approx([min(1.0, q) for q in expected])
