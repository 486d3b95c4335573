"""What recovery is measured from and until when: the baseline before, the watch until the next fault."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from drawn_run import RATE, Stretch, Strike, draw

from faultload.record.directory import RunDirectory
from faultload.record.measured import read_measured
from faultload.record.sealed import seal
from faultload.verdict import recoveries as module
from faultload.verdict.judge import judge
from faultload.verdict.recoveries import (
    Outcomes,
    baseline,
    cut_slices,
    overloads_of,
    recoveries_of,
    slice_rule,
    surges,
)
from faultload_analysis.recovery.slice_rule import SliceRule
from faultload_analysis.recovery.slice_rule import baseline_rule as real_rule

LIMIT = "p99(latency) <= 500ms during baseline"
OUT = Stretch(30, 33, 5.0, "timeout")


def fault(run: RunDirectory, number: int = 0) -> dict[str, Any]:
    found: dict[str, Any] = judge(run).verdict["faults"][number]
    return found


# -- the baseline


def test_the_baseline_ends_with_the_first_fault_or_surge_and_begins_after_the_warm_up(tmp_path: Path) -> None:
    stages = [{"ramp": "100/s", "over": "10s"}, {"hold": "30s"}, {"surge": "2x", "for": "5s"}, {"hold": "20s"}]
    strikes = [Strike(50, 51, k=2), Strike(35, 36)]
    without = read_measured(draw(tmp_path / "surge", stages=stages))
    times = baseline(without).intended_s
    assert (times[0], times[-1]) == pytest.approx((12, 42), abs=0.011)
    struck = read_measured(draw(tmp_path / "fault", stages=stages, strikes=strikes))
    times = baseline(struck).intended_s
    assert (times[0], times[-1]) == pytest.approx((12, 35), abs=0.011)


def test_the_baseline_of_an_undisturbed_load_ends_with_the_cool_down(tmp_path: Path) -> None:
    stages = [{"hold": "20s"}, {"ramp": "0/s", "over": "10s"}]
    times = baseline(read_measured(draw(tmp_path / "run", stages=stages))).intended_s
    assert (times[0], times[-1]) == pytest.approx((2, 22), abs=0.011)


def test_of_a_long_baseline_the_last_quarter_of_an_hour_says_what_is_normal(tmp_path: Path) -> None:
    run = draw(tmp_path / "run", stages=[{"hold": "20m"}], rate=1.0, strikes=[Strike(1000, 1001)])
    times = baseline(read_measured(run)).intended_s
    assert (times[0], times[-1]) == pytest.approx((100.5, 999.5))


def test_of_a_baseline_of_many_requests_the_last_ones_say_what_is_normal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("faultload.record.recorded.KEPT_ROWS", 0)
    monkeypatch.setattr("faultload.record.sealed.CHUNK_ROWS", 200)
    monkeypatch.setattr(module, "BASELINE_ROWS", 1000)
    run = draw(tmp_path / "run")
    seal(run.path)
    times = baseline(read_measured(run)).intended_s
    assert 1000 <= times.size < 1200
    assert times[-1] == pytest.approx(62, abs=0.011)
    assert np.diff(times).max() == pytest.approx(1 / RATE)


def test_the_rule_knows_how_long_a_fault_is_watched_at_most(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From a disturbance to the next one or the cool-down; where there is none, a second."""
    seen: list[float] = []

    def baseline_rule(*values: Any, watch_s: float, **settings: Any) -> SliceRule:
        seen.append(watch_s)
        return real_rule(*values, watch_s=watch_s, **settings)

    monkeypatch.setattr("faultload_analysis.recovery.faults.baseline_rule", baseline_rule)
    surging = [{"hold": "40s"}, {"surge": "2x", "for": "5s"}, {"hold": "15s"}]
    for number, drawn in enumerate(
        [
            {"strikes": [Strike(30, 31)]},
            {"strikes": [Strike(50, 51, k=2), Strike(20, 21)]},
            {"strikes": [Strike(10, 12)], "stages": surging},
            {},
        ]
    ):
        measured = read_measured(draw(tmp_path / str(number), LIMIT, **drawn))  # type: ignore[arg-type]
        assert slice_rule(measured, measured.info.as_run(), "full") is not None
    assert seen == pytest.approx([32, 30, 32, 1])


