"""Proportions, budgets, burn rates and repair times against published numbers."""

from __future__ import annotations

import numpy as np
import pytest

from faultload_analysis.evidence.dependence import share_bounds
from faultload_analysis.recovery.faults import availability_from, exponential_bounds
from faultload_analysis.slo.alerts import SLOTH_WEEK_SHARES, budget_windows, pyrra_windows
from faultload_analysis.slo.availability import (
    DEFAULT_WINDOWS,
    BurnWindow,
    burn_alerts,
    burn_factor,
    burn_rate,
    clopper_pearson,
    detection_time_s,
    error_budget,
    samples_needed_availability,
    wilson,
)
from faultload_analysis.slo.timeslices import bad_time_s, slices_in, timeslice_budget

DAY = 86400.0
NEWCOMBE = [
    ((81, 263), (0.2553, 0.3662), (0.2527, 0.3676)),
    ((15, 148), (0.0624, 0.1605), (0.0578, 0.1617)),
    ((0, 20), (0.0, 0.1611), (0.0, 0.1684)),
    ((1, 29), (0.0061, 0.1718), (0.0009, 0.1776)),
]


@pytest.mark.parametrize(("counts", "by_wilson", "exact"), NEWCOMBE)
def test_proportions_of_newcombe(
    counts: tuple[int, int], by_wilson: tuple[float, float], exact: tuple[float, float]
) -> None:
    """Newcombe 1998, table I."""
    assert wilson(*counts) == pytest.approx(by_wilson, abs=5e-5)
    assert clopper_pearson(*counts) == pytest.approx(exact, abs=5e-5)
    assert share_bounds(*counts, confidence=0.975) == pytest.approx(exact, abs=5e-5)


@pytest.mark.parametrize(
    ("slo", "needed"),
    [
        (0.999, [2995, 4742, 6294, 7752, 9151, 10511]),
        (0.9999, [29956, 47437, 62956, 77535, 91533, 105128]),
        (0.99, [299, 473, 628, 773, 913, 1049, 1182]),
    ],
)
def test_requests_needed_with_failures(slo: float, needed: list[int]) -> None:
    """Exact binomial; the 99 % row is CMH-17-1G 8.5.13."""
    assert [samples_needed_availability(slo, k) for k in range(len(needed))] == needed


@pytest.mark.parametrize(("slo", "minutes"), [(0.99, 432.0), (0.999, 43.2), (0.9995, 21.6), (0.9999, 4.32)])
def test_a_total_outage_as_long_as_the_budget_consumes_all_of_it(slo: float, minutes: float) -> None:
    """Google SRE Workbook: 30-day error budgets."""
    budget = error_budget(np.ones(10), slo, 30 * DAY, minutes * 60)
    assert budget.consumed == pytest.approx(1.0)


@pytest.mark.parametrize(("share", "burn", "consumed"), [(1.0, 1000.0, 0.2315), (0.01, 10.0, 0.002315)])
def test_ten_minutes_of_errors_at_three_nines(share: float, burn: float, consumed: float) -> None:
    """Section 2: 10 min of total outage is 23.15 % of 30 days, at 1 % errors 10 times and 0.2315 %."""
    budget = error_budget(np.full(600, share), 0.999, 30 * DAY, 600)
    assert budget.burn_rate == pytest.approx(burn)
    assert budget.consumed == pytest.approx(consumed, abs=consumed * 3e-4)
    assert burn_rate(int(share * 1000), 1000, 0.999) == pytest.approx(burn)


def test_an_event_based_budget_counts_events() -> None:
    """bad / ((1 - S) N_W): 50 of a million expected events at 99.9 % is 5 %."""
    bad = np.arange(10_000) < 50
    budget = error_budget((np.arange(10_000.0), bad), 0.999, 30 * DAY, 600, 1e6)
    assert budget.consumed == pytest.approx(0.05)


@pytest.mark.parametrize(
    ("share", "long_h", "days", "factor"),
    [
        (0.02, 1, 30, 14.4), (0.05, 6, 30, 6), (0.10, 24, 30, 3), (0.10, 72, 30, 1),
        (0.02, 1, 28, 13.44), (0.05, 6, 28, 5.6), (0.10, 24, 28, 2.8), (0.10, 72, 28, 0.9333),
        (0.08, 1, 7, 13.44), (0.125, 6, 7, 3.5), (0.20, 24, 7, 1.4), (0.42, 72, 7, 0.98),
    ],
)  # fmt: skip
def test_burn_factors(share: float, long_h: float, days: float, factor: float) -> None:
    """SRE Workbook ch. 5 for 30 days; Sloth getBurnRateFactor for 28 and 7."""
    assert burn_factor(share, days * DAY, long_h * 3600) == pytest.approx(factor, abs=1e-4)


@pytest.mark.parametrize(
    ("days", "shares", "factors"),
    [
        (30, None, (14.4, 6, 3, 1)),
        (28, None, (13.44, 5.6, 2.8, 0.9333)),
        (7, SLOTH_WEEK_SHARES, (13.44, 3.5, 1.4, 0.98)),
        (90, None, (43.2, 18, 9, 3)),
    ],
)
def test_rules_for_slo_periods(
    days: float, shares: tuple[float, float, float, float] | None, factors: tuple[float, ...]
) -> None:
    """SRE Workbook table 5-8 (30 d); Sloth google-28d.yaml and its AlertWindows of 7 d; 90 d by the formula."""
    rules = budget_windows(days * DAY) if shares is None else budget_windows(days * DAY, shares)
    assert [w.factor for w in rules] == pytest.approx(factors, abs=1e-4)
    assert [(w.severity, w.long_s / 3600, w.short_s / 60) for w in rules] == [
        ("page", 1, 5), ("page", 6, 30), ("ticket", 24, 120), ("ticket", 72, 360),
    ]  # fmt: skip


