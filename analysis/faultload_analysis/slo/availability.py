"""Availability and the error budget it uses, with bounds; how much load would settle it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt
import scipy

from faultload_analysis.evidence.dependence import (
    MIN_TO_BATCH,
    Inflation,
    batch_counts,
    batches_for,
    inflation_of,
    load_to_decide,
    measured,
    more_load,
    share_bounds,
)
from faultload_analysis.evidence.distributions import binomial_sf
from faultload_analysis.evidence.inputs import checked_confidence, checked_flags
from faultload_analysis.evidence.of_run import share_of_run
from faultload_analysis.evidence.verdict import Estimate, no_data
from faultload_analysis.latency.exceedances import Exceedances
from faultload_analysis.latency.population import Population
from faultload_analysis.latency.upper_share import upper_share
from faultload_analysis.slo.alerts import (
    DEFAULT_WINDOWS,
    Alert,
    AlertReplay,
    BurnWindow,
    burn_alerts,
    burn_factor,
    detection_time_s,
)
from faultload_analysis.slo.budget import Budget, allowed_share, budget_spent, burn_rate

__all__ = [
    "DEFAULT_WINDOWS",
    "Alert",
    "AlertReplay",
    "Budget",
    "BurnWindow",
    "UnseenOutage",
    "burn_alerts",
    "burn_factor",
    "burn_rate",
    "burn_rate_estimate",
    "clopper_pearson",
    "detection_time_s",
    "error_budget",
    "largest_unseen_outage",
    "more_needed",
    "proportion_estimate",
    "samples_needed_availability",
    "wilson",
]


def proportion_estimate(
    bad: npt.ArrayLike | Population,
    *,
    confidence: float = 0.95,
    slo: float | None = None,
    of_run: bool = False,
    over: float | None = None,
) -> Estimate:
    """The share of GOOD requests (availability), with one-sided bounds that hold for clustered failures.

    `bad`: shape (n,), bool, in time order of intended start; or a `Population` of latencies, of which those above
    `over` are bad, by default only +inf.
    Exact binomial bounds on counts over the variance inflation of the failures (`inflation_of`,
    docs/calibration.md); without a single failure (or success) the inflation is 1, so the bound speaks of the run:
    see `largest_unseen_outage`. Below 60 samples with failures every √n neighbours count as one. With a finite
    `over` the bound that can make it pass counts clusters of slow requests, as that of a quantile (`upper_share`).

    `of_run` False: both bounds are about the system in the long run, of which one outage is a single event:
    10 s down in 600 s do not yet disprove 99.9 %; with `slo`, `why` says how much more load would decide.
    `of_run` True: about this run alone, see `share_of_run`. No samples: value None.
    """
    checked_confidence(confidence)
    if isinstance(bad, Population):
        n, k = bad.n, _bad_among(bad, over)
        counts = bad.failures if over is None else partial(bad.counts_above, over)
    else:
        array = checked_flags(bad, "bad")
        n, k, counts = int(array.size), int(np.count_nonzero(array)), partial(batch_counts, array)
    if n == 0:
        return no_data("no requests to judge")
    if of_run:
        return share_of_run(k, n, confidence=confidence).complement()
    inflation = Inflation.none()
    if 0 < k < n:
        kinds = [] if n < MIN_TO_BATCH else [measured(*counts(batches_for(n)))]
        inflation = inflation_of(n, k / n, kinds)
    low_bad, _ = share_bounds(k, n, inflation=inflation.failing, confidence=confidence)
    upper = None
    if isinstance(bad, Population) and over is not None and math.isfinite(over) and n >= MIN_TO_BATCH:
        upper = upper_share(Exceedances(bad), over, confidence=confidence)
        high_bad, method = upper.high, f"{inflation.method}; {upper.method}"
    else:
        _, high_bad = share_bounds(k, n, inflation=inflation.passing, confidence=confidence)
        method = inflation.method
    why = ""
    if slo is not None and low_bad <= allowed_share(slo) < high_bad:
        allowed = allowed_share(slo)
        if upper is None or k > n * allowed:
            why = load_to_decide(k, n, allowed, inflation)
        else:
            why = more_load(upper.more_to_pass(allowed, confidence))
    return Estimate(1.0 - k / n, 1.0 - high_bad, 1.0 - low_bad, n, n / inflation.seen, method, why, k)


def wilson(k: int, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """Two-sided Wilson interval of k/n, for display (Newcombe 1998). ValueError unless 0 <= k <= n."""
    interval = scipy.stats.binomtest(k, n).proportion_ci(confidence, method="wilson")
    return float(interval.low), float(interval.high)


def clopper_pearson(k: int, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """Two-sided exact interval of k/n, for display; assumes independence. ValueError unless 0 <= k <= n."""
    interval = scipy.stats.binomtest(k, n).proportion_ci(confidence, method="exact")
    return float(interval.low), float(interval.high)


def samples_needed_availability(slo: float, failures: int = 0, confidence: float = 0.95) -> int:
    """The fewest independent requests with `failures` failures among them that still prove `slo`.

    The smallest n with P(Bin(n, 1 - slo) <= failures) <= 1 - confidence; 99.9 %: 2995, 4742, 6294, ...
    """
    allowed = allowed_share(slo)
    if failures < 0:
        raise ValueError(f"failures cannot be {failures}")

    def proves(n: int) -> bool:
        return binomial_sf(failures, n, allowed) >= confidence

    high = failures + 1
    while not proves(high):
        high *= 2
    low = failures
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if proves(middle) else (middle, high)
    return high


def more_needed(n: int, failures: int, slo: float, *, inflation: float = 1.0, confidence: float = 0.95) -> int:
    """How many more *clean* requests prove `slo` after `failures` of `n`; 0 when it is proven already.

    Keeps the seen variance inflation (MLPerf early stopping says it the same way, results.cc).
    """
    allowed = allowed_share(slo)
    if n < 0 or not 0 <= failures <= n:
        raise ValueError(f"not a share: {failures} of {n}")

    def proves(size: int) -> bool:
        return size > failures and (
            share_bounds(failures, size, inflation=inflation, confidence=confidence)[1] <= allowed
        )

    if proves(n):
        return 0
    low, high = n, max(2 * n, 64)
    while not proves(high):
        low, high = high, high * 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if proves(middle) else (middle, high)
    return high - n


def error_budget(
    bad: npt.ArrayLike | tuple[npt.ArrayLike, npt.ArrayLike] | Population,
    slo: float,
    window_s: float,
    duration_s: float,
    expected_events: float | None = None,
    *,
    of_run: bool = True,
    over: float | None = None,
) -> Budget:
    """How much of the error budget of `window_s` a run of `duration_s` consumed; see `budget_spent`.

    `bad` is a `Population`, as in `proportion_estimate`; or `(times_s, bad)`, one entry a request, both
    shape (n,); or the bad share of slices of equal length, shape (k,), NaN where a slice was empty, which
    has no bounds and no event-based budget. What was spent is a fact of this run, with the bounds of
    `share_of_run`; `of_run` False: what the system would spend, with those of `proportion_estimate`.
    No requests: all None. ValueError for shares outside [0, 1], or a window, duration or N_W that is not above 0
    and finite.
    """
    if isinstance(bad, Population):
        share = _bad_share(bad, of_run, over)
    elif isinstance(bad, tuple):
        times, flags = np.asarray(bad[0], dtype=np.float64), checked_flags(bad[1], "bad")
        if times.shape != flags.shape:
            raise ValueError(f"times {times.shape} and bad {flags.shape} differ in shape")
        share = _bad_share(flags, of_run)
    else:
        if expected_events is not None:
            raise ValueError("an event-based budget needs (times, bad), not shares")
        shares = np.asarray(bad, dtype=np.float64)
        if shares.ndim != 1:
            raise ValueError(f"bad shares must be of shape (k,), not {shares.shape}")
        shares = shares[~np.isnan(shares)]
        if not ((shares >= 0.0) & (shares <= 1.0)).all():
            raise ValueError("bad shares lie between 0 and 1, or are NaN for an empty slice")
        mean = float(shares.mean()) if shares.size else None
        share = Estimate(mean, None, None, int(shares.size), None, "mean share of slices, no bounds")
    return budget_spent(share, slo, window_s, duration_s, expected_events)


def burn_rate_estimate(
    bad: npt.ArrayLike | Population, slo: float, *, of_run: bool = True, over: float | None = None
) -> Estimate:
    """The burn rate of the run, with bounds as in `error_budget`; `bad`, `over` as in `proportion_estimate`."""
    share = _bad_share(bad, of_run, over)
    return share if share.value is None else share.scaled(1.0 / allowed_share(slo))


def _bad_among(latencies: Population, over: float | None) -> int:
    return latencies.n_failed if over is None else latencies.count_above(over)


def _bad_share(bad: npt.ArrayLike | Population, of_run: bool, over: float | None = None) -> Estimate:
    """The share of bad requests; `bad`, `over` as in `proportion_estimate`."""
    if not of_run:
        good = proportion_estimate(bad, over=over)
        return good if good.value is None else good.complement()
    if isinstance(bad, Population):
        return share_of_run(_bad_among(bad, over), bad.n)
    flags = checked_flags(bad, "bad")
    return share_of_run(int(np.count_nonzero(flags)), int(flags.size))


@dataclass(frozen=True, slots=True)
class UnseenOutage:
    """Outages that a run without failures may have missed, each with up to 5 % probability.

    `shorter_than_s`: one that fell between two arrivals (Poisson arrivals, ln(1/α) / rate).
    `rarer_than_s`: ones that come less often than this on average (duration / ln(1/α)).
    `breaks_slo_from_s`: how long outages as rare as that may last before they break the SLO.
    """

    shorter_than_s: float
    rarer_than_s: float
    breaks_slo_from_s: float

    @property
    def sentence(self) -> str:
        """The three limits in words, as verdicts print them."""
        return (
            f"outages that come less often than once in {self.rarer_than_s:.3g} s, or last under "
            f"{self.shorter_than_s:.2g} s, could have gone unseen; as rare as that, they break the target "
            f"when longer than {self.breaks_slo_from_s:.2g} s"
        )

    @property
    def of_pauses(self) -> str:
        """The same of a quantile p that met its target, with p as the SLO: which pauses may be missing."""
        return (
            f"pauses longer than {self.breaks_slo_from_s:.2g} s once in {self.rarer_than_s:.3g} s would break the "
            "target and could have gone unseen"
        )


def largest_unseen_outage(n: int, duration_s: float, slo: float, *, confidence: float = 0.95) -> UnseenOutage:
    """Which outages `n` clean requests over `duration_s` could have missed. ValueError unless both > 0."""
    if n < 1 or not 0 < duration_s < math.inf:
        raise ValueError("needs at least one request and a positive, finite duration")
    odds = math.log(1.0 / (1.0 - checked_confidence(confidence)))
    rarer = duration_s / odds
    return UnseenOutage(odds * duration_s / n, rarer, allowed_share(slo) * rarer)
