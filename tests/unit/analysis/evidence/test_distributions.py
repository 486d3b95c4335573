"""The distribution functions against scipy.stats, whose import they spare."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from faultload_analysis.evidence.distributions import (
    binomial_isf,
    binomial_sf,
    chi2_quantile,
    normal_quantile,
    t_quantile,
    t_sf,
)

SHARES = st.floats(1e-6, 1 - 1e-6)
FREEDOMS = st.floats(0.5, 1e6)


@given(p=SHARES, df=FREEDOMS)
def test_quantiles_are_those_of_scipy_stats(p: float, df: float) -> None:
    assert t_quantile(p, df) == pytest.approx(float(stats.t.ppf(p, df)), rel=1e-9, abs=1e-12)
    assert chi2_quantile(p, df) == pytest.approx(float(stats.chi2.ppf(p, df)), rel=1e-9)
    assert normal_quantile(p) == pytest.approx(float(stats.norm.ppf(p)), rel=1e-12, abs=1e-15)


@given(x=st.floats(-50, 50), df=FREEDOMS)
def test_the_tail_of_t_is_that_of_scipy_stats(x: float, df: float) -> None:
    assert t_sf(x, df) == pytest.approx(float(stats.t.sf(x, df)), rel=1e-9)


@given(n=st.integers(1, 20_000), k=st.integers(-2, 20_002), p=st.floats(0.0, 1.0))
def test_the_binomial_tail_is_that_of_scipy_stats(n: int, k: int, p: float) -> None:
    assert binomial_sf(k, n, p) == pytest.approx(float(stats.binom.sf(k, n, p)), rel=1e-8, abs=1e-300)


@given(n=st.integers(1, 20_000), p=SHARES, tail=st.sampled_from([1e-6, 1e-3, 0.05, 0.5]))
def test_the_binomial_quantile_is_the_least_count_with_so_small_a_tail(n: int, p: float, tail: float) -> None:
    k = binomial_isf(tail, n, p)
    assert k >= 0 and stats.binom.sf(k, n, p) <= tail * (1 + 1e-9)
    assert k == 0 or stats.binom.sf(k - 1, n, p) > tail * (1 - 1e-9)


def test_ends_of_the_domain() -> None:
    assert binomial_isf(0.1, 10, 0.0) == 0
    assert binomial_isf(0.1, 10, 1.0) == 10
    assert math.isnan(t_quantile(0.5, -1.0))
