"""Medians, restricted means and log-rank against the leukaemia data of Freireich et al. 1963."""

from __future__ import annotations

import math

import pytest
from scipy import stats

from faultload_analysis.recovery.faults import Recovery
from faultload_analysis.recovery.repeats import compare_recoveries, median_ttr, restricted_mean_ttr

DRUG = [6, 6, 6, 7, 10, 13, 16, 22, 23]
DRUG_CENSORED = [6, 9, 10, 11, 17, 19, 20, 25, 32, 32, 34, 35]
PLACEBO = [1, 1, 2, 2, 3, 4, 4, 5, 5, 8, 8, 8, 8, 11, 11, 12, 12, 15, 17, 22, 23]


def test_median_of_the_6_mp_group() -> None:
    """Klein & Moeschberger 2003, 4.5: median 23 weeks; two-sided 95 % log-log interval from 13, open above."""
    e = median_ttr(DRUG, DRUG_CENSORED, confidence=0.975)
    assert (e.value, e.low, e.high, e.n) == (23.0, 13.0, None, 21)


def test_median_of_the_placebo_group() -> None:
    """Kleinbaum & Klein 2012: median 8 weeks."""
    assert median_ttr(PLACEBO).value == 8.0


def test_restricted_mean_of_the_6_mp_group() -> None:
    """Klein & Moeschberger 2003, 4.5: 23.29 weeks until 35, standard error 2.83."""
    e = restricted_mean_ttr(DRUG, DRUG_CENSORED, until_s=35.0)
    assert e.value == pytest.approx(23.29, abs=0.005) and e.high is not None
    error = (e.high - e.value) / stats.t.ppf(0.95, 8) / math.sqrt(9 / 8)
    assert error == pytest.approx(2.83, abs=0.005)


def test_a_restricted_mean_worked_by_hand() -> None:
    """10, 20+, 30, 40+ until 40: S is 1, .75 from 10, .375 from 30; area 10 + 15 + 3.75.

    A_1 = 18.75, A_2 = 3.75; variance 18.75^2 / (4 * 3) + 3.75^2 / (2 * 1), times 2 / 1.
    """
    e = restricted_mean_ttr([10, 30], [20, 40])
    assert e.value == pytest.approx(28.75)
    reach = stats.t.ppf(0.95, 1) * math.sqrt((18.75**2 / 12 + 3.75**2 / 2) * 2)
    assert e.low == pytest.approx(max(0.0, 28.75 - reach)) and e.high == pytest.approx(min(40.0, 28.75 + reach))


def test_log_rank_of_both_groups() -> None:
    """Kleinbaum & Klein 2012, ch. 2: log-rank 16.793, p < 0.0001 (4.17e-5)."""

    def one(time: float, recovered: bool) -> Recovery:
        done, cut = (time, None) if recovered else (None, time)
        return Recovery(0.0, None, None, done, False, recovered, cut, None, True, "")

    drug = [one(t, True) for t in DRUG] + [one(t, False) for t in DRUG_CENSORED]
    found = compare_recoveries(drug, [one(t, True) for t in PLACEBO])
    assert found.statistic is not None and found.statistic**2 == pytest.approx(16.793, abs=5e-4)
    assert found.p_value == pytest.approx(4.17e-5, abs=5e-8) and found.slower == "first"
