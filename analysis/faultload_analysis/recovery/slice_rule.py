"""When a slice is bad: a rule that ignores normal noise, and how it is derived from the baseline."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from faultload_analysis.evidence.dependence import Array, Counts, Mask, share_bounds, uncertainty
from faultload_analysis.latency.histogram import checked
from faultload_analysis.latency.quantiles import quantile, quantile_estimate
from faultload_analysis.latency.slices import Slices
from faultload_analysis.recovery.bursts import Bursts, levels_with, outages
from faultload_analysis.recovery.excess import Events, dispersion
from faultload_analysis.recovery.noise import NOISE, NOISE_ALONE, noise

_MIN_SHARE = 1e-3
_MAX_SHARE = 0.2


@dataclass(frozen=True, slots=True)
class SliceRule:
    """When a slice is bad.

    A request is bad when it failed or took longer than `latency_limit_s`. With n requests, a slice is bad
    when more of them failed than binomial noise around `max_bad_share` explains, or more were bad than noise
    around 1 - `quantile` explains (each at probability 0.001), and always when at least half of them are
    bad: so one slow request among many never makes a bad slice, and a slice of one or two failing
    requests is never waved through. `inflation`: how much more failures vary from slice to slice than
    binomially; every `inflation` requests then count as one. `bursts`: what natural bursts of the baseline reach;
    the slices of such a burst are good. `baseline_ok` False: the baseline this rule came from was itself bad; `why`
    says how. `failed`, `over`: how many of the baseline's requests failed, and how many were bad, without outages
    that stand apart; None where the rule came from no baseline. `outages`: how many of its slices those were.
    """

    max_bad_share: float
    latency_limit_s: float
    quantile: float = 0.99
    baseline_ok: bool = True
    why: str = ""
    inflation: float = 1.0
    failed: Events | None = None
    over: Events | None = None
    outages: int = 0
    bursts: Bursts | None = None

    def __post_init__(self) -> None:
        sane = 0.0 <= self.max_bad_share < 1.0 and 0.5 < self.quantile < 1.0 and self.latency_limit_s > 0
        if not (sane and self.inflation >= 1.0):
            raise ValueError(f"not a slice rule: {self}")

    def judge(self, cut: Slices) -> tuple[Mask, Mask, Counts]:
        """For each slice, shape (k,): bad; so bad that it counts alone; and how many of its requests are bad.

        Alone: at least half its requests are bad and noise does that with probability under 1e-4. Empty
        slices are neither.
        """
        over = cut.over(self.latency_limit_s)
        beyond, failing = self.beyond_noise(cut.total, over, cut.failed)
        bad = beyond > 0
        if self.bursts is not None:
            bad &= ~self.bursts.explain(cut, beyond, failing)
        half = 2 * over >= np.maximum(cut.total, 1)
        alone = bad & half & (over > self._limits(cut.total, self._slow_share, NOISE_ALONE))
        return bad, alone, over

    @property
    def limits_s(self) -> set[float]:
        """The latencies that `judge` asks slices for."""
        of_bursts = () if self.bursts is None else (self.bursts.typical_s, self.bursts.rises_s)
        return {self.latency_limit_s, *of_bursts}

    def beyond_noise(self, total: Counts, over: Counts, failed: Counts) -> tuple[Counts, Counts]:
        """How many requests of each slice, shape (k,), were bad, and how many failed, beyond what noise explains.

        `over`: those that were bad. A slice is bad where either kind goes beyond noise, and the first counts both.
        """
        allowed = self._limits(total, self._slow_share)
        if self._slow_share <= _MAX_SHARE:
            allowed = np.minimum(allowed, np.maximum((total + 1) // 2 - 1, 0))
        failing = np.maximum(failed - self._limits(total, self._failed_share), 0)
        return np.maximum(over - allowed, failing), failing

    @property
    def _failed_share(self) -> float:
        return max(self.max_bad_share, _MIN_SHARE)

    @property
    def _slow_share(self) -> float:
        return max(1.0 - self.quantile, self._failed_share)

    def _limits(self, total: Counts, share: float, probability: float = NOISE) -> Counts:
        """`noise` of each slice, shape (k,)."""
        sizes, which = np.unique(total, return_inverse=True)
        each = [self.noise(int(n), share, probability) if n else 0 for n in sizes]
        return np.array(each, dtype=np.int64)[which]

    def noise(self, n: int, share: float, probability: float = NOISE) -> int:
        """`noise` with every `inflation` of the n requests counted as one."""
        if self.inflation == 1.0:
            return noise(n, share, probability)
        return math.floor(self.inflation * noise(max(1, round(n / self.inflation)), share, probability))


def baseline_rule(
    latency_s: npt.ArrayLike,
    *,
    latency_limit_s: float | None = None,
    limit_quantile: float = 0.99,
    max_bad_share: float | None = None,
    tolerance: float = 0.5,
    times_s: npt.ArrayLike | None = None,
    width_s: float = 1.0,
    watch_s: float = 90.0,
) -> SliceRule:
    """The rule for recovery, from the baseline and the declared objectives.

    `latency_s`: shape (n,), seconds, the baseline's requests in time order, +inf for failed.
    `latency_limit_s`: declared T of the `limit_quantile` of latency; `max_bad_share`: declared error share
    (1 - availability). Both may be None. Latency limit: max(T, p99 of the ok requests * (1 + tolerance)).
    Error share: max(declared, baseline share * (1 + tolerance)). A baseline whose bounds *miss* a declared
    limit, or with more than 20 % failed, sets `baseline_ok` False: recovery to it would mean nothing.
    Without requests the rule stands on the declared limits and `baseline_ok` is False.

    `times_s`: shape (n,), seconds, their intended starts, in any order. With them the rule reads how bursty
    the baseline is by itself, in slices of `width_s`, for a watch of `watch_s`: a burst as the baseline has them is
    no impact (`Bursts`), and failures may vary as much from slice to slice as the baseline's do (index of
    dispersion, at its 80 % upper bound). An outage that stands apart from the rest of the baseline is no noise: one
    bad second in five minutes hides no more than three such seconds. A busy system hides impacts that are as small
    as its own bursts.

    Measured on kinds of `benchmarks/impacts.py`, 40 watches of 90 s, a baseline of 60 s, 100 requests/s (noise:
    .05 +- .07): share with an impact where nothing happened, as it was when bursts raised the latency limit -> with
    `Bursts`; and where answers take 4 times as long for 20 s: impact, and of the others those not called absorbed:

        M/M/1 at .5, .8, .95                   .00 .00 .03 -> .00 .03 .05        1.0 .55 .23    .00 .42 .57
        M/G/1 at .8, lognormal                         .10 -> .00                .12            .15
        M/G/1 at .5, Pareto                            .38 -> .05                .53            .33
        arrivals that triple for .5, 2 s           .07 .35 -> .00 .00            .20 .15        .28 .25
        pauses of 200 ms every 10 s                    .33 -> .00                .35            .05
        pauses of 500 ms every 30 s                    .53 -> .07

    A baseline with fewer than ten bursts says little of them, and so much is lost (before, 4 times as long
    was found in 1.0 .90 .55, .55, .82, .70 .65, .50). Failures are found where the baseline has none: 30 % for
    20 s in all that were tried (M/M/1 at .5, lognormal, arrivals that triple for 2 s, pauses of 200 ms).

    ValueError when there is neither a request that was ok nor a latency limit, for NaN, latencies of -inf, times
    that are not finite or of another shape, and arguments outside of what they mean.
    """
    values = checked(latency_s)
    _check(latency_limit_s, limit_quantile, max_bad_share, tolerance, width_s, watch_s)
    cut = None
    if times_s is not None and values.size:
        cut, values = _in_slices(np.asarray(times_s, dtype=np.float64), values, width_s)
    ok = values[np.isfinite(values)]
    if cut is not None and any(np.isfinite(part).any() for part in cut):
        ok = _usual(cut)
    if ok.size == 0 and latency_limit_s is None:
        raise ValueError("a rule needs a baseline with ok requests or a declared latency limit")
    declared_share = 0.0 if max_bad_share is None else max_bad_share
    normal = quantile(ok, 0.99) * (1.0 + tolerance) if ok.size else 0.0
    limit = max(latency_limit_s or 0.0, normal, 1e-6)
    if values.size == 0:
        return SliceRule(
            min(declared_share, _MAX_SHARE), limit, baseline_ok=False, why="the baseline holds no requests"
        )
    failures = _failures(values)
    share = failures / values.size
    problems = []
    if max_bad_share is not None and share_bounds(failures, values.size)[0] > max_bad_share:
        problems.append(f"{share:.2%} of the baseline failed, {max_bad_share:.2%} are allowed")
    if share > _MAX_SHARE:
        problems.append(f"{share:.0%} of the baseline failed")
    if latency_limit_s is not None:
        seen = quantile_estimate(values, limit_quantile)
        if seen.low is not None and seen.low > latency_limit_s:
            problems.append(
                f"P{limit_quantile * 100:g} of the baseline is {seen.value:.3g} s, "
                f"the target is {latency_limit_s:.3g} s"
            )
    allowed = min(max(declared_share, share * (1.0 + tolerance)), max(_MAX_SHARE, declared_share))
    parts = [values] if cut is None else cut
    total, lost, over = (
        np.array([count(part) for part in parts], dtype=np.int64)
        for count in (np.size, _failures, lambda part: np.count_nonzero(part > limit))
    )
    usual, calm = _without_outages(total, lost), _without_outages(total, over)
    rule = SliceRule(
        allowed,
        limit,
        baseline_ok=not problems,
        why="; ".join(problems),
        inflation=_dispersed(total[usual], lost[usual]),
        failed=Events.of(total[usual], lost[usual]),
        over=Events.of(total[calm], over[calm]),
        outages=int(total.size - np.count_nonzero(usual)),
    )
    if not cut:
        return rule
    beyond, failing = rule.beyond_noise(total, over, lost)
    return replace(rule, bursts=Bursts.of(cut, beyond, failing, ~(usual & calm), watched=watch_s / width_s))


def _failures(part: Array) -> int:
    return int(np.count_nonzero(np.isinf(part)))


def _check(
    limit_s: float | None,
    limit_quantile: float,
    share: float | None,
    tolerance: float,
    width_s: float,
    watch_s: float,
) -> None:
    if limit_s is not None and not 0 < limit_s < math.inf:
        raise ValueError(f"a latency limit must be above 0 and finite, not {limit_s}")
    if not 0.5 < limit_quantile <= 1.0:
        raise ValueError(f"a latency limit is declared for a quantile in (0.5, 1], not {limit_quantile}")
    if share is not None and not 0.0 <= share < 1.0:
        raise ValueError(f"an error share lies in [0, 1), not {share}")
    if not all(0 <= x < math.inf for x in (tolerance, watch_s)) or not 0 < width_s < math.inf:
        raise ValueError(f"not a rule: tolerance {tolerance}, slices of {width_s} s, a watch of {watch_s} s")


def _in_slices(times: Array, values: Array, width_s: float) -> tuple[list[Array], Array]:
    """The latencies of every whole slice that holds requests, and all latencies, in time order."""
    if times.shape != values.shape or not np.isfinite(times).all():
        raise ValueError(f"times {times.shape} and latencies {values.shape} must be one shape (n,), times finite")
    order = np.argsort(times, kind="stable")
    times, values = times[order], values[order]
    edges = np.arange(times[0], times[-1] + 1e-9, width_s)
    parts = [values[a:b] for a, b in itertools.pairwise(np.searchsorted(times, edges))]
    return [part for part in parts if part.size], values


def _usual(cut: list[Array]) -> Array:
    """The ok requests of the baseline, without outages that stand apart."""
    parts = [ok for part in cut if (ok := part[np.isfinite(part)]).size]
    usual = ~outages(levels_with(parts, [(p.size + 1) // 2 for p in parts]))
    return np.concatenate([part for part, keep in zip(parts, usual, strict=True) if keep])


def _without_outages(total: Counts, bad: Counts) -> Mask:
    """Shape (k,): the slices of the baseline that say what is usual, from the bad requests of each.

    The worst outage (consecutive slices whose bad requests are no noise) is left out when the dispersion of all
    others does not explain it, at probability 0.0001; one for every five minutes or part of it, which hold 10 % of
    the slices at most, or one slice.
    """
    left = np.ones(total.size, dtype=np.bool_)
    for _ in range(1 + total.size // 300):
        out = _worst_outage(total, np.where(left, bad, 0))
        rest = left.copy()
        rest[out] = False
        if not out.size or total.size - np.count_nonzero(rest) > max(1, 0.1 * total.size):
            break
        usual = SliceRule(0.0, 1.0, inflation=_dispersed(total[rest], bad[rest]))
        share = max(_MIN_SHARE, bad[rest].sum() / max(1, total[rest].sum()))
        if bad[out].sum() <= usual.noise(int(total[out].sum()), float(share), NOISE_ALONE):
            break
        left = rest
    return left


def _worst_outage(total: Counts, bad: Counts) -> Counts:
    """The slice with most bad requests and the neighbours whose bad requests are no noise either."""
    if not bad.any():
        return np.empty(0, dtype=np.int64)
    first = last = int(np.argmax(bad))
    above = np.array([k > noise(int(n), _MIN_SHARE) for n, k in zip(total, bad, strict=True)])
    while first > 0 and above[first - 1]:
        first -= 1
    while last + 1 < total.size and above[last + 1]:
        last += 1
    return np.arange(first, last + 1)


def _dispersed(total: Counts, failed: Counts) -> float:
    if total.size < 3 or not 0 < failed.sum() < total.sum():
        return 1.0
    return max(1.0, dispersion(total, failed) * uncertainty(total.size))
