"""Compares builds by their runs: worse, better, equivalent, undecided, or too few runs to say."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

import numpy as np
import numpy.typing as npt
import scipy

from faultload_analysis.compare.bootstrap import quantile_difference, quantile_ratio, ratio_estimate
from faultload_analysis.compare.ranks import least_p, median, pairwise_rank, rank_sum_p
from faultload_analysis.evidence.dependence import Array
from faultload_analysis.evidence.inputs import checked_confidence, checked_runs
from faultload_analysis.evidence.verdict import Estimate, no_data

__all__ = [
    "Comparison",
    "Contrast",
    "Difference",
    "compare_many",
    "compare_runs",
    "overhead_estimate",
    "quantile_difference",
    "quantile_ratio",
    "ratio_estimate",
    "runs_needed",
    "speedup_estimate",
]


class Difference(StrEnum):
    """What the runs say about the new build: WORSE, BETTER, EQUIVALENT, UNDECIDED or TOO_FEW (too few runs)."""

    WORSE = "worse"
    BETTER = "better"
    EQUIVALENT = "equivalent"
    UNDECIDED = "undecided"
    TOO_FEW = "too few runs"


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two sides of runs compared; `base` and `new` hold one value a run, in the order given.

    `shift` is the Hodges-Lehmann estimate of new minus base, between `shift_low` and `shift_high` at
    `confidence` (two-sided; None: open or no data). `ratio` and its bounds are the same on the log scale, new
    over base; None unless all values are positive. `superiority` is the chance that a new run's value lies above
    a base run's, ties half. `p` is two-sided for no shift, `p_beyond` for no shift beyond the margin;
    `q` is `p_beyond` after false-discovery control, None where that was not asked for. `least_p` is the smallest
    p that so many runs can reach. `why` is the sentence.
    """

    state: Difference
    base: tuple[float, ...]
    new: tuple[float, ...]
    base_median: float | None
    new_median: float | None
    shift: float | None
    shift_low: float | None
    shift_high: float | None
    ratio: float | None
    ratio_low: float | None
    ratio_high: float | None
    superiority: float | None
    p: float | None
    p_beyond: float | None
    q: float | None
    least_p: float
    confidence: float
    margin: float
    relative: bool
    why: str


def compare_runs(
    base: npt.ArrayLike,
    new: npt.ArrayLike,
    *,
    lower_is_better: bool = True,
    margin: float = 0.0,
    relative: bool = False,
    confidence: float = 0.95,
    fmt: Callable[[float], str] = "{:.4g}".format,
) -> Comparison:
    """Compare runs of a new build with runs of a base build, one value a run (each run's P99, say).

    `base`, `new`: shape (n,), (m,), one unit, +inf for a run whose value is infinite. The unit of replication is
    the run: requests of a run share its warm-up, its neighbours and its luck, so pooling them counts one
    accident a hundred thousand times and gives absurdly small p-values. Interleave the runs of both sides
    (base, new, base, new): nothing here can tell a build from the hour it ran in.

    Mann-Whitney's test, exact given the ties (`ranks.rank_sum_p`); the Hodges-Lehmann shift, the median of all
    differences new - base, and its interval [d_(q), d_(nm + 1 - q)], q from the exact null distribution of U
    (Hollander & Wolfe 1999, 4.3; with ties it covers at least as often, Noether 1967). `margin` is the change
    that does not matter, in the values' unit, or a share when `relative` (0.05: from 1/1.05 to 1.05 times). WORSE
    and BETTER need the whole interval beyond the margin, EQUIVALENT needs it within, both ends included (two
    one-sided tests, Schuirmann 1987, each at (1 - confidence) / 2); else UNDECIDED. TOO_FEW when no data of so
    many runs could be significant: 2 / C(n + m, n) > 1 - confidence; 3 and 3 runs never reach .05, 4 and 4 do.

    `fmt` prints a value with its unit. ValueError on NaN (leave a run without a value out, and say so), -inf, a
    negative margin, or a relative margin with values that are not positive.
    """
    a, b = checked_runs(base, "base"), checked_runs(new, "new")
    if not (margin >= 0.0 and math.isfinite(margin)):
        raise ValueError(f"the margin must be a number from 0, not {margin}")
    confidence, n, m = checked_confidence(confidence), a.size, b.size
    positive = bool((a > 0).all() and (b > 0).all())
    if relative and margin > 0 and not positive:
        raise ValueError("a relative margin needs positive values")
    alpha = 1.0 - confidence
    least = least_p(n, m)
    if n == 0 or m == 0:
        side = "either side" if n == m else ("the base side" if n == 0 else "the new side")
        return _nothing(a, b, least, confidence, margin, relative, f"no runs on {side}")
    shift, shift_low, shift_high = _hodges_lehmann(_differences(a, b), n, m, alpha)
    ratios: tuple[float | None, float | None, float | None] = (None, None, None)
    if positive:
        ratios = _exp(_hodges_lehmann(_differences(np.log(a), np.log(b)), n, m, alpha))
    p = min(1.0, 2.0 * min(rank_sum_p(a, b), rank_sum_p(b, a)))
    found = Comparison(
        state=Difference.UNDECIDED,
        base=tuple(a.tolist()),
        new=tuple(b.tolist()),
        base_median=median(a),
        new_median=median(b),
        shift=shift,
        shift_low=shift_low,
        shift_high=shift_high,
        ratio=ratios[0],
        ratio_low=ratios[1],
        ratio_high=ratios[2],
        superiority=_superiority(a, b),
        p=p,
        p_beyond=_p_beyond(a, b, margin, relative),
        q=None,
        least_p=least,
        confidence=confidence,
        margin=margin,
        relative=relative,
        why="",
    )
    state = _state(found, lower_is_better)
    return replace(found, state=state, why=_sentence(found, state, fmt))


