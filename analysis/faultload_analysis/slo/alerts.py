"""Burn-rate alerts: rules for an SLO over any period, and their replay over a run."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from faultload_analysis.evidence.dependence import Array
from faultload_analysis.evidence.inputs import checked_counts, checked_flags
from faultload_analysis.slo.budget import allowed_share

MINUTE, HOUR, DAY = 60.0, 3600.0, 86400.0


@dataclass(frozen=True, slots=True)
class BurnWindow:
    """An alert rule: fires while the burn rate over both windows exceeds `factor`, after `for_s` of it.

    ValueError unless 0 < short_s <= long_s, factor > 0 and for_s >= 0, all finite.
    """

    severity: str
    long_s: float
    short_s: float
    factor: float
    for_s: float = 0.0

    def __post_init__(self) -> None:
        sane = 0 < self.short_s <= self.long_s < math.inf and 0 < self.factor < math.inf
        if not (sane and 0 <= self.for_s < math.inf):
            raise ValueError(f"not a burn-rate rule: {self}")


def burn_factor(budget_share: float, window_s: float, long_s: float) -> float:
    """The burn rate that spends `budget_share` of the budget of `window_s` within `long_s`.

    ValueError unless all are above 0 and finite.
    """
    if not all(0 < x < math.inf for x in (budget_share, window_s, long_s)):
        raise ValueError(f"no burn rate spends {budget_share} of the budget of {window_s} s within {long_s} s")
    return budget_share * window_s / long_s


_PAIRS = (
    ("page", HOUR, 5 * MINUTE),
    ("page", 6 * HOUR, 30 * MINUTE),
    ("ticket", DAY, 2 * HOUR),
    ("ticket", 3 * DAY, 6 * HOUR),
)
WORKBOOK_SHARES = (0.02, 0.05, 0.10, 0.10)
SLOTH_WEEK_SHARES = (0.08, 0.125, 0.20, 0.42)


def budget_windows(
    period_s: float, shares: tuple[float, float, float, float] = WORKBOOK_SHARES
) -> tuple[BurnWindow, ...]:
    """Rules on 1 h/5 m, 6 h/30 m, 1 d/2 h and 3 d/6 h that fire when a share of the period's budget is spent.

    By default 2, 5, 10 and 10 %: Google SRE Workbook ch. 5, table 5-8; 30 d gives 14.4, 6, 3, 1, Sloth's
    28 d gives 13.44, 5.6, 2.8, 0.933. Sloth's catalogue for 7 d (AlertWindows) is `SLOTH_WEEK_SHARES`. A rule
    whose long window is longer than the period is left out. ValueError when the period is not positive or
    shorter than an hour, or a share is not above 0.
    """
    if not (period_s >= HOUR and math.isfinite(period_s)):
        raise ValueError(f"an SLO period of {period_s} s is shorter than the shortest rule, 1 h")
    return tuple(
        BurnWindow(severity, long_s, short_s, burn_factor(share, period_s, long_s))
        for (severity, long_s, short_s), share in zip(_PAIRS, shares, strict=True)
        if long_s <= period_s
    )


def pyrra_windows(period_s: float) -> tuple[BurnWindow, ...]:
    """Pyrra's rules: factors 14, 7, 2, 1; windows and `for` of 28 d, scaled to the period, in whole minutes.

    28 d: 1 h/5 m for 2 m, 6 h/30 m for 15 m, 1 d/2 h for 1 h, 4 d/6 h for 3 h (pyrra slo/rules.go, Windows).
    ValueError for a period under a day, of which a short window would be no minute.
    """
    if not (period_s >= 3 * DAY and math.isfinite(period_s)):
        raise ValueError(f"Pyrra's windows of an SLO period of {period_s} s come to less than a minute")

    def scaled(window_s: float) -> float:
        return MINUTE * math.floor(window_s * period_s / (28 * DAY) / MINUTE + 0.5)

    rules = (
        ("page", HOUR, 5 * MINUTE, 14.0, 2 * MINUTE),
        ("page", 6 * HOUR, 30 * MINUTE, 7.0, 15 * MINUTE),
        ("ticket", DAY, 2 * HOUR, 2.0, HOUR),
        ("ticket", 4 * DAY, 6 * HOUR, 1.0, 3 * HOUR),
    )
    return tuple(BurnWindow(s, scaled(long), scaled(short), f, scaled(wait)) for s, long, short, f, wait in rules)


DEFAULT_WINDOWS = (
    BurnWindow("page", HOUR, 5 * MINUTE, 14.4),
    BurnWindow("page", 6 * HOUR, 30 * MINUTE, 6.0),
    BurnWindow("ticket", DAY, 2 * HOUR, 3.0),
    BurnWindow("ticket", 3 * DAY, 6 * HOUR, 1.0),
)
"""Google SRE Workbook ch. 5 for a 30-day window: 2 % in 1 h, 5 % in 6 h, 10 % in 1 d, 10 % in 3 d."""


def detection_time_s(error_share: float, slo: float, window: BurnWindow) -> float | None:
    """Seconds from the start of a constant `error_share` until `window` fires; None: never.

    (1 - slo) / e * factor * long window, by when the short one exceeds too, and `for_s` (SRE Workbook, ch. 5).
    ValueError unless 0 <= error_share <= 1.
    """
    if not 0.0 <= error_share <= 1.0:
        raise ValueError(f"an error share lies between 0 and 1, not {error_share}")
    needed = allowed_share(slo) * window.factor / error_share if error_share > 0 else math.inf
    return needed * window.long_s + window.for_s if needed < 1.0 else None


@dataclass(frozen=True, slots=True)
class Alert:
    """An alert that would have fired: when, by which rule; `end_s` None: still firing at the end."""

    start_s: float
    severity: str
    long_s: float
    short_s: float
    factor: float
    end_s: float | None


class AlertReplay:
    """Replays multi-window burn-rate alerts over a run that comes as counts per second.

    A run is shorter than the windows, so what came before it is ASSUMED: a clean history at `rate_per_s`
    requests per second (by default the mean rate of the run). Memory: two numbers per second of run.
    """

    def __init__(
        self,
        slo: float,
        windows: tuple[BurnWindow, ...] = DEFAULT_WINDOWS,
        *,
        start_s: float = 0.0,
        rate_per_s: float | None = None,
    ) -> None:
        """`start_s`: where the first second begins.

        ValueError unless 0 < slo < 1, the start is finite, and the rate above 0 and finite.
        """
        if not math.isfinite(start_s):
            raise ValueError(f"a replay cannot start at {start_s} s")
        if rate_per_s is not None and not 0 < rate_per_s < math.inf:
            raise ValueError(f"a rate of {rate_per_s} requests per second is not a history")
        self._allowed = allowed_share(slo)
        self._windows = windows
        self._start_s = start_s
        self._rate = rate_per_s
        self._total: list[Array] = []
        self._bad: list[Array] = []

    def add(self, total: npt.ArrayLike, bad: npt.ArrayLike) -> None:
        """The next seconds: outcomes known in each, and how many were bad; shape (m,) each, any m.

        ValueError as `inputs.checked_counts`.
        """
        totals, bads = checked_counts(total, bad)
        self._total.append(totals.copy())
        self._bad.append(bads.copy())

    def finish(self) -> list[Alert]:
        """The alerts, in order of start, each rule evaluated at the end of every second. None without requests."""
        total = np.concatenate(([0.0], *self._total)).cumsum()
        bad = np.concatenate(([0.0], *self._bad)).cumsum()
        if total[-1] == 0:
            return []
        rate = float(total[-1]) / (total.size - 1) if self._rate is None else self._rate
        alerts = [alert for window in self._windows for alert in self._replay(window, total, bad, rate)]
        return sorted(alerts, key=lambda alert: alert.start_s)

    def _replay(self, window: BurnWindow, total: Array, bad: Array, rate: float) -> list[Alert]:
        firing = np.ones(total.size, dtype=np.bool_)
        for length_s in (window.long_s, window.short_s):
            firing &= _share_over(total, bad, length_s, rate) > self._allowed * window.factor * (1 + 1e-12)
        edges = np.flatnonzero(np.diff(np.concatenate(([False], firing, [False])).astype(np.int8)))
        found = []
        for first, after in zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True):
            start = first + math.ceil(window.for_s)
            if start >= after:
                continue
            end = None if after == total.size else self._start_s + after
            found.append(
                Alert(self._start_s + start, window.severity, window.long_s, window.short_s, window.factor, end)
            )
        return found


def _share_over(total: Array, bad: Array, length_s: float, rate: float) -> Array:
    """Bad share of the last `length_s` at the end of each second, clean history at `rate` before the run."""
    now = np.arange(total.size)
    since = np.maximum(now - round(length_s), 0)
    missing = np.maximum(length_s - now, 0.0)
    requests = total[now] - total[since] + rate * missing
    return np.asarray((bad[now] - bad[since]) / np.maximum(requests, 1e-300), dtype=np.float64)


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
    """Replay multi-window burn-rate alerts over the requests of a run (`AlertReplay`).

    `times`: shape (n,), seconds at which each outcome was known (the end of the request), in any order;
    `bad`: shape (n,), bool. Requests before `start_s` or after `end_s` are left out; by default the run
    reaches from the first to the last. Whole seconds are replayed, the last one to its end. Alerts in order of
    start.
    ValueError for differing shapes, times that are not finite, or an end before the start.
    """
    t, flags = np.asarray(times, dtype=np.float64), checked_flags(bad, "bad")
    if t.shape != flags.shape:
        raise ValueError(f"times {t.shape} and bad {flags.shape} differ in shape")
    if not np.isfinite(t).all():
        raise ValueError("times hold NaN or infinite values")
    if t.size == 0:
        return []
    begin = math.floor(t.min()) if start_s is None else start_s
    end = float(t.max()) if end_s is None else end_s
    if not (math.isfinite(begin) and math.isfinite(end) and end >= begin):
        raise ValueError(f"no run to replay between {begin} and {end} s")
    inside = (t >= begin) & (t <= end)
    seconds = max(1, math.ceil(end - begin))
    index = np.minimum((t[inside] - begin).astype(np.int64), seconds - 1)
    replay = AlertReplay(slo, windows, start_s=float(begin), rate_per_s=rate_per_s)
    replay.add(np.bincount(index, minlength=seconds), np.bincount(index[flags[inside]], minlength=seconds))
    return replay.finish()