# -- the watch


def test_a_watch_ends_before_the_next_fault_and_what_was_still_in_flight_then_is_the_next_ones(
    tmp_path: Path,
) -> None:
    """Down from the first fault on: the watch of 30 to 50 loses the latency limit and a slice."""
    run = draw(
        tmp_path / "run",
        LIMIT,
        stretches=[Stretch(30, 60, 5.0, "timeout")],
        strikes=[Strike(30, 32), Strike(50, 52, k=2)],
    )
    first, second = judge(run).verdict["faults"]
    assert first["censored_s"] == pytest.approx(50 - 30 - 0.5 - 1.0, abs=0.011)
    assert (first["recovered"], second["recover_s"]) == (False, None)


def test_a_recovery_after_the_next_fault_began_is_none_of_the_first(tmp_path: Path) -> None:
    run = draw(
        tmp_path / "run",
        LIMIT,
        stretches=[Stretch(30, 46, 5.0, "timeout")],
        strikes=[Strike(30, 32), Strike(45, 47, k=2, name="other")],
    )
    assert fault(run)["recovered"] is False
    alone = draw(tmp_path / "alone", LIMIT, stretches=[Stretch(30, 46, 5.0, "timeout")], strikes=[Strike(30, 32)])
    assert fault(alone)["recover_s"] == pytest.approx(16, abs=0.02)


def test_a_fault_that_overlaps_by_permission_ends_no_watch(tmp_path: Path) -> None:
    faults = [
        {"name": "cut", "experiment": "e.yaml", "at": "30s"},
        {"name": "other", "experiment": "e.yaml", "at": "45s", "overlap": True},
    ]
    run = draw(
        tmp_path / "run",
        LIMIT,
        stretches=[Stretch(30, 46, 5.0, "timeout")],
        strikes=[Strike(30, 50), Strike(45, 47, name="other")],
        scenario={"faults": faults},
    )
    assert fault(run)["recover_s"] == pytest.approx(16, abs=0.02)


def test_the_last_fault_is_watched_until_the_cool_down(tmp_path: Path) -> None:
    stages = [{"hold": "50s"}, {"ramp": "0/s", "over": "10s"}]
    run = draw(
        tmp_path / "run",
        LIMIT,
        stages=stages,
        stretches=[Stretch(30, 70, 5.0, "timeout")],
        strikes=[Strike(30, 32)],
    )
    assert fault(run)["censored_s"] == pytest.approx(22, abs=0.011)


def test_a_fault_during_cool_down_is_not_measurable(tmp_path: Path) -> None:
    stages = [{"hold": "40s"}, {"ramp": "0/s", "over": "20s"}]
    one = fault(draw(tmp_path / "run", LIMIT, stages=stages, strikes=[Strike(42, 43)]))
    assert one["why"] == "no load was measured around this fault"
    assert (one["impact_s"], one["recover_s"], one["censored_s"]) == (None, None, None)
    assert (one["absorbed"], one["recovered"]) == (False, False)


def test_a_load_that_is_all_warm_up_measures_no_recovery(tmp_path: Path) -> None:
    one = fault(draw(tmp_path / "run", stages=[{"ramp": "100/s", "over": "60s"}], strikes=[Strike(30, 31)]))
    assert one["why"] == "no load was measured around this fault"


def test_a_load_that_never_got_an_answer_measures_no_recovery_and_says_so(tmp_path: Path) -> None:
    one = fault(draw(tmp_path / "run", stretches=[Stretch(0, 62, 0.1, "http_error")], strikes=[Strike(30, 31)]))
    assert one["why"] == "no request was ok before the first fault, so nothing says what recovered means"