@dataclass(frozen=True, slots=True)
class Contrast:
    """One question of several: a metric, or one build against the base. A `gate` was declared beforehand."""

    name: str
    base: npt.ArrayLike
    new: npt.ArrayLike
    lower_is_better: bool = True
    margin: float = 0.0
    relative: bool = False
    gate: bool = False


def compare_many(contrasts: Iterable[Contrast], *, confidence: float = 0.95) -> dict[str, Comparison]:
    """`compare_runs` for several metrics or several builds, by name, in the order given.

    Exploratory contrasts keep WORSE or BETTER only when their `q`, Benjamini & Hochberg 1995 over `p_beyond` of
    all exploratory ones, is at most 1 - confidence: of what is then called a difference, that share is false on
    average. Declared gates are not corrected: all of them must hold, so each further one makes a false PASS
    rarer, not likelier (intersection-union test, Berger 1982); what grows with their number is false alarms,
    so declare few. Correcting would let a regression pass because more was measured. ValueError for two of one
    name.
    """
    asked = list(contrasts)
    names = [one.name for one in asked]
    if len(set(names)) < len(names):
        raise ValueError(f"two contrasts of one name among {', '.join(names)}")
    found = {
        one.name: compare_runs(
            one.base,
            one.new,
            lower_is_better=one.lower_is_better,
            margin=one.margin,
            relative=one.relative,
            confidence=confidence,
        )
        for one in asked
    }
    raw = {one.name: found[one.name].p_beyond for one in asked if not one.gate}
    explored = {name: p for name, p in raw.items() if p is not None}
    corrected = scipy.stats.false_discovery_control(list(explored.values())) if explored else np.zeros(0)
    for name, q in zip(explored, np.asarray(corrected).tolist(), strict=True):
        found[name] = _corrected(found[name], float(q), len(explored))
    return found


def _corrected(one: Comparison, q: float, among: int) -> Comparison:
    one = replace(one, q=q)
    if one.state not in (Difference.WORSE, Difference.BETTER):
        return one
    remark = f"q {q:.3g} among {among} exploratory"
    if q <= 1.0 - one.confidence:
        return replace(one, why=f"{one.why}; {remark}")
    why = f"{Difference.UNDECIDED}, {one.state} only by itself: {one.why.partition(': ')[2]}; {remark}"
    return replace(one, state=Difference.UNDECIDED, why=why)


def speedup_estimate(before: npt.ArrayLike, after: npt.ArrayLike, *, confidence: float = 0.95) -> Estimate:
    """How many times faster: `before` over `after`, each one duration a run, shape (n,), (m,), positive.

    The Hodges-Lehmann shift of the logarithms with two one-sided bounds, each at `confidence` (so 3 and 3 runs
    just reach 95 %: 1 / C(6, 3)); an end that so few runs cannot bound is open. ValueError on NaN, or values
    that are not positive and finite.
    """
    a, b = checked_runs(after, "after"), checked_runs(before, "before")
    confidence = checked_confidence(confidence)
    for side in (a, b):
        if not ((side > 0) & np.isfinite(side)).all():
            raise ValueError("a ratio of runs needs positive finite values")
    n = a.size + b.size
    if min(a.size, b.size) == 0:
        return no_data("one side has no runs", n=n)
    logs = _hodges_lehmann(_differences(np.log(a), np.log(b)), a.size, b.size, 2.0 * (1.0 - confidence))
    value, low, high = _exp(logs)
    why = "" if low is not None else f"{a.size} and {b.size} runs are too few for bounds"
    return Estimate(value, low, high, n, None, "Hodges-Lehmann on logarithms, one value a run", why)


def overhead_estimate(without: npt.ArrayLike, with_it: npt.ArrayLike, *, confidence: float = 0.95) -> Estimate:
    """What something costs, as a share: `with_it` over `without` minus 1; everything else as `speedup_estimate`."""
    times = speedup_estimate(with_it, without, confidence=confidence)

    def less_one(x: float | None) -> float | None:
        return None if x is None else x - 1.0

    return replace(times, value=less_one(times.value), low=less_one(times.low), high=less_one(times.high))


def runs_needed(confidence: float = 0.95, *, other: int | None = None) -> int:
    """The fewest runs a side that can be significant two-sided: 4 at 95 %; `other`: that many on the other side.

    ValueError unless 0 < confidence < 1, or when `other` is below 1.
    """
    if not 0.0 < confidence < 1.0 or (other is not None and other < 1):
        raise ValueError(f"no such comparison: confidence {confidence}, {other} runs on the other side")
    runs = 1
    while least_p(runs, runs if other is None else other) > 1.0 - confidence:
        runs += 1
    return runs


