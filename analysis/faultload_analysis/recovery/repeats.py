"""What repeats of a fault say together: mean, median and restricted mean time to recovery; two builds compared."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy

from faultload_analysis.evidence.dependence import Array
from faultload_analysis.evidence.distributions import chi2_quantile, t_quantile
from faultload_analysis.evidence.inputs import checked_confidence
from faultload_analysis.evidence.verdict import Estimate, no_data
from faultload_analysis.recovery.outcome import Recovery


def exponential_bounds(
    total_s: float, events: int, *, confidence: float = 0.95, censored: bool = False
) -> tuple[float, float]:
    """Two one-sided bounds on the mean of an exponential time seen `events` times in `total_s`.

    [2T / chi2_c(2r), 2T / chi2_1-c(2r)]; time-censored: 2r + 2 degrees of freedom below (NIST/SEMATECH
    e-Handbook 8.4.5.1). For a two-sided 95 % interval ask for 0.975. No events: (total / ln(1 / α), inf).
    """
    confidence = checked_confidence(confidence)
    if events < 0 or not 0 <= total_s < math.inf:
        raise ValueError(f"not a time on test: {events} events in {total_s} s")
    extra = 2 if censored or events == 0 else 0
    low = 2.0 * total_s / chi2_quantile(confidence, 2 * events + extra)
    high = 2.0 * total_s / chi2_quantile(1.0 - confidence, 2 * events) if events else math.inf
    return low, high


def lognormal_bounds(times_s: npt.ArrayLike, *, confidence: float = 0.95) -> tuple[float, float]:
    """Two one-sided bounds on the mean of lognormal times, shape (n,), n >= 2, all above 0.

    exp(m + v/2 -+ t sqrt(v/n + v^2 / (2(n-1)))), m and v mean and variance of the logarithms, t of Student with
    n - 1 degrees of freedom: Cox's method (in Land 1972) as modified by Olsson 2005 (J. Stat. Educ. 13(1)).
    ValueError for fewer than two times, or one that is not above 0 and finite.
    """
    confidence = checked_confidence(confidence)
    times = np.asarray(times_s, dtype=np.float64)
    if times.ndim != 1 or times.size < 2 or not (np.isfinite(times) & (times > 0)).all():
        raise ValueError("needs two or more times, each above 0 s and finite")
    logs = np.log(times)
    n, v = times.size, float(logs.var(ddof=1))
    reach = t_quantile(confidence, n - 1) * math.sqrt(v / n + v**2 / (2 * (n - 1)))
    centre = float(logs.mean()) + v / 2
    with np.errstate(over="ignore"):
        return float(np.exp(centre - reach)), float(np.exp(centre + reach))


def mttr(recoveries: Sequence[Recovery], *, confidence: float = 0.95) -> Estimate:
    """The mean time to recovery over repeats, `n` of them with a measured impact.

    Absorbed faults are left out, and `why` says how many; so are those that could not be measured. All
    recovered: the mean with the wider, at each end, of the exponential bounds (T/r times 2r/chi2) and the
    lognormal ones (Cox), since so few times cannot say which they are. One that never recovered leaves the
    mean without an upper bound: it can fail, never pass; `why` gives the Kaplan-Meier median where it
    exists, see `median_ttr` and `restricted_mean_ttr`. Fewer than 2: bounds open. None: value None.

    Measured over 20,000 sets each: how often the true mean lies above `high` / below `low`, aim 5 %:

        repeats                      2            5           20
        exponential          .015 / .009  .018 / .011  .007 / .025
        lognormal, sigma .5  .000 / .001  .000 / .002  .000 / .003
        lognormal, sigma 1   .011 / .007  .044 / .006  .064 / .020
        lognormal, sigma 1.5 .066 / .004  .105 / .002  .087 / .011
        nearly constant      .000 / .000  .000 / .000  .000 / .000
        5 or 30 s, even      .000 / .000  .030 / .000  .021 / .006
        5 s, a fifth 60 s    .000 / .039  .331 / .005  .162 / .011

    So `high` holds unless a few recoveries take very much longer than most: five repeats miss one in five with
    probability .33, and no method sees what did not happen.
    """
    seen = [r for r in recoveries if r.measurable and not r.absorbed]
    notes = []
    if absorbed := sum(r.absorbed for r in recoveries):
        notes.append(f"{absorbed} absorbed left out")
    if unknown := sum(not r.measurable for r in recoveries):
        notes.append(f"{unknown} not measurable left out")
    if not seen:
        return no_data("; ".join(["no fault with an impact to average", *notes]))
    done, cut_off = times_of(seen)
    total = float(done.sum() + cut_off.sum())
    value = total / done.size if done.size else math.inf
    low: float | None
    high: float | None
    low, high = exponential_bounds(total, done.size, confidence=confidence, censored=bool(cut_off.size))
    method = "exponential, chi-square"
    if cut_off.size:
        high = None
        notes.append(f"{cut_off.size} of {len(seen)} never recovered, {_median_text(done, cut_off)}")
    elif done.size >= 2 and (done > 0).all():
        below, above = lognormal_bounds(done, confidence=confidence)
        low, high = min(low, below), max(high, above)
        method = "the wider of exponential (chi-square) and lognormal (Cox)"
    if len(seen) < 2:
        low = high = None
        notes.append("one recovery bounds no mean: repeat the fault")
    return Estimate(value, low, high, len(seen), float(done.size), method, "; ".join(notes))


def at_least_s(recovery: Recovery) -> float:
    """How long one that never recovered took at least: until its last bad moment, seconds from impact."""
    known = recovery.censored_s if recovery.low_s is None else recovery.low_s
    return 0.0 if known is None else known


def times_of(recoveries: Sequence[Recovery]) -> tuple[Array, Array]:
    """Recovery times, and the times watched of those that never recovered; absorbed and unknown left out."""
    seen = [r for r in recoveries if r.measurable and not r.absorbed]
    done = [r.recover_s for r in seen if r.recovered and r.recover_s is not None]
    cut_off = [at_least_s(r) for r in seen if not r.recovered]
    return np.array(done, dtype=np.float64), np.array(cut_off, dtype=np.float64)


def _median_text(done: Array, cut_off: Array) -> str:
    survival = scipy.stats.ecdf(scipy.stats.CensoredData(uncensored=done, right=cut_off)).sf
    below = np.flatnonzero(survival.probabilities <= 0.5)
    return f"the median is {survival.quantiles[below[0]]:.2f} s" if below.size else "so the median is not known"


def _checked(done_s: npt.ArrayLike, censored_s: npt.ArrayLike) -> tuple[Array, Array]:
    done, cut_off = (np.asarray(x, dtype=np.float64) for x in (done_s, censored_s))
    for times in (done, cut_off):
        if times.ndim != 1 or not (np.isfinite(times) & (times >= 0)).all():
            raise ValueError("times must be of shape (n,), finite and not negative")
    return done, cut_off


def median_ttr(done_s: npt.ArrayLike, censored_s: npt.ArrayLike = (), *, confidence: float = 0.95) -> Estimate:
    """The median time to recovery, some of them never seen to end; two one-sided bounds.

    `done_s`, `censored_s`: recovery times, and how long the others were watched, seconds, shape (n,), (m,). Without
    censored ones: the order statistic x_(ceil(n/2)) with exact binomial bounds. With: Kaplan-Meier, and
    the times where the log-log bounds of survival pass 0.5 (Brookmeyer & Crowley 1982; Klein & Moeschberger
    2003, 4.5). An end that is not reached is open; a median that is not reached is +inf, at least the time by
    which survival is still above 0.5. No times: value None. ValueError for times that are not finite or below 0.
    """
    done, cut_off = _checked(done_s, censored_s)
    confidence, n = checked_confidence(confidence), done.size + cut_off.size
    if n == 0:
        return no_data("no fault with an impact")
    if not cut_off.size:
        ordered = np.sort(done)
        upper = int(scipy.stats.binom.ppf(confidence, n, 0.5)) + 1
        lower = n + 1 - upper
        return Estimate(
            float(ordered[(n + 1) // 2 - 1]),
            float(ordered[lower - 1]) if lower >= 1 else None,
            float(ordered[upper - 1]) if upper <= n else None,
            n,
            float(n),
            "exact binomial on order statistics",
        )
    survival = scipy.stats.ecdf(scipy.stats.CensoredData(uncensored=done, right=cut_off)).sf
    with warnings.catch_warnings(), np.errstate(divide="ignore", invalid="ignore"):
        warnings.simplefilter("ignore", RuntimeWarning)  # where survival is 0 or 1 the band is open, as below
        band: Any = survival.confidence_interval(2.0 * confidence - 1.0, method="log-log")

    def reached(shares: Array) -> float | None:
        at = np.flatnonzero(shares <= 0.5)
        return float(survival.quantiles[at[0]]) if at.size else None

    lowest = np.where(survival.probabilities == 0.0, 0.0, band.low.probabilities)
    value = reached(survival.probabilities)
    low = reached(np.nan_to_num(lowest, nan=1.0))
    return Estimate(
        math.inf if value is None else value,
        low,
        reached(np.nan_to_num(band.high.probabilities, nan=1.0)),
        n,
        float(done.size),
        "Kaplan-Meier, log-log",
        f"{cut_off.size} of {n} never recovered" + (", so the median is not known" if value is None else ""),
    )


def restricted_mean_ttr(
    done_s: npt.ArrayLike, censored_s: npt.ArrayLike = (), *, until_s: float | None = None, confidence: float = 0.95
) -> Estimate:
    """The mean of min(time to recovery, `until_s`): what can be said of a mean when some never recovered.

    Arguments as in `median_ttr`; `until_s`: by default the longest time seen, recovered or not. The area under the
    Kaplan-Meier curve, its variance sum(A_i^2 d_i / (Y_i (Y_i - d_i))) times m/(m-1) for m recoveries (Kaplan &
    Meier 1958; Klein & Moeschberger 2003, 4.5), bounds by Student's t with m - 1 degrees of freedom, between 0
    and `until_s`. Fewer than 2 recoveries: no bounds. No times: value None.
    ValueError for `until_s` that is not above 0 and finite, or beyond the last watch when that one never recovered.
    """
    done, cut_off = _checked(done_s, censored_s)
    confidence, n = checked_confidence(confidence), done.size + cut_off.size
    if n == 0:
        return no_data("no fault with an impact")
    longest = max(done.max(initial=0.0), cut_off.max(initial=0.0))
    until = float(longest) if until_s is None else until_s
    if not 0 < until < math.inf:
        raise ValueError(f"a mean restricted to {until} s says nothing")
    if until > longest and cut_off.max(initial=0.0) >= done.max(initial=0.0):
        raise ValueError(f"nothing was watched beyond {longest:.6g} s, so not until {until:.6g} s")
    times = np.unique(done[done <= until])
    at_risk = np.array([np.count_nonzero(done >= t) + np.count_nonzero(cut_off >= t) for t in times])
    ended = np.array([np.count_nonzero(done == t) for t in times])
    survival = np.concatenate(([1.0], np.cumprod(1.0 - ended / at_risk)))
    areas = survival * np.diff(np.concatenate(([0.0], times, [until])))
    value = float(areas.sum())
    why = f"until {until:.6g} s; {cut_off.size} of {n} never recovered" if cut_off.size else f"until {until:.6g} s"
    events = int(np.count_nonzero(done <= until))
    if events < 2:
        return Estimate(value, None, None, n, float(events), "Kaplan-Meier, restricted mean", why)
    after = np.cumsum(areas[::-1])[::-1][1:]
    more = at_risk > ended
    variance = float(np.sum(after[more] ** 2 * ended[more] / (at_risk[more] * (at_risk[more] - ended[more]))))
    reach = t_quantile(confidence, events - 1) * math.sqrt(variance * events / (events - 1))
    low, high = max(0.0, value - reach), min(until, value + reach)
    return Estimate(value, low, high, n, float(events), "Kaplan-Meier, restricted mean", why)


@dataclass(frozen=True, slots=True)
class RecoveryComparison:
    """Whether two builds recover alike: log-rank `p_value` (two-sided), None when there are too few recoveries.

    `slower`: "first" or "second", by the log-rank statistic's sign; "" when equal or not known.
    """

    p_value: float | None
    statistic: float | None
    slower: str
    n: tuple[int, int]
    why: str


def compare_recoveries(first: Sequence[Recovery], second: Sequence[Recovery]) -> RecoveryComparison:
    """Log-rank test of the recovery times of two builds, those that never recovered as censored.

    Absorbed and unmeasured ones are left out, and `why` says how many: fewer impacts are an improvement that
    this test does not see. The smallest p with 3 repeats each is 0.025; fewer than 3 on a side are too
    few to say. scipy.stats.logrank (Mantel 1966).
    """
    groups = [times_of(side) for side in (first, second)]
    sizes = (groups[0][0].size + groups[0][1].size, groups[1][0].size + groups[1][1].size)
    left_out = (len(first) - sizes[0], len(second) - sizes[1])
    notes = [f"{a} and {b} absorbed or not measurable left out" for a, b in [left_out] if a or b]
    if min(sizes) < 3 or not (groups[0][0].size or groups[1][0].size):
        why = f"{sizes[0]} and {sizes[1]} impacts are too few to compare: 3 on each side are the least"
        return RecoveryComparison(None, None, "", sizes, "; ".join([why, *notes]))
    a, b = (scipy.stats.CensoredData(uncensored=done, right=cut_off) for done, cut_off in groups)
    with np.errstate(invalid="ignore"):
        found = scipy.stats.logrank(a, b)
    statistic = float(found.statistic)
    if math.isnan(statistic):
        return RecoveryComparison(None, None, "", sizes, "; ".join(["the times do not vary", *notes]))
    slower = "second" if statistic > 0 else "first" if statistic < 0 else ""
    return RecoveryComparison(float(found.pvalue), statistic, slower, sizes, "; ".join(notes))