# -- faults that are over by themselves, and those that are not


@pytest.mark.parametrize(("one_shot", "recovered"), [(True, False), (False, True)])
def test_what_the_tool_mended_after_its_time_is_no_recovery_of_a_one_shot_fault(
    tmp_path: Path, one_shot: bool, recovered: bool
) -> None:
    """Back eight seconds after the fault, which had five to come back by itself."""
    run = draw(
        tmp_path / "run",
        LIMIT,
        "ttr <= 9s",
        stretches=[Stretch(30, 38, 5.0, "timeout")],
        strikes=[Strike(30, 38, one_shot=one_shot, max_duration_s=5.0)],
    )
    one = fault(run)
    assert one["recovered"] is recovered
    if recovered:
        assert one["recover_s"] == pytest.approx(8, abs=0.02)
        assert "after the fault was undone" in one["why"]
    else:
        assert one["censored_s"] == pytest.approx(5, abs=0.02)


def test_a_recovery_before_the_undo_says_so(tmp_path: Path) -> None:
    run = draw(tmp_path / "run", LIMIT, stretches=[OUT], strikes=[Strike(30, 40)])
    assert "before the fault was undone" in fault(run)["why"]


def test_a_fault_that_nobody_noticed_was_absorbed(tmp_path: Path) -> None:
    one = fault(draw(tmp_path / "run", LIMIT, strikes=[Strike(30, 33)]))
    assert (one["absorbed"], one["recovered"], one["impact_s"]) == (True, True, None)


def test_an_alert_would_have_told_of_a_long_outage_and_not_of_a_short_one(tmp_path: Path) -> None:
    """A page at 14.4 times the budget of an hour: for 99.99 % after five seconds of an outage."""
    detect = []
    for number, end in enumerate((30.2, 55)):
        run = draw(
            tmp_path / str(number),
            "availability >= 99.99% during baseline",
            LIMIT,
            stretches=[Stretch(30, end, 0.01, "http_error")],
            strikes=[Strike(30, end)],
        )
        detect.append(fault(run)["detect_s"])
    assert detect[0] is None
    assert detect[1] == pytest.approx(0.0001 * 14.4 * 3600, abs=1)


def test_outcomes_alert_when_they_are_known_not_when_they_were_asked_for(tmp_path: Path) -> None:
    """The same failures, each known five seconds later."""
    late, early = (
        fault(
            draw(
                tmp_path / str(latency),
                "availability >= 99.99% during baseline",
                LIMIT,
                stretches=[Stretch(30, 55, latency, "timeout")],
                strikes=[Strike(30, 55)],
            )
        )["detect_s"]
        for latency in (5.01, 0.01)
    )
    assert late - early == pytest.approx(5, abs=1)


@pytest.mark.parametrize(
    ("failing", "first", "alerts"),
    [((2.4, 2.7), 2.0, 1), ((62.0, 62.4), 62.0, 1), ((63.0, 64.0), math.nan, 0), ((1.0, 1.98), math.nan, 0)],
    ids=["first moment", "last moment", "after", "before"],
)
def test_every_outcome_of_the_load_counts_and_none_beside_it(
    tmp_path: Path, failing: tuple[float, float], first: float, alerts: int
) -> None:
    """A load from 2.4 to 62.4, by whole seconds; a twentieth of a second of failures pages at 99.9999 %."""
    run = draw(
        tmp_path / "run",
        start_s=2.4,
        seconds=np.arange(0.5, 70, 0.01),
        stretches=[Stretch(*failing, 0.0, "timeout")],
    )
    outcomes = Outcomes(read_measured(run))
    for part in read_measured(run).record.times():
        outcomes.add(part)
    found = [alert.start_s for alert in outcomes.alerts(0.999999)]
    assert len(found[:1]) == alerts
    assert found[:1] == ([pytest.approx(first, abs=1.0)] if alerts else [])


