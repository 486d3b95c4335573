"""From injected faults to production: MTBF and availability at a declared production fault rate."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from faultload_analysis.evidence.dependence import share_bounds
from faultload_analysis.evidence.inputs import checked_confidence
from faultload_analysis.evidence.verdict import Estimate, no_data
from faultload_analysis.recovery.outcome import Recovery
from faultload_analysis.recovery.repeats import mttr, times_of


def availability_from(mtbf_s: float, mttr_s: float) -> float:
    """MTBF / (MTBF + MTTR). MTBF is a declared production fault rate, never the injection rate.

    ValueError unless mtbf_s > 0 and mttr_s >= 0.
    """
    if not (mtbf_s > 0 and mttr_s >= 0):
        raise ValueError(f"MTBF {mtbf_s} must be above 0 and MTTR {mttr_s} not negative")
    return 1.0 if math.isinf(mtbf_s) else mtbf_s / (mtbf_s + mttr_s)


def mtbf_estimate(
    rates_per_s: Mapping[str, float], impacts: Mapping[str, tuple[int, int]], *, confidence: float = 0.95
) -> Estimate:
    """Mean time between failures of the service in production, seconds.

    `rates_per_s`: how often each kind of fault happens in production, DECLARED, a second. `impacts`: for each kind
    (k, n): of n injections k had an impact on users; an absorbed fault is no failure of the service. Faults
    come as independent Poisson processes, and each has an impact with probability p_i, so failures come at
    the rate sum(rate_i p_i) (thinning and superposition); MTBF is its inverse. Bounds: exact binomial on every
    p_i at 1 - (1 - confidence) / kinds (Bonferroni), all at their worst together; the declared rates count
    as exact. `n` is the injections. No impact seen: +inf, at least `low`. No rate declared, or a kind that was
    never injected: value None; the injection rate is never taken.
    ValueError for a rate that is not above 0 and finite, or not 0 <= k <= n.
    """
    problem = _problem(rates_per_s, impacts)
    if problem:
        return no_data(problem, n=sum(n for _, n in impacts.values()))
    each = 1.0 - (1.0 - checked_confidence(confidence)) / len(rates_per_s)
    least = expected = most = 0.0
    for name, rate in rates_per_s.items():
        k, n = impacts[name]
        low, high = share_bounds(k, n, confidence=each)
        least, expected, most = least + rate * low, expected + rate * k / n, most + rate * high
    n = sum(impacts[name][1] for name in rates_per_s)
    hit = sum(impacts[name][0] for name in rates_per_s)
    return Estimate(
        1.0 / expected if expected else math.inf,
        1.0 / most,
        1.0 / least if least else None,
        n,
        None,
        "declared rates, exact binomial on the share with an impact, Bonferroni",
        f"{hit} of {n} injections had an impact",
    )


def _problem(rates_per_s: Mapping[str, float], impacts: Mapping[str, tuple[int, int]]) -> str:
    for name, rate in rates_per_s.items():
        if not (rate > 0 and math.isfinite(rate)):
            raise ValueError(f"{name}: a fault rate of {rate} per second is not above 0")
    for name, (k, n) in impacts.items():
        if not 0 <= k <= n:
            raise ValueError(f"{name}: {k} impacts of {n} injections")
    if not rates_per_s:
        return "no production fault rate is declared: how often faults are injected says nothing about it"
    undeclared = sorted(name for name in impacts if name not in rates_per_s)
    if undeclared:
        return f"no production fault rate is declared for {', '.join(undeclared)}"
    unseen = sorted(name for name in rates_per_s if impacts.get(name, (0, 0))[1] == 0)
    return f"never injected and measured: {', '.join(unseen)}" if unseen else ""


def availability_estimate(
    rates_per_s: Mapping[str, float],
    recoveries: Mapping[str, Sequence[Recovery]],
    *,
    confidence: float = 0.95,
) -> Estimate:
    """Steady-state availability in production from declared fault rates and measured recoveries.

    `rates_per_s` as in `mtbf_estimate`; `recoveries`: those of each kind's injections, of which the ones that
    could not be measured are left out. 1 / (1 + sum(rate_i p_i MTTR_i)), which for one kind is
    MTBF / (MTBF + MTTR): each kind is weighed by its production rate, not by how often it was injected. Bounds:
    those of p_i and of MTTR_i, each at 1 - (1 - confidence) / (2 kinds). The lower bound is open where a kind's
    MTTR has no upper one: fewer than two impacts, or one that never recovered.
    No rate declared, or a kind never measured: value None. ValueError as in `mtbf_estimate`.
    """
    measured = {name: [r for r in all_ if r.measurable] for name, all_ in recoveries.items()}
    impacts = {name: (sum(not r.absorbed for r in seen), len(seen)) for name, seen in measured.items()}
    problem = _problem(rates_per_s, impacts)
    n = sum(len(seen) for seen in measured.values())
    if problem:
        return no_data(problem, n=n)
    each = 1.0 - (1.0 - checked_confidence(confidence)) / (2 * len(rates_per_s))
    least = expected = 0.0
    most: float | None = 0.0
    open_ends = []
    for name, rate in rates_per_s.items():
        k, seen = impacts[name]
        low, high = share_bounds(k, seen, confidence=each)
        repair = mttr(measured[name], confidence=each)
        never = bool(times_of(measured[name])[1].size)
        expected += 0.0 if k == 0 else math.inf if never else rate * k / seen * (repair.value or 0.0)
        least += rate * low * (repair.low or 0.0)
        if repair.high is None:
            open_ends.append(name)
            most = None
        elif most is not None:
            most += rate * high * repair.high
    why = f"no upper bound on the time to recovery of {', '.join(open_ends)}" if open_ends else ""
    return Estimate(
        1.0 / (1.0 + expected),
        None if most is None else 1.0 / (1.0 + most),
        1.0 / (1.0 + least),
        n,
        None,
        "declared rates, exact binomial and MTTR bounds, Bonferroni",
        why,
    )
