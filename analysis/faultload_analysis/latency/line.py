"""A straight line through noise whose memory nobody knows: its slope, bounded over every memory it may have."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy.special import stdtr

from faultload_analysis.evidence.dependence import Array
from faultload_analysis.evidence.distributions import t_quantile

_MAX_BINS = 120

# What the noise may be, and how likely before any was seen: from independent to a random walk. Chosen on
# autoregressive noise, random walks, and both with white noise (docs/calibration.md).
_PRIOR = {0.0: 40.0, 0.3: 8.0, 0.5: 8.0, 0.7: 8.0, 0.8: 8.0, 0.9: 8.0, 0.998: 60.0}
_REMEMBERED = np.array([0.01, 0.03, 0.1, 0.3, 0.6, 0.8, 0.9, 0.95, 0.98, 0.99, 0.997, 1.0])
_ALL_REMEMBERED = 2.0
_HARDLY_LIKELY = 1e-4
_HALVINGS = 30
_ROUNDING = 1e-20


@dataclass(frozen=True, slots=True)
class Line:
    """The slope of a line, its two one-sided bounds, and how many independent points would bound it as well."""

    slope: float
    low: float
    high: float
    n_eff: float


def binned(times_s: Array, values: Array) -> tuple[Array, Array]:
    """Mean times and mean values of at most 120 equal time bins, empty ones left out; `times_s` ascending."""
    if times_s.size <= _MAX_BINS:
        return times_s, values
    edges = np.linspace(times_s[0], times_s[-1], _MAX_BINS + 1)
    starts = np.unique(np.concatenate(([0], np.searchsorted(times_s, edges[1:-1]))))
    sizes = np.diff(np.append(starts, times_s.size))
    return np.add.reduceat(times_s, starts) / sizes, np.add.reduceat(values, starts) / sizes


def line(times_s: Array, values: Array, confidence: float) -> Line:
    """The line through at least three points, both shape (m,), at about equal distances and not all at one time.

    Generalised least squares for each of 73 kinds of noise: points k apart correlate by w r^k, r from 0 to 0.998
    and w from 0.01 to 1 (independent noise, noise with a memory, both together, hardly less than a random walk).
    Each is weighted by its restricted likelihood; the slope and its bounds are the median and the quantiles
    of the mixture of their Student's t distributions. So bounds are as wide as the noise that the series may hide
    demands, and close to those of least squares where it is long enough to show that the noise has no memory.
    Source: Harville 1974, Biometrika 61(2) (restricted likelihood); Hoeting et al. 1999, Statistical Science 14(4).
    """
    slopes, errors, weights, freedom = _fits(times_s, values)
    if not errors.any():
        return Line(float(slopes[0]), float(slopes[0]), float(slopes[0]), float(times_s.size))
    independent = errors[0]
    likely = weights > _HARDLY_LIKELY
    mixture = _Mixture(slopes[likely], errors[likely], weights[likely] / weights[likely].sum(), freedom)
    n_eff = times_s.size * min(1.0, float(independent) ** 2 / mixture.variance)
    low, slope, high = (mixture.quantile(p) for p in (1.0 - confidence, 0.5, confidence))
    return Line(slope, min(low, slope), max(high, slope), n_eff)


@dataclass(frozen=True, slots=True)
class _Mixture:
    """A mixture of Student's t distributions with their places, scales and weights, shape (k,)."""

    places: Array
    scales: Array
    weights: Array
    freedom: float

    @property
    def variance(self) -> float:
        """Of the places and scales, those of t being taken as standard deviations."""
        off = self.places - self.weights @ self.places
        return float(self.weights @ (off * off + self.scales * self.scales))

    def quantile(self, p: float) -> float:
        """Between the least and the greatest p-quantile of the parts, by bisection."""
        t = t_quantile(p, self.freedom) if p > 0.5 else -t_quantile(1.0 - p, self.freedom) if p < 0.5 else 0.0
        each = self.places + t * self.scales
        low, high = float(each.min()), float(each.max())
        for _ in range(_HALVINGS):
            middle = (low + high) / 2.0
            below = float(self.weights @ stdtr(self.freedom, (middle - self.places) / self.scales))
            low, high = (middle, high) if below < p else (low, middle)
        return (low + high) / 2.0


def _fits(times_s: Array, values: Array) -> tuple[Array, Array, Array, float]:
    """Slope, its standard error and weight for each kind of noise, the first of them independent; and m - 2."""
    m, freedom = times_s.size, float(times_s.size - 2)
    at, off = times_s - times_s.mean(), values - values[0]
    reach, height = float(np.abs(at).max()), float(np.abs(off).max())
    if height == 0.0:
        return np.zeros(1), np.zeros(1), np.ones(1), freedom
    columns = np.stack([np.ones(m), at / reach, off / height], axis=1)
    parts = [_weighted(columns if turn is None else turn @ columns, spread) for turn, spread in _noises(m)]
    slope, of_slope, squares, log_volume = np.concatenate(parts, axis=1)
    scale = height / reach
    if squares[0] <= _ROUNDING:
        return slope[:1] * scale, np.zeros(1), np.ones(1), freedom
    squares = np.maximum(squares, _ROUNDING)
    log_weights = _log_prior() - 0.5 * log_volume - 0.5 * freedom * np.log(squares)
    weights = np.exp(log_weights - log_weights.max())
    return slope * scale, np.sqrt(squares / freedom * of_slope) * scale, weights / weights.sum(), freedom


def _weighted(columns: Array, spread: Array) -> Array:
    """Weighted least squares of column 2 on columns 0 and 1, once for each row of `spread`, the variances.

    Rows of the result: slopes, their variances for unit noise, weighted squares of residuals, and
    log |V| + log |X' V^-1 X|.
    """
    one, at, value = columns.T
    products = np.stack([one * one, one * at, at * at, one * value, at * value, value * value])
    a, b, c, d, e, f = products @ (1.0 / spread).T
    det = a * c - b * b
    slope, level = (a * e - b * d) / det, (c * d - b * e) / det
    return np.stack([slope, a / det, f - level * d - slope * e, np.log(spread).sum(axis=1) + np.log(det)])


@lru_cache(maxsize=16)
def _noises(m: int) -> tuple[tuple[Array | None, Array], ...]:
    """For each r of the prior: the turn that makes its noise independent, and the variances for each w."""
    apart = np.abs(np.subtract.outer(np.arange(m), np.arange(m))).astype(np.float64)
    made: list[tuple[Array | None, Array]] = [(None, np.ones((1, m)))]
    for r in (r for r in _PRIOR if r > 0.0):
        variances, turn = np.linalg.eigh(r**apart)
        made.append((turn.T.copy(), 1.0 - _REMEMBERED[:, None] * (1.0 - np.maximum(variances, 1e-9))))
    return tuple(made)


@lru_cache(maxsize=1)
def _log_prior() -> Array:
    each = np.where(_REMEMBERED == 1.0, _ALL_REMEMBERED, 1.0) / _REMEMBERED.size
    parts = [np.array([one]) if r == 0.0 else one * each for r, one in _PRIOR.items()]
    return np.asarray(np.log(np.concatenate(parts)))