def test_rules_of_the_workbook_are_those_of_30_days() -> None:
    for rule, default in zip(budget_windows(30 * DAY), DEFAULT_WINDOWS, strict=True):
        assert (rule.severity, rule.long_s, rule.short_s) == (default.severity, default.long_s, default.short_s)
        assert rule.factor == pytest.approx(default.factor)


@pytest.mark.parametrize(
    ("days", "minutes"),
    [
        (28, [(60, 5, 2), (360, 30, 15), (1440, 120, 60), (5760, 360, 180)]),
        (14, [(30, 3, 1), (180, 15, 8), (720, 60, 30), (2880, 180, 90)]),
        (7, [(15, 1, 1), (90, 8, 4), (360, 30, 15), (1440, 90, 45)]),
        (30, [(64, 5, 2), (386, 32, 16), (1543, 129, 64), (6171, 386, 193)]),
    ],
)
def test_rules_of_pyrra(days: float, minutes: list[tuple[int, int, int]]) -> None:
    """pyrra slo/rules.go, Windows: factors 14, 7, 2, 1; window / (28 d / w), rounded to minutes, half up."""
    rules = pyrra_windows(days * DAY)
    assert [w.factor for w in rules] == [14, 7, 2, 1]
    assert [(w.long_s / 60, w.short_s / 60, w.for_s / 60) for w in rules] == minutes


def test_time_slices_of_two_weeks() -> None:
    """OpenSLO Timeslices over 2 w of 1 m: 20,160 slices, and at 95 % 16 h 48 m of bad ones."""
    assert slices_in(14 * DAY) == 20_160
    assert bad_time_s(0.95, 14 * DAY) == pytest.approx(16 * 3600 + 48 * 60)
    all_of_it = timeslice_budget(np.ones(1008), np.ones(1008), 0.95, 14 * DAY, slice_target=0.95)
    assert all_of_it.budget.consumed == pytest.approx(1.0)


def test_default_windows_are_those_of_the_workbook() -> None:
    assert [(w.factor, w.long_s / 3600, w.short_s / 60) for w in DEFAULT_WINDOWS] == [
        (14.4, 1, 5), (6, 6, 30), (3, 24, 120), (1, 72, 360),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("share", "window", "after_s"),
    [
        (1.0, DEFAULT_WINDOWS[0], 51.84),
        (1.0, DEFAULT_WINDOWS[1], 129.6),
        (0.1, DEFAULT_WINDOWS[0], 518.4),
        (1.0, BurnWindow("page", 3600, 300, 36), 129.6),
    ],
)
def test_detection_times(share: float, window: BurnWindow, after_s: float) -> None:
    """Section 2: (1 - S) / e * window * burn; SRE Workbook: 36 x over 1 h detects an outage in 2.16 min."""
    assert detection_time_s(share, 0.999, window) == pytest.approx(after_s)
    times = np.arange(0, 1000, 0.1)
    bad = np.zeros(times.size, dtype=bool)
    bad[(times >= 100) & (np.arange(times.size) % round(1 / share) == 0)] = True
    alert = burn_alerts(times, bad, 0.999, (window,))[0]
    assert after_s <= alert.start_s - 100 <= after_s + 1.5
    assert alert.end_s is None


def test_the_workbook_alert_resets_after_57_84_minutes() -> None:
    """devops.stackexchange 8266: a single long window keeps firing 57.84 min after a 2.16 min outage."""
    times = np.arange(0, 4000, 0.5)
    bad = (times >= 10) & (times < 10 + 129.6 + 1)
    alert = burn_alerts(times, bad, 0.999, (BurnWindow("page", 3600, 3600, 36),))[0]
    assert alert.start_s == pytest.approx(140, abs=1)
    assert alert.end_s is not None
    assert (alert.end_s - alert.start_s) / 60 == pytest.approx(57.84, abs=0.05)


@pytest.mark.parametrize(
    ("r", "low", "high"),
    [(1, 0.271, 39.5), (3, 0.415, 4.85), (5, 0.488, 3.08), (10, 0.585, 2.085), (20, 0.674, 1.637)],
)
def test_exponential_multipliers(r: int, low: float, high: float) -> None:
    """NIST/SEMATECH e-Handbook 8.4.5.1, two-sided 95 %, complete."""
    assert exponential_bounds(float(r), r, confidence=0.975) == pytest.approx((low, high), rel=2e-3)


def test_no_events_bound_the_mean_from_below() -> None:
    """NIST 8.4.5.1: T / ln(1 / 0.05) = 0.3338 T."""
    assert exponential_bounds(1.0, 0)[0] == pytest.approx(0.3338, abs=1e-4)


def test_availability_from_mtbf_and_mttr() -> None:
    assert availability_from(720 * 3600, 3600) == pytest.approx(0.998613, abs=1e-6)
