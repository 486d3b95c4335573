"""The weighted least squares behind the USL: its fit, and what any other value of a coefficient would cost."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import scipy

from faultload_analysis.evidence.dependence import Array, Mask
from faultload_analysis.evidence.distributions import t_quantile
from faultload_analysis.evidence.inputs import checked_confidence

Name = Literal["alpha", "beta", "gamma"]

_EXACT = 1e-9


@dataclass(frozen=True, slots=True)
class CurveFit:
    """gamma N / (1 + alpha (N - 1) + beta N (N - 1)) through points whose errors are `error`, but for their scale.

    `concurrency`, `throughput_per_s`, `error`: shape (n,). `covariance`, shape (3, 3): of alpha, beta, gamma, from
    the Jacobian; NaN where it is singular. `rse`: residual standard error on `df` = n - 3 degrees of freedom, in
    units of `error`.
    """

    alpha: float
    beta: float
    gamma: float
    covariance: Array
    rse: float
    df: int
    concurrency: Array
    throughput_per_s: Array
    error: Array

    @property
    def exact(self) -> bool:
        """Whether the points lie on the curve, so that nothing tells their noise."""
        return self.rse <= _EXACT * float(np.abs(self.throughput_per_s / self.error).max())

    @property
    def log_likelihood(self) -> float:
        """Of the residuals, normal with errors of this kind and the scale that fits best; but for a constant."""
        if self.rse == 0.0:
            return math.inf
        return -self.df * (math.log(self.rse) + float(np.log(self.error).mean()))

    def throughput(self, users: npt.ArrayLike) -> Array:
        """X(N) of the curve, per second, shape of `users`."""
        n = np.asarray(users, dtype=np.float64)
        return np.asarray(self.gamma * shape(n, self.alpha, self.beta), dtype=np.float64)

    def band(self, users: npt.ArrayLike, confidence: float) -> tuple[Array, Array]:
        """Two one-sided bounds on X(N), by the delta method with Student t; NaN where the Jacobian is singular."""
        n = np.asarray(users, dtype=np.float64)
        gradient = _gradient(n, self.alpha, self.beta, self.gamma)
        variance = np.einsum("...i,ij,...j->...", gradient, self.covariance, gradient)
        half = t_quantile(checked_confidence(confidence), self.df) * np.sqrt(np.maximum(variance, 0.0))
        middle = self.throughput(n)
        return np.asarray(middle - half), np.asarray(middle + half)

    def allowed(self, confidence: float) -> float:
        """The largest sum of squares within the profile bounds: S + s^2 t^2_{n - 3} (Bates & Watts 1988, 6.1)."""
        t = t_quantile(checked_confidence(confidence), self.df)
        return self.rse**2 * (self.df + t * t)

    def bounds(self, name: Name, confidence: float) -> tuple[float | None, float | None]:
        """All values of a coefficient that cost no more than `allowed`; None: nothing bounds it on that side."""
        value = float(getattr(self, name))
        cost, allowed = self.cost_of(name), self.allowed(confidence)
        span = float(self.concurrency.max())
        step = {"alpha": 1e-3 / span, "beta": 1e-3 / span**2, "gamma": 1e-3 * self.gamma}[name]
        low = crossing(cost, allowed, value, 0.0, step)
        high = crossing(cost, allowed, value, 1e6 * self.gamma if name == "gamma" else 1.0, step)
        if name == "gamma":
            return low, high
        return 0.0 if low is None else low, 1.0 if high is None else high

    def peak_bounds(self, confidence: float) -> tuple[float | None, float | None]:
        """The same of the concurrency at which X(N) is highest."""
        tested = float(self.concurrency.max())
        point = math.sqrt((1.0 - self.alpha) / self.beta) if self.beta > 0 else math.inf
        start, allowed = math.log(min(max(point, 1e-2), 1e3 * tested)), self.allowed(confidence)
        if self.cost_of_peak(start) > allowed:
            return None, None
        ends = (math.log(1e-3), math.log(1e6 * tested))
        low, high = (crossing(self.cost_of_peak, allowed, start, end, 1e-3) for end in ends)
        return None if low is None else math.exp(low), None if high is None else math.exp(high)

    def may_grow(self, confidence: float) -> bool:
        """Whether a curve without a peak, beta = 0, is within the profile bounds."""
        return self.cost_of("beta")(0.0) <= self.allowed(confidence)

    def cost_of(self, name: Name) -> Callable[[float], float]:
        """The least sum of squares for a fixed value of the coefficient."""
        n = self.concurrency
        if name == "alpha":

            def with_alpha(alpha: float) -> float:
                return _least(lambda beta: self._projected(alpha, beta), 1.0 / float(n.max()) ** 2)

            return with_alpha
        if name == "beta":
            return lambda beta: self._cheapest(lambda alpha: np.full_like(alpha, beta))

        def with_gamma(gamma: float) -> float:
            def left(p: Array) -> Array:
                return np.asarray((gamma * shape(n, p[0], p[1]) - self.throughput_per_s) / self.error)

            best = scipy.optimize.least_squares(
                left,
                (self.alpha, self.beta),
                bounds=((0.0, 0.0), (1.0, 1.0)),
                x_scale=(1.0 / float(n.max()), 1.0 / float(n.max()) ** 2),
                xtol=1e-12, ftol=1e-12, gtol=1e-12,
            )  # fmt: skip
            return 2.0 * float(best.cost)

        return with_gamma

    def cost_of_peak(self, log_users: float) -> float:
        """The least sum of squares of a curve that peaks at exp(`log_users`)."""
        squared = math.exp(2.0 * log_users)
        return self._cheapest(lambda alpha: np.minimum((1.0 - alpha) / squared, 1.0))

    def _cheapest(self, beta_of: Callable[[Array], Array]) -> float:
        """The least sum of squares over alpha, and the gamma that goes with it, when beta follows from alpha."""
        return _least(lambda alpha: self._projected(alpha, beta_of(alpha)), 1.0 / float(self.concurrency.max()))

    def _projected(self, alpha: npt.ArrayLike, beta: npt.ArrayLike) -> Array:
        return _projected(self.concurrency, self.throughput_per_s, self.error, alpha, beta)


def fitted(n: Array, x: Array, error: Array) -> CurveFit:
    """The least squares fit with weights 1 / error^2; of the errors only the ratios count."""
    alpha, beta, gamma = _best(n, x, error)
    left = (x - gamma * shape(n, alpha, beta)) / error
    df = n.size - 3
    rse = math.sqrt(float(left @ left) / df)
    return CurveFit(alpha, beta, gamma, _covariance(n, error, alpha, beta, gamma, rse), rse, df, n, x, error)


def shape(n: Array, alpha: float, beta: float) -> Array:
    """N / (1 + alpha (N - 1) + beta N (N - 1)): the curve for gamma 1."""
    return np.asarray(n / (1.0 + alpha * (n - 1.0) + beta * n * (n - 1.0)), dtype=np.float64)


def _gradient(n: Array, alpha: float, beta: float, gamma: float) -> Array:
    """Derivatives of X(N) by alpha, beta, gamma, shape (..., 3)."""
    unit = shape(n, alpha, beta)
    by_alpha = -gamma * unit**2 * (n - 1.0) / n
    return np.stack((by_alpha, by_alpha * n, unit), axis=-1)


def _projected(n: Array, x: Array, error: Array, alpha: npt.ArrayLike, beta: npt.ArrayLike) -> Array:
    """The sum of squares at each pair of alpha and beta with the best gamma, which is linear; shape (m,)."""
    a, b = np.broadcast_arrays(np.atleast_1d(alpha), np.atleast_1d(beta))
    shapes = n / (1.0 + np.multiply.outer(a, n - 1.0) + np.multiply.outer(b, n * (n - 1.0))) / error
    y = x / error
    gamma = shapes @ y / np.einsum("ij,ij->i", shapes, shapes)
    left = y - gamma[:, None] * shapes
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


def _best(n: Array, x: Array, error: Array) -> tuple[float, float, float]:
    """The least squares fit: of alpha and beta each free, at 0 and at 1, the best that stays within [0, 1].

    Each from the best point of a grid, so that no start has to be guessed; a fit at a bound is preferred to one
    that is no better (1e-9), because there rounding decides.
    """
    span, height = float(n.max()), float(np.max(x / n))
    alphas = np.concatenate(([0.0], np.geomspace(1e-4 / span, 1.0, 40)))
    betas = np.concatenate(([0.0], np.geomspace(1e-4 / span**2, 1.0, 40)))
    costs = _projected(n, x, error, np.repeat(alphas, betas.size), np.tile(betas, alphas.size))
    costs = costs.reshape(alphas.size, betas.size)
    ends: list[tuple[float, int, tuple[float, float, float]]] = []
    for rows, cols in itertools.product((slice(None), slice(0, 1), slice(-1, None)), repeat=2):
        part = costs[rows, cols]
        row, col = np.unravel_index(int(part.argmin()), part.shape)
        start = np.array([alphas[rows][row] * span, betas[cols][col] * span**2, 1.0])
        free = np.array([rows == slice(None), cols == slice(None), True])
        alpha, beta = _polished(n, x, error, start, free, np.array([1.0 / span, 1.0 / span**2, height]))
        if 0.0 <= alpha <= 1.0 and 0.0 <= beta <= 1.0:
            unit = shape(n, alpha, beta) / error
            cost = float(_projected(n, x, error, alpha, beta)[0])
            ends.append((cost, int(free.sum()), (alpha, beta, float(unit @ (x / error) / (unit @ unit)))))
    enough = min(cost for cost, _, _ in ends) * (1.0 + 1e-9) + 1e-24 * float(np.sum((x / error) ** 2))
    return min((end for end in ends if end[0] <= enough), key=lambda end: end[1])[2]


def _polished(n: Array, x: Array, error: Array, start: Array, free: Mask, scale: Array) -> tuple[float, float]:
    """alpha and beta after Levenberg-Marquardt on the free parameters, gamma always among them."""

    def whole(p: Array) -> Array:
        full = start.copy()
        full[free] = p
        return np.asarray(full * scale)

    def residuals(p: Array) -> Array:
        alpha, beta, gamma = whole(p)
        return np.asarray((gamma * shape(n, alpha, beta) - x) / error)

    def jacobian(p: Array) -> Array:
        return np.asarray((_gradient(n, *whole(p)) * scale / error[:, None])[:, free])

    with np.errstate(all="ignore"):
        found = scipy.optimize.least_squares(
            residuals, start[free], jac=jacobian, method="lm", xtol=1e-15, ftol=1e-15, gtol=1e-15, max_nfev=400
        )
    alpha, beta, _ = whole(found.x)
    return float(alpha), float(beta)


def _covariance(n: Array, error: Array, alpha: float, beta: float, gamma: float, rse: float) -> Array:
    """s^2 (J'J)^-1, by the QR decomposition of a scaled Jacobian; NaN where it is singular."""
    jacobian = _gradient(n, alpha, beta, gamma) / error[:, None]
    scale = np.linalg.norm(jacobian, axis=0)
    if not (scale > 0).all():
        return np.full((3, 3), np.nan)
    r = np.linalg.qr(jacobian / scale, mode="r")
    if np.abs(np.diag(r)).min() < 1e-12:
        return np.full((3, 3), np.nan)
    inverse = np.linalg.inv(r) / scale[:, None]
    return np.asarray(rse**2 * inverse @ inverse.T)


def crossing(cost: Callable[[float], float], allowed: float, start: float, end: float, step: float) -> float | None:
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