def test_a_load_of_one_slice_after_its_warm_up_is_cut_and_one_of_less_is_not(tmp_path: Path) -> None:
    for lasts, cut in (("1s", True), ("900ms", False)):
        stages = [{"ramp": "100/s", "over": "10s"}, {"hold": lasts}]
        measured = read_measured(draw(tmp_path / lasts, LIMIT, stages=stages))
        scenario = measured.info.as_run()
        rule = slice_rule(measured, scenario, "full")
        assert rule is not None
        assert (cut_slices(measured, scenario, rule) is not None) == cut


# -- overloads


SURGE = [{"hold": "20s"}, {"surge": "2x", "for": "5s", "phase": "rush"}, {"hold": "35s"}]


def overload(run: RunDirectory, number: int = 0) -> dict[str, Any]:
    found: dict[str, Any] = judge(run).verdict["overloads"][number]
    return found


def test_a_surge_has_its_name_its_start_and_its_end_on_the_runs_clock(tmp_path: Path) -> None:
    stages = [*SURGE, {"surge": "2x", "for": "5s"}, {"hold": "5s"}]
    measured = read_measured(draw(tmp_path / "run", stages=stages, start_s=3.0))
    assert surges(measured) == {"rush": (23.0, 28.0), "stage 4": (63.0, 68.0)}


def test_a_surge_that_the_load_did_not_come_to_is_none_and_one_that_was_cut_short_ends_there(
    tmp_path: Path,
) -> None:
    for end, expected in ((22.0, {}), (25.0, {"rush": (22.0, 25.0)})):
        run = draw(tmp_path / str(end), stages=SURGE)
        run.update({"load_end_s": end})
        assert surges(read_measured(run)) == expected


def test_a_system_that_stays_slow_after_a_surge_is_told_with_how_long_it_was_watched(tmp_path: Path) -> None:
    stuck = overload(draw(tmp_path / "run", LIMIT, stages=SURGE, stretches=[Stretch(22, 70, 2.0)]))
    back = overload(draw(tmp_path / "back", LIMIT, stages=SURGE, stretches=[Stretch(22, 37, 2.0)]))
    assert (stuck["surge"], stuck["recover_s"]) == ("rush", None)
    assert stuck["watched_s"] == pytest.approx(62 - 27, abs=1.01)
    assert back["recover_s"] == pytest.approx(10, abs=1.01)
    low, high = back["recover_between_s"]
    assert low <= back["recover_s"] <= high


@pytest.mark.parametrize("strikes", [[], [Strike(40, 41)]])
def test_a_fault_ends_the_watch_of_a_surge(tmp_path: Path, strikes: list[Strike]) -> None:
    one = overload(draw(tmp_path / "run", LIMIT, stages=SURGE, stretches=[Stretch(22, 70, 2.0)], strikes=strikes))
    end = 40 if strikes else 62
    assert one["watched_s"] == pytest.approx(end - 27, abs=1.01)


def test_the_next_surge_ends_the_watch_of_the_one_before(tmp_path: Path) -> None:
    stages = [*SURGE[:2], {"hold": "15s"}, {"surge": "2x", "for": "5s"}, {"hold": "30s"}]
    run = draw(tmp_path / "run", LIMIT, stages=stages, stretches=[Stretch(22, 90, 2.0)])
    assert overload(run)["watched_s"] == pytest.approx(42 - 27, abs=1.01)
    second = overload(draw(tmp_path / "two", LIMIT, stages=stages, stretches=[Stretch(42, 57, 2.0)]), 1)
    assert second["surge"] == "stage 4"
    assert second["recover_s"] == pytest.approx(10, abs=1.01)


def test_a_load_without_surges_has_no_overloads(tmp_path: Path) -> None:
    measured = read_measured(draw(tmp_path / "run", LIMIT))
    assert overloads_of(measured, measured.info.as_run(), "full") == {}


def test_a_load_without_faults_has_no_recoveries(tmp_path: Path) -> None:
    measured = read_measured(draw(tmp_path / "run", LIMIT))
    assert recoveries_of(measured, measured.info.as_run(), "full") == {}
