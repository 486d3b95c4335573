"""Quantiles and tails of common distributions, equal to scipy.stats but built on scipy.special.

scipy.stats takes two seconds of processor time to import, which every judged run would pay: what only some runs
need is written `scipy.stats.name` in place, which imports it when it is called.
"""

from __future__ import annotations

from scipy import special


def t_quantile(p: float, df: float) -> float:
    """The p-quantile of Student's t with df > 0 degrees of freedom; nan outside of its domain."""
    return float(special.stdtrit(df, p))


def t_sf(x: float, df: float) -> float:
    """P(T > x) of Student's t with df > 0 degrees of freedom."""
    return float(special.stdtr(df, -x))


def normal_quantile(p: float) -> float:
    """The p-quantile of the standard normal distribution."""
    return float(special.ndtri(p))


def chi2_quantile(p: float, df: float) -> float:
    """The p-quantile of chi-squared with df > 0 degrees of freedom."""
    return float(2.0 * special.gammaincinv(df / 2.0, p))


def binomial_sf(k: int, n: int, p: float) -> float:
    """P(Bin(n, p) > k); 1 below k = 0, 0 from k = n on."""
    if k < 0:
        return 1.0
    return 0.0 if k >= n else float(special.betainc(k + 1, n - k, p))


def binomial_isf(tail: float, n: int, p: float) -> int:
    """The least k >= 0 with P(Bin(n, p) > k) <= tail."""
    low, high = -1, n
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if binomial_sf(middle, n, p) <= tail else (middle, high)
    return high
