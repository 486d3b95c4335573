"""The Universal Scalability Law: how throughput grows with concurrency, where it peaks, and how sure that is."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import numpy.typing as npt

from faultload_analysis.capacity.least_squares import CurveFit, Name, fitted, shape
from faultload_analysis.evidence.dependence import Array
from faultload_analysis.evidence.distributions import t_quantile
from faultload_analysis.evidence.verdict import Estimate

NAMES: tuple[Name, ...] = ("alpha", "beta", "gamma")
FEWEST_POINTS = 4
FEW_POINTS = 6
_ROUNDS = 2
"""How often errors in proportion are taken anew from the curve that they give."""
_UNLIKELY = 3.0
"""Errors of a kind are left out where another kind makes the residuals e^3 times as likely."""
_METHOD = "USL, widest profile with Student t under even, proportional and given errors"


class PeakState(StrEnum):
    """Where the curve peaks: TESTED (within the tested range), EXTRAPOLATED (beyond it) or NOT_REACHED."""

    TESTED = "within the tested range"
    EXTRAPOLATED = "beyond the tested range"
    NOT_REACHED = "not reached"


@dataclass(frozen=True, slots=True)
class Peak:
    """The concurrency with the highest throughput, and `throughput_per_s` of the curve there, between `low_per_s`
    and `high_per_s`, two one-sided 95 % bounds (None: not bounded).

    Not reached: `users` is +inf and bounded from below only, and there is no throughput. Below one user, and below
    the fewest tested: the more users the less throughput, which is given for the fewest.
    """

    users: Estimate
    throughput_per_s: float | None
    state: PeakState
    low_per_s: float | None = None
    high_per_s: float | None = None


@dataclass(frozen=True, slots=True)
class UslFit:
    """X(N) = gamma N / (1 + alpha (N - 1) + beta N (N - 1)) through `concurrency`, `throughput_per_s`, shape (n,).

    `alpha`: contention, `beta`: coherency delay, both in [0, 1]; `gamma`: throughput of one user. `fits`: the curve
    by the errors that were given, else by even ones, which is the one that is told of; then by even ones, and by
    errors in proportion to the throughput, unless the points make these unlikely. A bound is the widest of all.
    `notes`: what to be wary of.
    """

    fits: tuple[CurveFit, ...]
    notes: tuple[str, ...]

    @property
    def alpha(self) -> float:
        """Contention, in [0, 1]."""
        return self.fits[0].alpha

    @property
    def beta(self) -> float:
        """Coherency delay, in [0, 1]."""
        return self.fits[0].beta

    @property
    def gamma(self) -> float:
        """Throughput of one user, per second."""
        return self.fits[0].gamma

    @property
    def covariance(self) -> Array:
        """Of alpha, beta and gamma in this order, shape (3, 3), from the Jacobian; NaN where it is singular."""
        return self.fits[0].covariance

    @property
    def rse(self) -> float:
        """The residual standard error, per second; in units of the errors where they were given."""
        return self.fits[0].rse

    @property
    def df(self) -> int:
        """Degrees of freedom, n - 3."""
        return self.fits[0].df

    @property
    def concurrency(self) -> Array:
        """Of each point, shape (n,)."""
        return self.fits[0].concurrency

    @property
    def throughput_per_s(self) -> Array:
        """Of each point, shape (n,)."""
        return self.fits[0].throughput_per_s

    @property
    def se(self) -> tuple[float, float, float]:
        """Standard errors of alpha, beta, gamma; they mean little for a coefficient at its bound."""
        alpha, beta, gamma = np.sqrt(np.diag(self.covariance))
        return float(alpha), float(beta), float(gamma)

    @property
    def limit_per_s(self) -> float:
        """gamma / alpha: what contention alone would let through with endless users; +inf without contention."""
        return self.gamma / self.alpha if self.alpha > 0 else math.inf

    @property
    def optimal_users(self) -> float:
        """1 / alpha, where linear growth would meet the limit; +inf without contention."""
        return 1.0 / self.alpha if self.alpha > 0 else math.inf

    def throughput(self, users: npt.ArrayLike) -> Array:
        """X(N) of the curve, per second, shape of `users`."""
        return self.fits[0].throughput(users)

    def efficiency(self, users: npt.ArrayLike) -> Array:
        """X(N) / (N X(1)) of the curve: the share of linear growth that is left, shape of `users`."""
        n = np.asarray(users, dtype=np.float64)
        return np.asarray(shape(n, self.alpha, self.beta) / n, dtype=np.float64)

    def band(self, users: npt.ArrayLike, *, confidence: float = 0.95) -> tuple[Array, Array]:
        """Two one-sided bounds on X(N), by the delta method with Student t; NaN where the Jacobian is singular."""
        lows, highs = zip(*(one.band(users, confidence) for one in self.fits), strict=True)
        return np.asarray(np.minimum.reduce(lows)), np.asarray(np.maximum.reduce(highs))

    def interval(self, name: Name, *, level: float = 0.95) -> tuple[float, float]:
        """The two-sided interval estimate +- t_{(1 + level) / 2, n - 3} SE, cut off at 0 and, but for gamma, 1.

        R's usl::confint takes t_{level, n - 1} instead: 90 % called 95 %, and the wrong degrees of freedom. Both
        need an estimate well inside its bounds and errors that are known; `estimate` needs neither.
        """
        value, se = float(getattr(self, name)), self.se[NAMES.index(name)]
        half = t_quantile((1.0 + level) / 2.0, self.df) * se
        return max(0.0, value - half), min(math.inf if name == "gamma" else 1.0, value + half)

    def estimate(self, name: Name, *, confidence: float = 0.95) -> Estimate:
        """A coefficient with two one-sided profile bounds; right at 0 and 1 too, where the standard error is not.

        All values that cost no more than S(theta) - S = s^2 t^2_{n - 3} (Bates & Watts 1988, 6.1) under one of the
        `fits`. Measured with 5, 8 and 12 points up to N = 64 and errors of 1, 3 and 10 %, even and in proportion,
        180 times each: the truth is outside in 0 to 12 % on both sides together (with even errors alone in up to
        31 %). Under even errors that costs a band four times as wide with 5 points, and 1.1 times with 12. A
        coefficient that may be 0 has the bound 0. Data that lie on the curve exactly bound nothing.
        """
        value = float(getattr(self, name))
        if self._exact:
            return self._between(value, None, None)
        return self._between(value, *_widest([one.bounds(name, confidence) for one in self.fits]))

    def peak(self, *, confidence: float = 0.95) -> Peak:
        """Where X(N) is highest, N = sqrt((1 - alpha) / beta), with two one-sided profile bounds.

        Not reached when beta = 0, so no peak at all, explains the data as well; where it does so under another of
        the `fits` only, the upper bound is open. A peak beyond the largest concurrency tested is an extrapolation,
        and named so. Data that lie on the curve exactly bound nothing.
        """
        tested = float(self.concurrency.max())
        point = math.sqrt((1.0 - self.alpha) / self.beta) if self.beta > 0 else math.inf
        low, high = (None, None) if self._exact else _widest([one.peak_bounds(confidence) for one in self.fits])
        told = point < 1e3 * tested if self._exact else not self.fits[0].may_grow(confidence)
        if not told:
            seen = "" if math.isinf(point) else f" (the best fit has one at {point:.4g})"
            why = f"no peak can be told within the {tested:g} users tested{seen}"
            return Peak(self._between(math.inf, low, None, why), None, PeakState.NOT_REACHED)
        if any(one.may_grow(confidence) for one in self.fits[1:]):
            high = None
        state = PeakState.TESTED if point <= tested else PeakState.EXTRAPOLATED
        why = "" if state is PeakState.TESTED else f"extrapolated: at most {tested:g} users were tested"
        fewest = min(1.0, float(self.concurrency.min()))
        if point < fewest:
            why = f"throughput falls from {fewest:g} user on"
        at = max(point, fewest)
        least, most = (
            (None, None) if self._exact else map(_finite, map(float, self.band(at, confidence=confidence)))
        )
        return Peak(self._between(point, low, high, why), float(self.throughput(at)), state, least, most)

    @property
    def _exact(self) -> bool:
        return self.fits[0].exact

    def _between(self, value: float, low: float | None, high: float | None, why: str = "") -> Estimate:
        if self._exact:
            why = "; ".join(filter(None, (why, "the data lie on the curve exactly, so nothing tells their noise")))
        return Estimate(value, low, high, self.concurrency.size, None, _METHOD, why)


def usl_fit(
    concurrency: npt.ArrayLike, throughput_per_s: npt.ArrayLike, error_per_s: npt.ArrayLike | None = None
) -> UslFit:
    """Fit Gunther's Universal Scalability Law by bounded nonlinear least squares.

    `concurrency` N: shape (n,), users of a closed model or mean requests in flight (X R by Little's law), never
    the offered rate of an open one. `throughput_per_s`: shape (n,), what was achieved. Any order, repeats
    welcome. `error_per_s`: shape (n,), the standard error of each throughput, of which only the ratios count; each
    point then weighs 1 / error^2. 0 <= alpha, beta <= 1; gamma is a parameter of its own (Gunther 2007 and usl
    before 2.0 divide by X(1) instead, and so get other coefficients). ValueError for differing shapes, values that
    are not finite and above 0, or fewer than 4 points at 3 concurrencies.
    """
    n, x = np.asarray(concurrency, dtype=np.float64), np.asarray(throughput_per_s, dtype=np.float64)
    even = np.ones(x.shape)
    error = even if error_per_s is None else np.asarray(error_per_s, dtype=np.float64)
    if n.shape != x.shape or n.ndim != 1 or error.shape != x.shape:
        raise ValueError(
            f"concurrency {n.shape}, throughput {x.shape} and error {error.shape} must be one shape (n,)"
        )
    if not all(np.isfinite(values).all() and (values > 0).all() for values in (n, x, error)):
        raise ValueError("concurrency, throughput and error must be finite and above 0")
    different = np.unique(n).size
    if n.size < FEWEST_POINTS or different < 3:
        raise ValueError(
            f"a scalability curve needs at least {FEWEST_POINTS} points at 3 levels of concurrency, "
            f"not {n.size} at {different}"
        )
    told = fitted(n, x, error)
    others = [] if error_per_s is None else [fitted(n, x, even)]
    proportional = told
    for _ in range(_ROUNDS):
        proportional = fitted(n, x, proportional.throughput(n))
    notes = []
    if different < FEW_POINTS:
        notes.append(f"only {different} levels of concurrency; take {FEW_POINTS} or more")
    if on := [name for name in ("alpha", "beta") if getattr(told, name) in (0.0, 1.0)]:
        notes.append(f"{' and '.join(on)} at the bound: read profile bounds, not standard errors")
    if told.alpha == told.beta == 0.0:
        notes.append("growth is linear or better than that, which this law does not describe")
    return UslFit((told, *_as_likely((*others, proportional), told)), tuple(notes))


def _as_likely(others: Sequence[CurveFit], told: CurveFit) -> list[CurveFit]:
    """Those of the other fits whose errors the points do not make unlikely, compared with the best of all fits."""
    likelihood = [one.log_likelihood for one in (told, *others)]
    best = max(likelihood)
    return [one for one, own in zip(others, likelihood[1:], strict=True) if own >= best - _UNLIKELY]


def _widest(bounds: Sequence[tuple[float | None, float | None]]) -> tuple[float | None, float | None]:
    """The outermost bound on either side; None where one of them is open."""
    lows, highs = zip(*bounds, strict=True)
    return None if None in lows else min(lows), None if None in highs else max(highs)


def _finite(bound: float) -> float | None:
    return max(0.0, bound) if math.isfinite(bound) else None
