"""Whether new runs fall outside a history of baseline runs."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

import numpy as np
import numpy.typing as npt

from faultload_analysis.compare.ranks import rank_sum_p
from faultload_analysis.evidence.dependence import Array
from faultload_analysis.evidence.distributions import t_quantile, t_sf
from faultload_analysis.evidence.inputs import checked_confidence, checked_runs

_FEWEST_FOR_SHAPE = 5


class Place(StrEnum):
    """Where the new runs lie: WITHIN the baselines, OUTSIDE them, or TOO_FEW baselines to say."""

    WITHIN = "within"
    OUTSIDE = "outside"
    TOO_FEW = "too few baselines"


@dataclass(frozen=True, slots=True)
class BaselineCheck:
    """The result of `baseline_gate`.

    `limit`: the value beyond which a new run (or the mean of the new runs) is outside; None if there is none.
    `p`: the one-sided probability of a new run as bad as this among the baselines.
    """

    place: Place
    limit: float | None
    p: float | None
    baselines: int
    new: int
    method: str
    why: str


def baseline_gate(
    baselines: npt.ArrayLike,
    new: npt.ArrayLike,
    *,
    lower_is_better: bool = True,
    shape: Literal["any", "normal", "lognormal"] = "any",
    confidence: float = 0.95,
    fmt: Callable[[float], str] = "{:.4g}".format,
) -> BaselineCheck:
    """Whether `new`, shape (m,), is worse than the spread of `baselines`, shape (n,), explains; one value a run.

    OUTSIDE when the one-sided p of the new runs is at most 1 - confidence: a system that did not change is then
    called OUTSIDE in at most that share of checks, if its runs are exchangeable; so take the baselines since the
    last change (`changepoints.change_points`).

    `shape` "any" assumes nothing: the exact rank test; for one new run the limit is the k-th worst baseline,
    k = (1 - confidence)(n + 1) rounded down, so 19 baselines are needed at 95 %, 5 for three new runs.
    "normal" and "lognormal" assume that shape and need only 5: the prediction limit for the mean of m
    further values, mean + t s sqrt(1/m + 1/n), n - 1 degrees of freedom (Hahn & Meeker 1991, 4.7 and 4.8); the
    tail is then a belief, not a measurement. TOO_FEW: fewer than that, or baselines that do not vary at all where
    a shape is assumed. ValueError on NaN or -inf, and, where a shape is assumed, on infinite values or logarithms
    of values that are not positive.
    """
    a, b = checked_runs(baselines, "baselines"), checked_runs(np.atleast_1d(new), "new")
    confidence = checked_confidence(confidence)
    if shape not in ("any", "normal", "lognormal"):
        raise ValueError(f"unknown shape {shape!r}: any, normal or lognormal")
    if b.size == 0:
        return BaselineCheck(Place.TOO_FEW, None, None, a.size, 0, "none", "no new run to check")
    alpha = 1.0 - confidence
    found = (
        _by_ranks(a, b, lower_is_better, alpha)
        if shape == "any"
        else _by_shape(a, b, lower_is_better, alpha, shape)
    )
    limit, p, method, lacking = found
    if lacking or p is None:
        return BaselineCheck(Place.TOO_FEW, None, p, a.size, b.size, method, f"{Place.TOO_FEW}: {lacking}")
    place = Place.OUTSIDE if p <= alpha * (1.0 + 1e-12) else Place.WITHIN
    side = "above" if lower_is_better else "below"
    bound = "" if limit is None else f", outside {side} {fmt(limit)}"
    seen = (
        fmt(float(b[0]))
        if b.size == 1
        else f"{b.size} new runs ({fmt(float(np.min(b)))} to {fmt(float(np.max(b)))})"
    )
    spread = f"{a.size} baselines ({fmt(float(a.min()))} to {fmt(float(a.max()))})"
    return BaselineCheck(
        place, limit, p, a.size, b.size, method, f"{place}: {seen} against {spread}{bound}, p {p:.3g}"
    )


Found = tuple[float | None, float | None, str, str]


def baselines_needed(new: int, confidence: float = 0.95) -> int:
    """The fewest baselines with which `new` runs can be OUTSIDE without assuming a shape: 19 for one at 95 %."""
    if new < 1 or not 0.0 < confidence < 1.0:
        raise ValueError(f"no such check: {new} new runs at confidence {confidence}")
    n = 1
    while 1.0 / math.comb(n + new, new) > (1.0 - confidence) * (1.0 + 1e-12):
        n += 1
    return n


def _by_ranks(a: Array, b: Array, lower_is_better: bool, alpha: float) -> Found:
    method = "exact rank test, no shape assumed"
    needed = baselines_needed(b.size, 1.0 - alpha)
    if a.size < needed:
        what = "one new run" if b.size == 1 else f"{b.size} new runs"
        return None, None, method, f"{what} need {needed}, there are {a.size}"
    p = rank_sum_p(a, b) if lower_is_better else rank_sum_p(b, a)
    if b.size > 1:
        return None, p, method, ""
    k = math.floor(alpha * (a.size + 1) * (1.0 + 1e-12))
    ordered = np.sort(a)
    return float(ordered[-k] if lower_is_better else ordered[k - 1]), p, method, ""


def _by_shape(a: Array, b: Array, lower_is_better: bool, alpha: float, shape: str) -> Found:
    method = f"prediction limit, {shape} assumed"
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        raise ValueError(f"a {shape} shape has no infinite values")
    if shape == "lognormal":
        if not ((a > 0).all() and (b > 0).all()):
            raise ValueError("a lognormal shape has positive values only")
        a, b = np.log(a), np.log(b)
    n, m = a.size, b.size
    if n < _FEWEST_FOR_SHAPE:
        return None, None, method, f"an assumed shape needs {_FEWEST_FOR_SHAPE}, there are {n}"
    spread = float(a.std(ddof=1)) * math.sqrt(1.0 / m + 1.0 / n)
    if spread == 0.0 or np.ptp(a) == 0.0:
        return None, None, method, f"the {n} baselines do not vary at all"
    sign = 1.0 if lower_is_better else -1.0
    p = t_sf(sign * (float(b.mean()) - float(a.mean())) / spread, n - 1)
    limit = float(a.mean()) - sign * t_quantile(alpha, n - 1) * spread
    return (math.exp(limit) if shape == "lognormal" else limit), p, method, ""
