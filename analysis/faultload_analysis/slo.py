"""Availability, error budgets, burn rates and the alerts they would have raised."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import stats

from .dependence import Array, Mask, inflation_of, more_to_decide, share_bounds
from .verdict import Estimate, no_data


def _mask(bad: npt.ArrayLike) -> Mask:
    array = np.asarray(bad)
    if array.ndim != 1:
        raise ValueError(f"bad must be one-dimensional, not of shape {array.shape}")
    return array.astype(np.bool_, copy=False)


def _allowed(slo: float) -> float:
    """1 - slo, without the float noise of 1 - 0.999. ValueError unless 0 < slo < 1."""
    if not 0.0 < slo < 1.0:
        raise ValueError(f"an SLO lies between 0 and 1, not {slo}")
    return float(round(1.0 - slo, 15))


def proportion_estimate(
    bad: npt.ArrayLike, *, confidence: float = 0.95, slo: float | None = None, of_run: bool = False
) -> Estimate:
    """The share of GOOD requests (availability), with one-sided bounds that hold for clustered failures.

    `bad`: shape (n,), bool, in time order of intended start. Clopper-Pearson on counts over the variance
    inflation of the failures (batch means, docs/analysis.md); without a single failure
    (or success) the inflation is 1, so the bound speaks of the run: see `largest_unseen_outage`. Below 60
    samples with failures every √n neighbours count as one.

    `of_run` False: both bounds are about the system in the long run, of which one outage is a single event:
    10 s down in 600 s do not yet disprove 99.9 %. `of_run` True: the upper bound is about this run alone, the
    plain Clopper-Pearson one, which is conservative for requests that fail independently given the state the
    system was in, however that state changed (Hoeffding 1956, Poisson binomial); the lower bound stays.

    With `slo`, `why` says how much more load would decide. No samples: value None.
    """
    array = _mask(bad)
    n = int(array.size)
    if n == 0:
        return no_data("no requests to judge")
    k = int(np.count_nonzero(array))
    inflation, method = (1.0, "exact binomial") if k in (0, n) else inflation_of([array], n)
    low_bad, high_bad = share_bounds(k, n, inflation=inflation, confidence=confidence)
    if of_run:
        low_bad, _ = share_bounds(k, n, confidence=confidence)
        method = f"{method}; upper bound of this run"
    why = ""
    if slo is not None and low_bad <= _allowed(slo) < high_bad:
        more = more_to_decide(k, n, _allowed(slo), inflation=inflation)
        why = (
            "no feasible load would decide"
            if more is None
            else f"about {more} more requests like these would decide"
        )
    return Estimate(1.0 - k / n, 1.0 - high_bad, 1.0 - low_bad, n, n / inflation, method, why)


def wilson(k: int, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """Two-sided Wilson interval of k/n, for display (Newcombe 1998). ValueError unless 0 <= k <= n."""
    interval = stats.binomtest(k, n).proportion_ci(confidence, method="wilson")
    return float(interval.low), float(interval.high)


def clopper_pearson(k: int, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """Two-sided exact interval of k/n, for display; assumes independence. ValueError unless 0 <= k <= n."""
    interval = stats.binomtest(k, n).proportion_ci(confidence, method="exact")
    return float(interval.low), float(interval.high)


def samples_needed_availability(slo: float, failures: int = 0, confidence: float = 0.95) -> int:
    """The fewest independent requests with `failures` failures among them that still prove `slo`.

    The smallest n with P(Bin(n, 1 - slo) <= failures) <= 1 - confidence; 99.9 %: 2995, 4742, 6294, ...
    """
    allowed = _allowed(slo)
    if failures < 0:
        raise ValueError(f"failures cannot be {failures}")

    def proves(n: int) -> bool:
        return bool(stats.binom.cdf(failures, n, allowed) <= 1.0 - confidence)

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
    allowed = _allowed(slo)
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


@dataclass(frozen=True, slots=True)
class Budget:
    """Share of the error budget of a window that the run consumed (1.0 = all of it).

    `estimate` is `consumed` with bounds from those of the error share; open without request counts.
    """

    consumed: float | None
    burn_rate: float | None
    method: str
    estimate: Estimate


def error_budget(
    bad: npt.ArrayLike | tuple[npt.ArrayLike, npt.ArrayLike],
    slo: float,
    window_s: float,
    duration_s: float,
    expected_events: float | None = None,
) -> Budget:
    """How much of the error budget of `window_s` a run of `duration_s` consumed.

    `bad` is either `(times_s, bad)`, one entry a request, both shape (n,); or the bad share of slices of
    equal length, shape (k,), NaN where a slice was empty. Burn rate b = e / (1 - slo), e the bad share.
    Time-based: b * duration / window. Event-based, when `expected_events` (N_W, events a window really has)
    is given: bad / ((1 - slo) N_W), and needs `(times_s, bad)`. Google SRE Workbook, ch. 5.
    No requests: all None. ValueError for a window, duration or N_W that is not positive.
    """
    allowed = _allowed(slo)
    if not (window_s > 0 and duration_s > 0) or (expected_events is not None and not expected_events > 0):
        raise ValueError("window, duration and expected events must be above 0")
    if isinstance(bad, tuple):
        times, flags = np.asarray(bad[0], dtype=np.float64), _mask(bad[1])
        if times.shape != flags.shape:
            raise ValueError(f"times {times.shape} and bad {flags.shape} differ in shape")
        share = proportion_estimate(flags[np.argsort(times, kind="stable")]).complement()
    else:
        if expected_events is not None:
            raise ValueError("an event-based budget needs (times, bad), not shares")
        shares = np.asarray(bad, dtype=np.float64)
        shares = shares[~np.isnan(shares)]
        mean = float(shares.mean()) if shares.size else None
        share = Estimate(mean, None, None, int(shares.size), None, "mean share of slices, no bounds")
    method = "time-based" if expected_events is None else f"event-based, {expected_events:g} events a window"
    if share.value is None:
        return Budget(None, None, method, no_data("no requests to judge"))
    per_share = (
        duration_s / (window_s * allowed) if expected_events is None else share.n / (allowed * expected_events)
    )
    estimate = share.scaled(per_share)
    return Budget(estimate.value, share.value / allowed, method, estimate)


def burn_rate(bad: int, total: int, slo: float) -> float:
    """Burn rate (bad / total) / (1 - slo): 1 spends exactly the budget. ValueError when total < 1."""
    if total < 1 or not 0 <= bad <= total:
        raise ValueError(f"not a share: {bad} of {total}")
    return bad / total / _allowed(slo)


def burn_rate_estimate(bad: npt.ArrayLike, slo: float) -> Estimate:
    """The burn rate with the bounds of `proportion_estimate`; `bad` shape (n,), bool, in time order."""
    share = proportion_estimate(bad)
    return share if share.value is None else share.complement().scaled(1.0 / _allowed(slo))


@dataclass(frozen=True, slots=True)
class BurnWindow:
    """An alert rule: fires while the burn rate over both windows exceeds `factor`."""

    severity: str
    long_s: float
    short_s: float
    factor: float


DEFAULT_WINDOWS = (
    BurnWindow("page", 3600.0, 300.0, 14.4),
    BurnWindow("page", 21600.0, 1800.0, 6.0),
    BurnWindow("ticket", 86400.0, 7200.0, 3.0),
    BurnWindow("ticket", 259200.0, 21600.0, 1.0),
)
"""Google SRE Workbook ch. 5 for a 30-day window: 2 % in 1 h, 5 % in 6 h, 10 % in 1 d, 10 % in 3 d."""


def burn_factor(budget_share: float, window_s: float, long_s: float) -> float:
    """The burn rate that spends `budget_share` of the budget of `window_s` within `long_s`."""
    return budget_share * window_s / long_s


def detection_time_s(error_share: float, slo: float, window: BurnWindow) -> float | None:
    """Seconds from the start of a constant `error_share` until `window` fires; None: never.

    (1 - slo) / e * window * factor, the longer of both windows' answers (SRE Workbook, ch. 5).
    """
    needed = _allowed(slo) * window.factor / error_share if error_share > 0 else math.inf
    return needed * max(window.long_s, window.short_s) if needed < 1.0 else None


@dataclass(frozen=True, slots=True)
class Alert:
    """An alert that would have fired: when, by which rule; `end_s` None: still firing at the end."""

    start_s: float
    severity: str
    long_s: float
    short_s: float
    factor: float
    end_s: float | None


def burn_alerts(
    times: npt.ArrayLike,
    bad: npt.ArrayLike,
    slo: float,
    windows: tuple[BurnWindow, ...] = DEFAULT_WINDOWS,
    *,
    rate_per_s: float | None = None,
    start_s: float | None = None,
    end_s: float | None = None,
) -> list[Alert]:
    """Replay multi-window burn-rate alerts over the run, evaluated once a second.

    `times`: shape (n,), seconds at which each outcome was known (the end of the request); `bad`: shape
    (n,), bool. A run is shorter than the windows, so what came before it is ASSUMED: a clean history at
    `rate_per_s` requests a second (by default the mean rate of the run). A rule fires in a second when the
    burn rate over its long AND its short window both exceed its factor. Alerts in order of start.
    """
    allowed = _allowed(slo)
    t, flags = np.asarray(times, dtype=np.float64), _mask(bad)
    if t.shape != flags.shape:
        raise ValueError(f"times {t.shape} and bad {flags.shape} differ in shape")
    if t.size == 0:
        return []
    begin = math.floor(t.min()) if start_s is None else start_s
    seconds = max(1, math.ceil((float(t.max()) if end_s is None else end_s) - begin))
    rate = t.size / seconds if rate_per_s is None else rate_per_s
    inside = (t >= begin) & (t <= begin + seconds)
    index = np.minimum((t[inside] - begin).astype(np.int64), seconds - 1)
    total = np.concatenate(([0.0], np.cumsum(np.bincount(index, minlength=seconds))))
    wrong = np.concatenate(([0.0], np.cumsum(np.bincount(index[flags[inside]], minlength=seconds))))
    alerts: list[Alert] = []
    for window in windows:
        firing = np.ones(seconds + 1, dtype=np.bool_)
        for length in (window.long_s, window.short_s):
            firing &= _share_over(total, wrong, length, rate) > allowed * window.factor * (1 + 1e-12)
        edges = np.flatnonzero(np.diff(np.concatenate(([False], firing, [False])).astype(np.int8)))
        for first, after in zip(edges[::2], edges[1::2], strict=True):
            end = None if after > seconds else begin + float(after)
            alerts.append(
                Alert(begin + float(first), window.severity, window.long_s, window.short_s, window.factor, end)
            )
    return sorted(alerts, key=lambda alert: alert.start_s)


def _share_over(total: Array, wrong: Array, length_s: float, rate: float) -> Array:
    """Bad share of the last `length_s` at the end of each second, clean history at `rate` before the run."""
    now = np.arange(total.size)
    since = np.maximum(now - round(length_s), 0)
    missing = np.maximum(length_s - now, 0.0)
    requests = total[now] - total[since] + rate * missing
    return np.asarray((wrong[now] - wrong[since]) / np.maximum(requests, 1e-300), dtype=np.float64)


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
        return (
            f"outages that come less often than once in {self.rarer_than_s:.3g} s, or last under "
            f"{self.shorter_than_s:.2g} s, could have gone unseen; as rare as that, they break the target "
            f"when longer than {self.breaks_slo_from_s:.2g} s"
        )


def largest_unseen_outage(n: int, duration_s: float, slo: float, *, confidence: float = 0.95) -> UnseenOutage:
    """Which outages `n` clean requests over `duration_s` could have missed. ValueError unless both > 0."""
    if n < 1 or not duration_s > 0:
        raise ValueError("needs at least one request and a positive duration")
    odds = math.log(1.0 / (1.0 - confidence))
    rarer = duration_s / odds
    return UnseenOutage(odds * duration_s / n, rarer, _allowed(slo) * rarer)
