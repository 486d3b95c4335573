"""When a slice is bad: the rule that is not fooled by normal noise, and how it is read from the baseline."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt
from scipy import stats

from .dependence import Mask
from .latency import quantile, quantile_estimate
from .slices import Counts, Slices
from .slo import proportion_estimate

NOISE = 1e-3
NOISE_ALONE = 1e-4
_MIN_SHARE = 1e-3
_MAX_SHARE = 0.2


@dataclass(frozen=True, slots=True)
class SliceRule:
    """When a slice is bad.

    A request is bad when it failed or took longer than `latency_limit_s`. With n requests a slice is bad
    when more of them failed than binomial noise around `max_bad_share` explains, or more were bad than noise
    around 1 - `quantile` explains (each at probability 0.001), and always when at least half of them are
    bad: so one slow request among many never makes a bad slice, and a slice of one or two failing
    requests is never waved through. `baseline_ok` False: the baseline this rule came from was itself bad;
    `why` says how.
    """

    max_bad_share: float
    latency_limit_s: float
    quantile: float = 0.99
    baseline_ok: bool = True
    why: str = ""

    def __post_init__(self) -> None:
        if not (0.0 <= self.max_bad_share < 1.0 and 0.5 < self.quantile < 1.0 and self.latency_limit_s > 0):
            raise ValueError(f"not a slice rule: {self}")

    def judge(self, cut: Slices) -> tuple[Mask, Mask, Counts]:
        """For each slice, shape (k,): bad; so bad that it counts alone; and how many of its requests are bad.

        Alone: at least half its requests are bad and noise does that with probability under 1e-4. Empty
        slices are neither.
        """
        over = cut.over(self.latency_limit_s)
        failed_share = max(self.max_bad_share, _MIN_SHARE)
        slow_share = max(1.0 - self.quantile, failed_share)
        bad = np.zeros(cut.total.size, dtype=np.bool_)
        alone = np.zeros(cut.total.size, dtype=np.bool_)
        for i in np.flatnonzero(over):
            n, k = int(cut.total[i]), int(over[i])
            half = 2 * k >= n and slow_share <= _MAX_SHARE
            bad[i] = half or k > noise(n, slow_share) or int(cut.failed[i]) > noise(n, failed_share)
            alone[i] = 2 * k >= n and float(stats.binom.sf(k - 1, n, slow_share)) <= NOISE_ALONE * (1 + 1e-9)
        return bad, alone, over


@lru_cache(maxsize=65536)
def noise(n: int, share: float, probability: float = NOISE) -> int:
    """The largest count that normal noise explains: the least c with P(Bin(n, share) > c) <= probability."""
    return int(stats.binom.isf(probability, n, share))


def baseline_rule(
    latency_s: npt.ArrayLike,
    *,
    latency_limit_s: float | None = None,
    limit_quantile: float = 0.99,
    max_bad_share: float | None = None,
    tolerance: float = 0.5,
) -> SliceRule:
    """The rule for recovery, from the baseline and the declared objectives.

    `latency_s`: shape (n,), seconds, the baseline's requests in time order, +inf for failed.
    `latency_limit_s`: declared T of the `limit_quantile` of latency; `max_bad_share`: declared error share
    (1 - availability). Both may be None. Latency limit: max(T, p99 of the ok requests * (1 + tolerance)).
    Error share: max(declared, baseline share * (1 + tolerance)). A baseline whose bounds *miss* a declared
    limit, or with more than 20 % failed, sets `baseline_ok` False: recovery to it would mean nothing.
    Without requests the rule stands on the declared limits and `baseline_ok` is False.
    ValueError when there is neither a request that was ok nor a latency limit.
    """
    values = np.asarray(latency_s, dtype=np.float64)
    ok = values[np.isfinite(values)]
    if ok.size == 0 and latency_limit_s is None:
        raise ValueError("a rule needs a baseline with ok requests or a declared latency limit")
    declared_share = 0.0 if max_bad_share is None else max_bad_share
    normal = quantile(ok, 0.99) * (1.0 + tolerance) if ok.size else 0.0
    limit = max(latency_limit_s or 0.0, normal, 1e-6)
    if values.size == 0:
        return SliceRule(
            min(declared_share, _MAX_SHARE), limit, baseline_ok=False, why="the baseline holds no requests"
        )
    failed = ~np.isfinite(values)
    errors = proportion_estimate(failed).complement()
    share = errors.value or 0.0
    problems = []
    if max_bad_share is not None and errors.low is not None and errors.low > max_bad_share:
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
    return SliceRule(allowed, limit, baseline_ok=not problems, why="; ".join(problems))
