"""Error budgets: how much of a window's budget a share of bad requests uses, and what is left over time."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from faultload_analysis.evidence.dependence import Array
from faultload_analysis.evidence.inputs import checked_counts
from faultload_analysis.evidence.verdict import Estimate, no_data


def allowed_share(slo: float) -> float:
    """1 - slo, without the float noise of 1 - 0.999. ValueError unless 0 < slo < 1."""
    if not 0.0 < slo < 1.0:
        raise ValueError(f"an SLO lies between 0 and 1, not {slo}")
    return float(round(1.0 - slo, 15))


def burn_rate(bad: int, total: int, slo: float) -> float:
    """Burn rate (bad / total) / (1 - slo): 1 spends exactly the budget. ValueError when total < 1."""
    if total < 1 or not 0 <= bad <= total:
        raise ValueError(f"not a share: {bad} of {total}")
    return bad / total / allowed_share(slo)


@dataclass(frozen=True, slots=True)
class Budget:
    """Share of the error budget of a window that the run consumed (1.0 = all of it).

    `estimate` is `consumed` with bounds from those of the error share; open without request counts.
    """

    consumed: float | None
    burn_rate: float | None
    method: str
    estimate: Estimate


def budget_spent(
    share: Estimate, slo: float, window_s: float, duration_s: float, expected_events: float | None = None
) -> Budget:
    """What a run of `duration_s` with this bad `share` consumed of the error budget of `window_s`.

    Burn rate b = e / (1 - slo), e the bad share. Time-based: b * duration / window. Event-based, when
    `expected_events` (N_W, events a window really has) is given: bad / ((1 - slo) N_W), `share.n` being the
    requests. Google SRE Workbook, ch. 5. No requests: all None.
    ValueError for a window, duration or N_W that is not above 0 and finite.
    """
    allowed = allowed_share(slo)
    _positive(window_s, duration_s, expected_events)
    method = "time-based" if expected_events is None else f"event-based, {expected_events:g} events a window"
    if share.value is None:
        return Budget(None, None, method, no_data("no requests to judge"))
    each = duration_s / (window_s * allowed) if expected_events is None else share.n / (allowed * expected_events)
    estimate = share.scaled(each)
    return Budget(estimate.value, share.value / allowed, method, estimate)


def _positive(window_s: float, duration_s: float, expected_events: float | None) -> None:
    if not all(
        0 < x < math.inf for x in (window_s, duration_s, 1.0 if expected_events is None else expected_events)
    ):
        raise ValueError("window, duration and expected events must be above 0 and finite")


@dataclass(frozen=True, slots=True)
class BurnDown:
    """What is left of a window's error budget over a run.

    Shape (k + 1,): `times_s` (the start, and the end of each slice), `remaining` (1 = all of the window's
    budget, below 0 = overspent; NaN everywhere without requests). `method` as in `Budget`.
    """

    times_s: Array
    remaining: Array
    method: str


def burn_down(
    total: npt.ArrayLike,
    bad: npt.ArrayLike,
    slo: float,
    window_s: float,
    *,
    start_s: float = 0.0,
    width_s: float = 1.0,
    end_s: float | None = None,
    expected_events: float | None = None,
) -> BurnDown:
    """The budget that is left after each slice of a run, from the requests of each slice.

    `total`, `bad`: shape (k,), counts per slice of `width_s` from `start_s` (`Slices.total` and `.failed` or
    `.over(...)`). Every bad request costs the same, so the line only falls, and it ends at 1 - `consumed` of
    `budget_spent` for the whole run. `end_s`: where the last, shorter slice ends.
    ValueError as `inputs.checked_counts`, for no slices, a start or end that is not finite, or a width, window or
    N_W that is not above 0 and finite.
    """
    totals, bads = checked_counts(total, bad)
    if totals.size == 0:
        raise ValueError("no slices to burn down; their counts must be one shape (k,), k > 0")
    if not (math.isfinite(start_s) and 0 < width_s < math.inf and math.isfinite(0.0 if end_s is None else end_s)):
        raise ValueError(f"no burn-down from {start_s} to {end_s} s in slices of {width_s} s")
    times = start_s + width_s * np.arange(totals.size + 1, dtype=np.float64)
    times[-1] = times[-1] if end_s is None else min(float(times[-1]), end_s)
    requests = int(totals.sum())
    spent = np.concatenate(([0.0], np.cumsum(bads)))
    share = Estimate(1.0, None, None, requests, None, "") if requests else no_data("no requests")
    whole = budget_spent(share, slo, window_s, float(times[-1] - start_s), expected_events)
    each = math.nan if whole.consumed is None else whole.consumed / requests
    return BurnDown(times, np.asarray(1.0 - spent * each), whole.method)
