"""A quantile of the times to recover over repeats of a fault, some absorbed, some never recovered."""

from __future__ import annotations

import math
from collections.abc import Sequence

from faultload_analysis.evidence.verdict import Estimate, no_data
from faultload_analysis.latency.quantiles import lower_rank, upper_rank
from faultload_analysis.latency.rank import Probability, exact_probability, rank
from faultload_analysis.recovery.faults import ttr_estimate
from faultload_analysis.recovery.outcome import Recovery


def ttr_quantile(
    recoveries: Sequence[Recovery], p: Probability, *, target: float | None = None, confidence: float = 0.95
) -> Estimate:
    """The p-quantile of the time to recover over repeats, with order statistics of the exact binomial.

    Repeats count as independent. Each enters with its own bounds (`ttr_estimate`): an absorbed one as 0, one that
    never recovered as at least the time that it was watched. `missed`: how many are over `target`. A P90 needs 29
    repeats for an upper bound, a median 5. None: value None. ValueError for one that was not measurable.
    """
    exact_p, n = exact_probability(p), len(recoveries)
    if n == 0:
        return no_data("no fault was injected")
    seen = [ttr_estimate(one) for one in recoveries]
    values = [one.value for one in seen if one.value is not None]
    if len(values) < n:
        raise ValueError("a recovery that was not measurable is in no quantile")
    lows = sorted(0.0 if one.low is None else one.low for one in seen)
    highs = sorted(math.inf if one.high is None else one.high for one in seen)
    at = rank(n, exact_p)
    upper, lower = upper_rank(n, exact_p, confidence=confidence), lower_rank(n, exact_p, confidence=confidence)
    high = math.inf if upper is None else highs[max(upper, at) - 1]
    absorbed = sum(one.absorbed for one in recoveries)
    never = sum(value == math.inf for value in values)
    notes = [
        f"{count} of {n} {what}" for count, what in ((absorbed, "absorbed"), (never, "never recovered")) if count
    ]
    return Estimate(
        sorted(values)[at - 1],
        None if lower is None else lows[min(lower, at) - 1],
        high if math.isfinite(high) else None,
        n,
        float(n),
        "exact binomial on order statistics",
        ", ".join(notes),
        missed=None if target is None else sum(value > target for value in values),
    )
