"""Where a curve bends: a hinge by segmented regression with an interval; Kneedle for the eye only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import scipy

from faultload_analysis.evidence.dependence import Array
from faultload_analysis.evidence.distributions import t_quantile
from faultload_analysis.evidence.inputs import checked_confidence
from faultload_analysis.evidence.verdict import Estimate, no_data

FEWEST_LEVELS = 6
_GRID = 800
_NULL_DRAWS = 1999
_EXACT = 1e-18
_LEAST_NOISE = 0.05
"""Of noise in proportion to the line, the least as a share of the most: a line may come down to 0."""


@dataclass(frozen=True, slots=True)
class Knee:
    """A bend between two straight lines, or that there is none.

    `at`: where, with two one-sided bounds; without a knee value None and `why` says so. `slope_before`,
    `slope_after`: of the two lines (of the one line where there is no knee). `p_value`: how often noise around
    one straight line gives as much of a bend; None where it cannot be told.
    """

    at: Estimate
    slope_before: float | None
    slope_after: float | None
    p_value: float | None

    @property
    def found(self) -> bool:
        """Whether the data have a bend that noise does not explain."""
        return self.at.value is not None


def find_knee(x: npt.ArrayLike, y: npt.ArrayLike, *, alpha: float = 0.05, confidence: float = 0.95) -> Knee:
    """Fit y = a + b x + d max(x - k, 0) and test it against a straight line.

    `x`, `y`: shape (n,), any order: offered rate against achieved rate, for one. Least squares in k exactly, by
    Hudson's method (1966). The F statistic against the line is compared with its distribution under normal noise at
    these x, drawn 1999 times with a fixed seed: k exists only under the alternative, so the F table rejects too
    often (Davies 1987; measured with 20 even points: 6.7 % at a nominal 5 %, this one 4.8 %). Even noise, and noise
    in proportion to the line with a fit that weighs by it, must both be rejected at `alpha`, else there is no knee.
    Of straight lines with 3 and 10 % of noise of either kind at 6 to 12 points, 40 times each, 3 % have one (with
    even noise alone 7 to 42 % where it is in proportion). A server that saturates halfway is found always with 3 %
    of noise, with 10 % in 60, 80 and 92 of 100 sweeps of 6, 8 and 12 points.

    Bounds on k: all values with S(k) - S <= c^2 s^2, c for each side from 1999 wild bootstrap draws (Wu 1986; noise
    may grow with the rate) and at least t_{n - 4}; a bound that the data do not reach is open. Measured with 12, 20
    and 30 points, even or growing noise, 300 times: 2 to 5 % miss the knee on either side (by t alone 10 of 40
    intervals did with growing noise). Fewer than 6 levels of x: no knee can be told.
    ValueError for differing shapes, NaN or infinite values, alpha or confidence out of range.
    """
    if not 0.0 < alpha < 1.0:
        raise ValueError(f"alpha lies between 0 and 1, not {alpha}")
    confidence = checked_confidence(confidence)
    xs, ys = _checked(x, y)
    n, levels = xs.size, np.unique(xs)
    if levels.size < FEWEST_LEVELS:
        why = f"{levels.size} levels are too few to tell a knee: take {FEWEST_LEVELS} or more"
        return Knee(no_data(why, n=n), None, None, None)
    scale, shift = float(levels[-1] - levels[0]), float(levels[0])
    u, total = (xs - shift) / scale, float(((ys - ys.mean()) ** 2).sum())
    line = _Line(u, ys)
    if line.cost <= _EXACT * max(total, float(ys @ ys) * 1e-6):
        slope = line.slope / scale
        return Knee(no_data("one straight line fits exactly: no knee", n=n), slope, slope, 1.0)
    inner = (levels[1:-1] - shift) / scale
    at = line.best_hinge(inner)
    cost, before, after = line.hinge(at)

    perfect = cost <= _EXACT * total
    p_value = 0.0 if perfect else line.p_value(inner, (line.cost - cost) / cost)
    if p_value > alpha:
        slope = line.slope / scale
        why = f"no knee: noise around one straight line bends as much in {p_value:.0%} of cases"
        return Knee(no_data(why, n=n), slope, slope, p_value)
    low = high = None
    why = "the data lie on two lines exactly, so nothing tells their noise" if perfect else ""
    if not perfect:
        low, high = line.interval(inner, at, confidence)

    def back(k: float | None) -> float | None:
        return None if k is None else shift + scale * k

    found = Estimate(
        back(at), back(low), back(high), n, None, "segmented regression, profile with wild bootstrap", why
    )
    return Knee(found, before / scale, after / scale, p_value)


class _Line:
    """A straight line through points and what a hinge at k adds to it; x scaled to [0, 1].

    `error` of each point, even unless given: the sums of squares, residuals and directions are in units of it.
    """

    def __init__(self, u: Array, y: Array, error: Array | None = None) -> None:
        self.u, self.y = u, y
        self.error = np.ones_like(u) if error is None else error
        self.basis = np.linalg.qr(np.column_stack((np.ones_like(u), u)) / self.error[:, None])[0]
        self.left = y / self.error - self.basis @ (self.basis.T @ (y / self.error))
        self.cost = float(self.left @ self.left)
        self.slope = float(np.polyfit(u, y, 1)[0])

    def directions(self, ks: Array) -> Array:
        """For each k the unit vector by which a hinge there leaves the line, shape (m, n)."""
        hinges = np.maximum(self.u[None, :] - ks[:, None], 0.0) / self.error
        hinges -= (hinges @ self.basis) @ self.basis.T
        return np.asarray(hinges / np.linalg.norm(hinges, axis=1, keepdims=True))

    def costs(self, ks: Array) -> Array:
        """The sum of squares with a hinge at each k, shape (m,)."""
        return np.asarray(np.maximum(self.cost - (self.directions(ks) @ self.left) ** 2, 0.0))

    def hinge(self, k: float) -> tuple[float, float, float]:
        """The sum of squares with a hinge at k, and the slopes on both sides."""
        design = np.column_stack((np.ones_like(self.u), self.u, np.maximum(self.u - k, 0.0)))
        solution = np.linalg.lstsq(design, self.y)[0]
        left = self.y - design @ solution
        return float(left @ left), float(solution[1]), float(solution[1] + solution[2])

    def best_hinge(self, inner: Array) -> float:
        """Hudson: each level is a candidate, and where the lines fitted apart on both sides meet in between."""
        candidates = [inner]
        edges = np.concatenate((inner, [1.0]))
        for left_end, right_start in zip(inner, edges[1:], strict=True):
            left, right = self.u <= left_end + 1e-12, self.u >= right_start - 1e-12
            if np.unique(self.u[right]).size < 2:
                continue
            b1, a1 = np.polyfit(self.u[left], self.y[left], 1)
            b2, a2 = np.polyfit(self.u[right], self.y[right], 1)
            if b1 != b2 and left_end < (meets := (a1 - a2) / (b2 - b1)) < right_start:
                candidates.append(np.array([meets]))
        ks = np.concatenate(candidates)
        return min((float(k) for k in ks), key=lambda k: self.hinge(k)[0])

    def p_value(self, inner: Array, seen: float) -> float:
        """How often noise around the line lets a hinge explain as much; `seen`: (S0 - S1) / S1.

        The larger share of even noise, and of noise in proportion to the line with a fit that weighs by it.
        """
        level = np.abs(self.y - self.left)
        error = np.maximum(level, _LEAST_NOISE * level.max())
        weighted = _Line(self.u, self.y, error / error.max()) if error.max() > 0.0 else self
        fine = _fine(inner)
        gained = weighted.cost - float(weighted.costs(fine).min())
        return max(self._as_much(fine, seen), weighted._as_much(fine, gained / max(weighted.cost - gained, 1e-300)))

    def _as_much(self, ks: Array, seen: float) -> float:
        noise = np.random.default_rng(0).standard_normal((self.u.size, _NULL_DRAWS))
        noise -= self.basis @ (self.basis.T @ noise)
        gained = np.max((self.directions(ks) @ noise) ** 2, axis=0)
        ratio = gained / (np.einsum("ij,ij->j", noise, noise) - gained)
        return float((1 + np.count_nonzero(ratio >= seen)) / (1 + _NULL_DRAWS))

    def interval(self, inner: Array, at: float, confidence: float) -> tuple[float | None, float | None]:
        """The outermost k on either side that cost no more than allowed; None: the data end first."""
        ks = np.unique(np.append(_fine(inner), at))
        best, df = int(np.searchsorted(ks, at)), self.u.size - 4
        cost, costs = self.hinge(at)[0], self.costs(ks)

        def edge(critical: float, step: int) -> float | None:
            allowed = cost * (1.0 + critical**2 / df)
            fits = np.flatnonzero(costs <= allowed)
            inside = max(best, int(fits[-1])) if step > 0 else min(best, int(fits[0]))
            outside = inside + step
            if not 0 <= outside < ks.size:
                return None
            a, b = sorted((float(ks[inside]), float(ks[outside])))
            return float(
                scipy.optimize.brentq(lambda k: float(self.costs(np.array([k]))[0]) - allowed, a, b, xtol=1e-12)
            )

        below, above = self._critical(ks, best, confidence)
        return edge(below, -1), edge(above, 1)

    def _critical(self, ks: Array, best: int, confidence: float) -> tuple[float, float]:
        """How far the signed root of the profile strays to either side by a wild bootstrap; at least Student t."""
        k, df = float(ks[best]), self.u.size - 4
        past = self.u > k
        design = np.column_stack((np.ones_like(self.u), self.u, np.maximum(self.u - k, 0.0), past.astype(float)))
        q = np.linalg.qr(design)[0]
        leverage = np.minimum(np.einsum("ij,ij->i", q, q), 0.95)
        solution = np.linalg.lstsq(design[:, :3], self.y)[0]
        fitted = design[:, :3] @ solution
        signs = np.random.default_rng(1).choice((-1.0, 1.0), (self.u.size, _NULL_DRAWS))
        drawn = fitted[:, None] + signs * ((self.y - fitted) / (1.0 - leverage))[:, None]
        drawn -= self.basis @ (self.basis.T @ drawn)
        gains = (self.directions(ks) @ drawn) ** 2
        top = gains.argmax(axis=0)
        most = gains[top, np.arange(_NULL_DRAWS)]
        left = np.einsum("ij,ij->i", drawn.T, drawn.T) - most
        root = np.sqrt((most - gains[best]) / np.maximum(left, 1e-300) * df) * np.sign(top - best)
        t = t_quantile(confidence, df)
        return max(t, float(np.quantile(root, confidence))), max(t, float(np.quantile(-root, confidence)))


def _fine(inner: Array) -> Array:
    """Where a hinge is looked for: `inner` and some 800 points between, ascending."""
    return np.unique(
        np.concatenate((inner[:: max(1, inner.size // _GRID)], np.linspace(inner[0], inner[-1], _GRID)))
    )


def kneedle(
    x: npt.ArrayLike,
    y: npt.ArrayLike,
    *,
    curve: Literal["concave", "convex"] = "concave",
    direction: Literal["increasing", "decreasing"] = "increasing",
    sensitivity: float = 1.0,
) -> float | None:
    """The knee that the eye sees, by Kneedle (Satopaa et al. 2011) without smoothing: a picture, not a metric.

    It lies where the curve is furthest from the chord between its ends, so it moves with the range that was
    swept: for P99 of the same M/M/1 queue (service 100/s, 40 rates from 5/s on) it says 56.9, 68.2, 78.8 or
    89.4/s when the sweep ends at 80, 90, 95 or 99/s. A capacity must not depend on how far somebody tested; that
    of `capacity.capacity_bracket` does not. `x`, `y`: shape (n,), any order. None: no knee, too few
    points or no range. ValueError for differing shapes, NaN or infinite values, a sensitivity below 0, or another
    curve or direction.
    """
    if curve not in ("concave", "convex") or direction not in ("increasing", "decreasing") or not sensitivity >= 0:
        raise ValueError(f"no such knee: {direction}, {curve}, sensitivity {sensitivity}")
    xs, ys = _checked(x, y)
    order = np.argsort(xs, kind="stable")
    xs, ys = xs[order], ys[order]
    if xs.size < 3 or np.ptp(xs) == 0.0 or np.ptp(ys) == 0.0:
        return None
    across, up = (xs - xs[0]) / (xs[-1] - xs[0]), (ys - ys.min()) / np.ptp(ys)
    backwards = (direction == "increasing") == (curve == "convex")
    if curve == "convex":
        up = 1.0 - up
    rise = (up[::-1] if backwards else up) - across
    drop = sensitivity * float(np.abs(np.diff(across).mean()))
    peak, threshold = None, 0.0
    for i in range(1, xs.size - 1):
        if rise[i] >= rise[i - 1] and rise[i] >= rise[i + 1]:
            peak, threshold = i, float(rise[i]) - drop
        elif peak is not None and rise[i] <= rise[i - 1] and rise[i] <= rise[i + 1]:
            threshold = 0.0
        if peak is not None and rise[i + 1] < threshold:
            return float(xs[-1 - peak] if backwards else xs[peak])
    return None


def _checked(x: npt.ArrayLike, y: npt.ArrayLike) -> tuple[Array, Array]:
    xs, ys = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    if xs.shape != ys.shape or xs.ndim != 1:
        raise ValueError(f"x {xs.shape} and y {ys.shape} must be one shape (n,)")
    if not (np.isfinite(xs).all() and np.isfinite(ys).all()):
        raise ValueError("x or y hold NaN or infinite values")
    return xs, ys
