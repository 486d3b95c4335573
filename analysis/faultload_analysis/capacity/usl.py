"""The Universal Scalability Law: how throughput grows with concurrency, where it peaks, and how sure that is."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

import numpy as np
import numpy.typing as npt
import scipy

from faultload_analysis.evidence.dependence import Array, Mask
from faultload_analysis.evidence.distributions import t_quantile
from faultload_analysis.evidence.inputs import checked_confidence
from faultload_analysis.evidence.verdict import Estimate

Name = Literal["alpha", "beta", "gamma"]

NAMES: tuple[Name, ...] = ("alpha", "beta", "gamma")
FEWEST_POINTS = 4
FEW_POINTS = 6
_EXACT = 1e-9
_METHOD = "USL, profile with Student t"


class PeakState(StrEnum):
    """Where the curve peaks: TESTED (within the tested range), EXTRAPOLATED (beyond it) or NOT_REACHED."""

    TESTED = "within the tested range"
    EXTRAPOLATED = "beyond the tested range"
    NOT_REACHED = "not reached"


@dataclass(frozen=True, slots=True)
class Peak:
    """The concurrency with the highest throughput, and `throughput_per_s` of the curve there.

    Not reached: `users` is +inf and bounded from below only, and there is no throughput. Below one user, and below
    the fewest tested: the more users the less throughput, which is given for the fewest.
    """

    users: Estimate
    throughput_per_s: float | None
    state: PeakState


@dataclass(frozen=True, slots=True)
class UslFit:
    """X(N) = gamma N / (1 + alpha (N - 1) + beta N (N - 1)) through `concurrency`, `throughput_per_s`, shape (n,).

    `alpha`: contention, `beta`: coherency delay, both in [0, 1]; `gamma`: throughput of one user. `covariance`,
    shape (3, 3): of these three in this order, from the Jacobian; NaN where it is singular. `rse`: residual
    standard error on `df` = n - 3 degrees of freedom. `notes`: what to be wary of.
    """

    alpha: float
    beta: float
    gamma: float
    covariance: Array
    rse: float
    df: int
    concurrency: Array
    throughput_per_s: Array
    notes: tuple[str, ...]

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
        n = np.asarray(users, dtype=np.float64)
        return np.asarray(self.gamma * _shape(n, self.alpha, self.beta), dtype=np.float64)

    def efficiency(self, users: npt.ArrayLike) -> Array:
        """X(N) / (N X(1)) of the curve: the share of linear growth that is left, shape of `users`."""
        n = np.asarray(users, dtype=np.float64)
        return np.asarray(_shape(n, self.alpha, self.beta) / n, dtype=np.float64)

    def band(self, users: npt.ArrayLike, *, confidence: float = 0.95) -> tuple[Array, Array]:
        """Two one-sided bounds on X(N), by the delta method with Student t; NaN where the Jacobian is singular."""
        n = np.asarray(users, dtype=np.float64)
        gradient = _gradient(n, self.alpha, self.beta, self.gamma)
        variance = np.einsum("...i,ij,...j->...", gradient, self.covariance, gradient)
        half = t_quantile(checked_confidence(confidence), self.df) * np.sqrt(np.maximum(variance, 0.0))
        middle = self.throughput(n)
        return np.asarray(middle - half), np.asarray(middle + half)

    def interval(self, name: Name, *, level: float = 0.95) -> tuple[float, float]:
        """The two-sided interval estimate +- t_{(1 + level) / 2, n - 3} SE, cut off at 0 and, but for gamma, 1.

        R's usl::confint takes t_{level, n - 1} instead: 90 % called 95 %, and the wrong degrees of freedom. Both
        need an estimate well inside its bounds; `estimate` does not.
        """
        value, se = float(getattr(self, name)), self.se[NAMES.index(name)]
        half = t_quantile((1.0 + level) / 2.0, self.df) * se
        return max(0.0, value - half), min(math.inf if name == "gamma" else 1.0, value + half)

    def estimate(self, name: Name, *, confidence: float = 0.95) -> Estimate:
        """A coefficient with two one-sided profile bounds; right at 0 and 1 too, where the standard error is not.

        All values that cost no more than S(theta) - S = s^2 t^2_{n - 3} (Bates & Watts 1988, 6.1). Measured with
        ten points up to N = 64 and 2 % noise, 300 times: beta = 0 excluded in 6.7 %, a beta inside its range
        missed in 5.0 and 5.7 %. A coefficient that may be 0 has the bound 0. Data that lie on the curve exactly
        bound nothing.
        """
        value = float(getattr(self, name))
        if self._exact:
            return self._between(value, None, None)
        cost, allowed = self._cost(name), self._allowed(confidence)
        span = float(self.concurrency.max())
        step = {"alpha": 1e-3 / span, "beta": 1e-3 / span**2, "gamma": 1e-3 * self.gamma}[name]
        low = _crossing(cost, allowed, value, 0.0, step)
        high = _crossing(cost, allowed, value, 1e6 * self.gamma if name == "gamma" else 1.0, step)
        if name == "gamma":
            return self._between(value, low, high)
        return self._between(value, 0.0 if low is None else low, 1.0 if high is None else high)

    def peak(self, *, confidence: float = 0.95) -> Peak:
        """Where X(N) is highest, N = sqrt((1 - alpha) / beta), with two one-sided profile bounds.

        Not reached when beta = 0, so no peak at all, explains the data as well. A peak beyond the largest
        concurrency tested is an extrapolation, and named so. Data that lie on the curve exactly bound nothing.
        """
        tested = float(self.concurrency.max())
        point = math.sqrt((1.0 - self.alpha) / self.beta) if self.beta > 0 else math.inf
        allowed = self._allowed(confidence)

        def cost(log_users: float) -> float:
            squared = math.exp(2.0 * log_users)
            return self._cheapest(lambda alpha: np.minimum((1.0 - alpha) / squared, 1.0))

        told = point < 1e3 * tested if self._exact else self._cost("beta")(0.0) > allowed
        start = math.log(min(max(point, 1e-2), 1e3 * tested))
        low = high = None
        if not self._exact and cost(start) <= allowed:
            at = _crossing(cost, allowed, start, math.log(1e-3), 1e-3)
            low = None if at is None else math.exp(at)
        if not told:
            seen = "" if math.isinf(point) else f" (the best fit has one at {point:.4g})"
            why = f"no peak can be told within the {tested:g} users tested{seen}"
            return Peak(self._between(math.inf, low, None, why), None, PeakState.NOT_REACHED)
        if not self._exact:
            at = _crossing(cost, allowed, start, math.log(1e6 * tested), 1e-3)
            high = None if at is None else math.exp(at)
        state = PeakState.TESTED if point <= tested else PeakState.EXTRAPOLATED
        why = "" if state is PeakState.TESTED else f"extrapolated: at most {tested:g} users were tested"
        fewest = min(1.0, float(self.concurrency.min()))
        if point < fewest:
            why = f"throughput falls from {fewest:g} user on"
        return Peak(self._between(point, low, high, why), float(self.throughput(max(point, fewest))), state)

    @property
    def _exact(self) -> bool:
        return self.rse <= _EXACT * float(np.abs(self.throughput_per_s).max())

    def _allowed(self, confidence: float) -> float:
        t = t_quantile(checked_confidence(confidence), self.df)
        return self.rse**2 * (self.df + t * t)

    def _between(self, value: float, low: float | None, high: float | None, why: str = "") -> Estimate:
        if self._exact:
            why = "; ".join(filter(None, (why, "the data lie on the curve exactly, so nothing tells their noise")))
        return Estimate(value, low, high, self.concurrency.size, None, _METHOD, why)

    def _cost(self, name: Name) -> Callable[[float], float]:
        """The least sum of squares for a fixed value of the coefficient."""
        n, x = self.concurrency, self.throughput_per_s
        if name == "alpha":

            def with_alpha(alpha: float) -> float:
                return _least(lambda beta: _projected(n, x, alpha, beta), 1.0 / float(n.max()) ** 2)

            return with_alpha
        if name == "beta":
            return lambda beta: self._cheapest(lambda alpha: np.full_like(alpha, beta))

        def with_gamma(gamma: float) -> float:
            def left(p: Array) -> Array:
                return np.asarray(gamma * _shape(n, p[0], p[1]) - x)

            best = scipy.optimize.least_squares(
                left,
                (self.alpha, self.beta),
                bounds=((0.0, 0.0), (1.0, 1.0)),
                x_scale=(1.0 / float(n.max()), 1.0 / float(n.max()) ** 2),
                xtol=1e-12, ftol=1e-12, gtol=1e-12,
            )  # fmt: skip
            return 2.0 * float(best.cost)

        return with_gamma

    def _cheapest(self, beta_of: Callable[[Array], Array]) -> float:
        """The least sum of squares over alpha, and the gamma that goes with it, when beta follows from alpha."""
        n, x = self.concurrency, self.throughput_per_s
        return _least(lambda alpha: _projected(n, x, alpha, beta_of(alpha)), 1.0 / float(n.max()))


def usl_fit(concurrency: npt.ArrayLike, throughput_per_s: npt.ArrayLike) -> UslFit:
    """Fit Gunther's Universal Scalability Law by bounded nonlinear least squares.

    `concurrency` N: shape (n,), users of a closed model or mean requests in flight (X R by Little's law), never
    the offered rate of an open one. `throughput_per_s`: shape (n,), what was achieved. Any order, repeats
    welcome. 0 <= alpha, beta <= 1; gamma is a parameter of its own (Gunther 2007 and usl before 2.0 divide by
    X(1) instead, and so get other coefficients). ValueError for differing shapes, values that are not finite
    and above 0, or fewer than 4 points at 3 concurrencies.
    """
    n, x = np.asarray(concurrency, dtype=np.float64), np.asarray(throughput_per_s, dtype=np.float64)
    if n.shape != x.shape or n.ndim != 1:
        raise ValueError(f"concurrency {n.shape} and throughput {x.shape} must be one shape (n,)")
    if not (np.isfinite(n).all() and np.isfinite(x).all() and (n > 0).all() and (x > 0).all()):
        raise ValueError("concurrency and throughput must be finite and above 0")
    different = np.unique(n).size
    if n.size < FEWEST_POINTS or different < 3:
        raise ValueError(
            f"a scalability curve needs at least {FEWEST_POINTS} points at 3 levels of concurrency, "
            f"not {n.size} at {different}"
        )
    alpha, beta, gamma = _fitted(n, x)
    left = x - gamma * _shape(n, alpha, beta)
    df = n.size - 3
    rse = math.sqrt(float(left @ left) / df)
    notes = []
    if different < FEW_POINTS:
        notes.append(f"only {different} levels of concurrency; take {FEW_POINTS} or more")
    if on := [name for name, value in (("alpha", alpha), ("beta", beta)) if value in (0.0, 1.0)]:
        notes.append(f"{' and '.join(on)} at the bound: read profile bounds, not standard errors")
    if alpha == beta == 0.0:
        notes.append("growth is linear or better than that, which this law does not describe")
    return UslFit(alpha, beta, gamma, _covariance(n, alpha, beta, gamma, rse), rse, df, n, x, tuple(notes))


def _shape(n: Array, alpha: float, beta: float) -> Array:
    """N / (1 + alpha (N - 1) + beta N (N - 1)): the curve for gamma 1."""
    return np.asarray(n / (1.0 + alpha * (n - 1.0) + beta * n * (n - 1.0)), dtype=np.float64)


def _gradient(n: Array, alpha: float, beta: float, gamma: float) -> Array:
    """Derivatives of X(N) by alpha, beta, gamma, shape (..., 3)."""
    shape = _shape(n, alpha, beta)
    by_alpha = -gamma * shape**2 * (n - 1.0) / n
    return np.stack((by_alpha, by_alpha * n, shape), axis=-1)


def _projected(n: Array, x: Array, alpha: npt.ArrayLike, beta: npt.ArrayLike) -> Array:
    """The sum of squares at each pair of alpha and beta with the best gamma, which is linear; shape (m,)."""
    a, b = np.broadcast_arrays(np.atleast_1d(alpha), np.atleast_1d(beta))
    shapes = n / (1.0 + np.multiply.outer(a, n - 1.0) + np.multiply.outer(b, n * (n - 1.0)))
    gamma = shapes @ x / np.einsum("ij,ij->i", shapes, shapes)
    left = x - gamma[:, None] * shapes
    return np.asarray(np.einsum("ij,ij->i", left, left))


def _least(cost: Callable[[Array], Array], scale: float) -> float:
    """The least of `cost` over [0, 1]: a grid that is fine around `scale`, then ever finer ones."""
    grid = np.concatenate(([0.0], np.geomspace(1e-4 * scale, 1.0, 64)))
    least = math.inf
    for _ in range(5):
        values = cost(grid)
        i = int(np.argmin(values))
        least = min(least, float(values[i]))
        grid = np.linspace(grid[max(i - 1, 0)], grid[min(i + 1, grid.size - 1)], 25)
    return least


def _fitted(n: Array, x: Array) -> tuple[float, float, float]:
    """The least squares fit: of alpha and beta each free, at 0 and at 1, the best that stays within [0, 1].

    Each from the best point of a grid, so that no start has to be guessed; a fit at a bound is preferred to one
    that is no better (1e-9), because there rounding decides.
    """
    span, height = float(n.max()), float(np.max(x / n))
    alphas = np.concatenate(([0.0], np.geomspace(1e-4 / span, 1.0, 40)))
    betas = np.concatenate(([0.0], np.geomspace(1e-4 / span**2, 1.0, 40)))
    costs = _projected(n, x, np.repeat(alphas, betas.size), np.tile(betas, alphas.size))
    costs = costs.reshape(alphas.size, betas.size)
    ends: list[tuple[float, int, tuple[float, float, float]]] = []
    for rows, cols in itertools.product((slice(None), slice(0, 1), slice(-1, None)), repeat=2):
        part = costs[rows, cols]
        row, col = np.unravel_index(int(part.argmin()), part.shape)
        start = np.array([alphas[rows][row] * span, betas[cols][col] * span**2, 1.0])
        free = np.array([rows == slice(None), cols == slice(None), True])
        alpha, beta = _polished(n, x, start, free, np.array([1.0 / span, 1.0 / span**2, height]))
        if 0.0 <= alpha <= 1.0 and 0.0 <= beta <= 1.0:
            shape = _shape(n, alpha, beta)
            cost = float(_projected(n, x, alpha, beta)[0])
            ends.append((cost, int(free.sum()), (alpha, beta, float(shape @ x / (shape @ shape)))))
    enough = min(cost for cost, _, _ in ends) * (1.0 + 1e-9) + 1e-24 * float(x @ x)
    return min((end for end in ends if end[0] <= enough), key=lambda end: end[1])[2]


def _polished(n: Array, x: Array, start: Array, free: Mask, scale: Array) -> tuple[float, float]:
    """alpha and beta after Levenberg-Marquardt on the free parameters, gamma always among them."""

    def whole(p: Array) -> Array:
        full = start.copy()
        full[free] = p
        return np.asarray(full * scale)

    def residuals(p: Array) -> Array:
        alpha, beta, gamma = whole(p)
        return np.asarray(gamma * _shape(n, alpha, beta) - x)

    def jacobian(p: Array) -> Array:
        return np.asarray((_gradient(n, *whole(p)) * scale)[:, free])

    with np.errstate(all="ignore"):
        found = scipy.optimize.least_squares(
            residuals, start[free], jac=jacobian, method="lm", xtol=1e-15, ftol=1e-15, gtol=1e-15, max_nfev=400
        )
    alpha, beta, _ = whole(found.x)
    return float(alpha), float(beta)


def _covariance(n: Array, alpha: float, beta: float, gamma: float, rse: float) -> Array:
    """s^2 (J'J)^-1, by the QR decomposition of a scaled Jacobian; NaN where it is singular."""
    jacobian = _gradient(n, alpha, beta, gamma)
    scale = np.linalg.norm(jacobian, axis=0)
    if not (scale > 0).all():
        return np.full((3, 3), np.nan)
    r = np.linalg.qr(jacobian / scale, mode="r")
    if np.abs(np.diag(r)).min() < 1e-12:
        return np.full((3, 3), np.nan)
    inverse = np.linalg.inv(r) / scale[:, None]
    return np.asarray(rse**2 * inverse @ inverse.T)


def _crossing(
    cost: Callable[[float], float], allowed: float, start: float, end: float, step: float
) -> float | None:
    """Where from `start` towards `end` the cost first exceeds what is allowed; None: nowhere."""
    sign, inside = math.copysign(1.0, end - start), start
    while inside != end:
        outside = start + sign * step
        if sign * (end - outside) <= 0:
            outside = end
        if cost(outside) > allowed:
            return float(
                scipy.optimize.brentq(lambda v: cost(v) - allowed, inside, outside, xtol=1e-9 * step, rtol=1e-8)
            )
        inside, step = outside, 2.0 * step
    return None