def _differences(a: Array, b: Array) -> Array:
    """All b_j - a_i, sorted, shape (n m,); two infinite values do not differ."""
    with np.errstate(invalid="ignore"):
        d = (b[None, :] - a[:, None]).ravel()
    return np.sort(np.where(np.isnan(d), 0.0, d))


def _hodges_lehmann(d: Array, n: int, m: int, alpha: float) -> tuple[float, float | None, float | None]:
    """The median of the sorted differences, and their two order statistics that bound the shift."""
    q = pairwise_rank(n, m, alpha / 2.0)
    if q < 1:
        return median(d), None, None
    return median(d), float(d[q - 1]), float(d[-q])


def _exp(
    logs: tuple[float, float | None, float | None],
) -> tuple[float | None, float | None, float | None]:
    value, low, high = (None if x is None else float(np.exp(x)) for x in logs)
    return value, low, high


def _superiority(a: Array, b: Array) -> float:
    above = float(np.count_nonzero(b[None, :] > a[:, None]))
    return (above + 0.5 * float(np.count_nonzero(b[None, :] == a[:, None]))) / (a.size * b.size)


def _p_beyond(a: Array, b: Array, margin: float, relative: bool) -> float:
    """Two-sided p that the shift lies beyond the margin: the test with the base moved by it, either way."""
    up, down = (a * (1.0 + margin), a / (1.0 + margin)) if relative else (a + margin, a - margin)
    return min(1.0, 2.0 * min(rank_sum_p(up, b), rank_sum_p(b, down)))


def _state(one: Comparison, lower_is_better: bool) -> Difference:
    if one.least_p > 1.0 - one.confidence:
        return Difference.TOO_FEW
    if one.relative and one.margin > 0:
        low, high = one.ratio_low, one.ratio_high
        least, most = 1.0 / (1.0 + one.margin), 1.0 + one.margin
    else:
        low, high, least, most = one.shift_low, one.shift_high, -one.margin, one.margin
    if low is None or high is None:
        return Difference.TOO_FEW
    if least <= low and high <= most:
        return Difference.EQUIVALENT
    if low > most:
        return Difference.WORSE if lower_is_better else Difference.BETTER
    if high < least:
        return Difference.BETTER if lower_is_better else Difference.WORSE
    return Difference.UNDECIDED


def _sentence(one: Comparison, state: Difference, fmt: Callable[[float], str]) -> str:
    assert one.base_median is not None and one.new_median is not None and one.shift is not None
    n, m = len(one.base), len(one.new)
    seen = f"median {fmt(one.base_median)} -> {fmt(one.new_median)} over {n} and {m} runs"
    if state is Difference.TOO_FEW:
        return (
            f"{state}: {seen}; so many cannot reach p {1.0 - one.confidence:.2g}, only {one.least_p:.2g}; "
            f"{runs_needed(one.confidence)} a side can"
        )
    by_ratio = one.relative or one.margin == 0.0
    if by_ratio and one.ratio is not None and one.ratio_low is not None and one.ratio_high is not None:
        change = f"ratio {one.ratio:.3f} [{one.ratio_low:.3f}, {one.ratio_high:.3f}]"
    else:
        assert one.shift_low is not None and one.shift_high is not None
        change = f"shift {fmt(one.shift)} [{fmt(one.shift_low)}, {fmt(one.shift_high)}]"
    allowed = f"{one.margin:.1%}" if one.relative else fmt(one.margin)
    margin = f", margin {allowed}" if one.margin > 0 else ""
    parts = [f"{state}: {seen}, {change} at {one.confidence:.0%}{margin}, p {one.p:.3g}"]
    if state is Difference.UNDECIDED and one.margin == 0.0:
        parts.append("without a margin nothing is equivalent")
    parts.extend(_remarks(one))
    return "; ".join(parts)


def _remarks(one: Comparison) -> Sequence[str]:
    out = []
    for side, values in (("base", one.base), ("new", one.new)):
        if len(set(values)) == 1 and len(values) > 1:
            out.append(f"the {side} runs do not vary at all")
    alpha = 1.0 - one.confidence
    if one.p is not None and one.p > alpha:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # scipy tells when it falls back to the asymptotic p
            shape = float(scipy.stats.ks_2samp(one.base, one.new).pvalue)
        if shape <= alpha:
            out.append(f"alike in location but not in shape (Kolmogorov-Smirnov p {shape:.2g}): see the spread")
    return out


def _nothing(
    a: Array, b: Array, least: float, confidence: float, margin: float, relative: bool, why: str
) -> Comparison:
    return Comparison(
        Difference.TOO_FEW, tuple(a.tolist()), tuple(b.tolist()), median(a) if a.size else None,
        median(b) if b.size else None, None, None, None, None, None, None, None, None, None, None,
        least, confidence, margin, relative, f"{Difference.TOO_FEW}: {why}",
    )  # fmt: skip
