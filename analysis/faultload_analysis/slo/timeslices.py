"""Budgets of time slices, as counted by OpenSLO's Timeslices and RatioTimeslices."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy.typing as npt

from faultload_analysis.evidence.dependence import Mask
from faultload_analysis.evidence.inputs import checked_counts
from faultload_analysis.evidence.verdict import no_data
from faultload_analysis.latency.quantiles import mean_estimate
from faultload_analysis.slo.availability import proportion_estimate
from faultload_analysis.slo.budget import Budget, allowed_share, budget_spent

MINUTE_S = 60.0


def slices_in(window_s: float, width_s: float = MINUTE_S) -> int:
    """How many slices a window has; 2 weeks of 1 minute: 20,160. ValueError unless it is a whole number."""
    count = window_s / width_s if 0 < width_s < math.inf and window_s < math.inf else 0.0
    if count < 1 or abs(count - round(count)) > 1e-9 * count:
        raise ValueError(f"a window of {window_s} s does not consist of whole slices of {width_s} s")
    return round(count)


def bad_time_s(slo: float, window_s: float, width_s: float = MINUTE_S) -> float:
    """The budget as time: how much of the window may be bad slices; 95 % of 2 weeks: 16 h 48 min.

    Not rounded to whole slices: 95 % of 30 slices allow 1.5 of them.
    """
    return allowed_share(slo) * slices_in(window_s, width_s) * width_s


@dataclass(frozen=True, slots=True)
class SliceBudget:
    """A run in time slices: `good` and `bad` ones (`bad` mask: shape (k,)), `empty` ones without requests."""

    good: int
    bad: int
    empty: int
    bad_slices: Mask
    budget: Budget


def timeslice_budget(
    total: npt.ArrayLike,
    bad: npt.ArrayLike,
    slo: float,
    window_s: float,
    *,
    slice_target: float,
    width_s: float = MINUTE_S,
) -> SliceBudget:
    """OpenSLO `budgetingMethod: Timeslices`: the share of slices that are good.

    `total`, `bad`: shape (k,), requests of each slice of `width_s` in time order. A slice is good when its
    share of good requests is at least `slice_target` (timeSliceTarget). A slice without requests is neither:
    it says nothing, and is left out of the share; `empty` counts them. Consumed: bad slices over those that
    the window allows, (1 - slo) * window / width. Bounds: `proportion_estimate` over the slices.
    ValueError as `inputs.checked_counts`, unless 0 < slice_target <= 1, or for a window of no whole number of
    slices.
    """
    totals, bads = checked_counts(total, bad)
    if not 0.0 < slice_target <= 1.0:
        raise ValueError(f"a time slice target lies in (0, 1], not {slice_target}")
    slices_in(window_s, width_s)
    seen = totals > 0
    good = (totals - bads) >= slice_target * totals * (1 - 1e-12)
    wrong = seen & ~good
    share = proportion_estimate(wrong[seen]).complement() if seen.any() else no_data("no requests in any slice")
    spent = budget_spent(share, slo, window_s, max(int(seen.sum()), 1) * width_s)
    k = int(wrong.sum())
    return SliceBudget(int(seen.sum()) - k, k, int((~seen).sum()), wrong, spent)


def ratio_timeslice_budget(
    total: npt.ArrayLike, bad: npt.ArrayLike, slo: float, window_s: float, *, width_s: float = MINUTE_S
) -> Budget:
    """OpenSLO `budgetingMethod: RatioTimeslices`: the average of all slices' shares of good requests.

    Arguments and errors as in `timeslice_budget`; a quiet slice weighs as much as a busy one. Bounds: Student's t
    on batch means of the slices' shares (`mean_estimate`).
    """
    totals, bads = checked_counts(total, bad)
    slices_in(window_s, width_s)
    seen = totals > 0
    shares = bads[seen] / totals[seen]
    share = mean_estimate(shares) if shares.size else no_data("no requests in any slice")
    return budget_spent(share, slo, window_s, max(int(seen.sum()), 1) * width_s)
