"""A run directory becomes arrays, phases, recoveries and a verdict; what is missing never passes."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from synthetic_run import HOLD_S, INJECTED_S, OUTAGE_S, RAMP_S, RATE, REQUESTS, SCENARIO, START_S, write_run

from faultload.errors import ExitCode
from faultload.record import tables
from faultload.record.directory import RunDirectory
from faultload.record.events import event_of
from faultload.record.faults import FaultLine
from faultload.record.info import RunInfo
from faultload.record.lines import append_line
from faultload.record.measured import FaultTimes, Measured, fault_times, read_measured
from faultload.record.rows import InMemory, Labels, Samples, joined
from faultload.record.writes import WriteChecks
from faultload.spec.baseline import declared_limits, declared_slo
from faultload.spec.objective import parse_objective
from faultload.spec.scenario import Scenario
from faultload.verdict.evidence import Evidence
from faultload.verdict.judge import invalid_reasons, judge, worst_exit
from faultload.verdict.overview import OverviewBuilder
from faultload.verdict.phases import phases_of
from faultload.verdict.recoveries import by_fault, recoveries_of, slice_rule
from faultload.verdict.spoilage import spoilage
from faultload.verdict.writes import write_counts
from faultload_analysis.evidence.verdict import Estimate
from faultload_analysis.latency.generator import Slips
from faultload_analysis.recovery.faults import Recovery

END_S = START_S + RAMP_S + HOLD_S


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    """A run that went to its end; its second fault was held by the gate."""
    return write_run(tmp_path_factory.mktemp("runs") / "whole")


@pytest.fixture(scope="module")
def measured(written: RunDirectory) -> Measured:
    return read_measured(written)


@pytest.fixture(scope="module")
def evidence(measured: Measured) -> Evidence:
    recoveries = recoveries_of(measured, measured.info.as_run(), "full")
    return Evidence(measured, phases_of(measured, recoveries), recoveries)


@pytest.fixture
def run(written: RunDirectory, tmp_path: Path) -> RunDirectory:
    """The same run, to be changed; without its second fault."""
    shutil.copytree(written.path, tmp_path / "run")
    run = RunDirectory(tmp_path / "run")
    events = [event.to_json() for event in run.events() if getattr(event, "k", 1) != 2]
    (run.path / "events.jsonl").write_text("".join(json.dumps(event) + "\n" for event in events))
    return run


def requests(measured: Measured) -> Samples:
    return joined(measured.record.samples())


def found(evidence: Evidence, text: str) -> Estimate:
    return evidence.estimate(parse_objective(text))


# -- measured


def test_a_run_directory_as_arrays(measured: Measured) -> None:
    samples = requests(measured)
    assert len(samples) == pytest.approx(RATE * (HOLD_S + RAMP_S / 2))
    assert (np.diff(samples.intended_s) >= 0).all()
    assert np.isinf(samples.latency_s[~samples.ok]).all()
    assert (samples.latency_s >= samples.service_s).all()
    assert sorted(samples.request.counts()) == sorted(REQUESTS)
    assert (measured.load_start_s, measured.warmup_end_s) == (START_S, START_S + RAMP_S)
    assert (measured.cooldown_start_s, measured.load_end_s) == (END_S, END_S)
    assert [fault.label for fault in measured.faults] == ["db-failover#1", "db-failover#2"]


def test_a_killed_run_ends_with_its_last_request(tmp_path: Path) -> None:
    measured = read_measured(write_run(tmp_path / "killed", killed=True))
    assert measured.load_end_s == requests(measured).ended_s.max()
    assert measured.load_end_s < END_S
    assert measured.faults[0].still_open


def test_an_empty_run_has_no_samples(tmp_path: Path) -> None:
    measured = read_measured(write_run(tmp_path / "empty", empty=True))
    assert len(requests(measured)) == 0
    assert measured.load_start_s == 0


def sample(**changes: Any) -> dict[str, Any]:
    plain = {
        "intended_ns": 10, "started_ns": 20, "service_us": 1000, "request": "GET /", "journey": "Visit",
        "variant": None, "outcome": "ok", "status": 200, "bytes": 1,
    }  # fmt: skip
    return {**plain, **changes}


def test_dropped_slots_count_wherever_their_journey_could_have_asked(tmp_path: Path) -> None:
    rows = [
        sample(request="GET /a", journey="A"),
        sample(request="GET /b", journey="B", variant="v2"),
        sample(request=None, journey="A", outcome="dropped", service_us=0),
        sample(request=None, journey="C", outcome="dropped", service_us=0),
        sample(request="GET /a", variant="setup"),
    ]
    writer = tables.TableWriter(tmp_path, "samples")
    writer.write({name: [row[name] for row in rows] for name in rows[0]})
    run = RunDirectory(tmp_path)
    record = read_measured(run).record
    samples = joined(record.samples())
    assert len(samples) == 4, "requests of on_start are left out"
    count = {
        text: int(samples.matching(filters, record).sum())
        for text, filters in {
            "all": {},
            "a": {"request": "GET /a"},
            "b": {"request": "GET /b"},
            "journey": {"journey": "A"},
            "variant": {"variant": "v2"},
            "nothing": {"request": "GET /none"},
        }.items()
    }
    assert count == {"all": 4, "a": 2, "b": 1, "journey": 2, "variant": 1, "nothing": 0}


def test_labels() -> None:
    labels = Labels(np.array([0, 1, -1, 0], np.int32), ["a", "b"])
    assert labels.equal("a").tolist() == [True, False, False, True]
    assert labels.equal("c").tolist() == [False] * 4
    assert labels[2:].equal("a").tolist() == [False, True]


def line(state: str, t: float, fault: str = "cut", k: int = 1) -> FaultLine:
    return FaultLine(t=t, fault=fault, k=k, state=state, kind="partition", max_duration_s=5.0)


def test_faults_from_their_journal_and_events() -> None:
    lines = [
        line("PLANNED", 9, "late"),
        line("PLANNED", 1),
        line("INJECTING", 2),
        line("ACTIVE", 2.1),
        line("UNDOING", 7),
        line("UNDONE", 7.5),
    ]
    events = [
        {"t": 1, "kind": "gate", "fault": "cut", "k": 1, "passed": True, "why": ""},
        {"t": 3, "kind": "witness", "fault": "cut", "k": 1, "of": "there", "seen": True, "what": "no answer"},
        {"t": 8, "kind": "witness", "fault": "cut", "k": 1, "of": "gone", "seen": True, "what": "answers"},
        {"t": 5, "kind": "gate", "fault": "cut", "k": 2, "passed": False, "why": "bad baseline"},
        {"t": 6, "kind": "note", "what": "not_injected", "fault": "kill", "k": 1, "text": "too many"},
        {"t": 6, "kind": "note", "what": "remark", "text": "hello"},
    ]
    cut, second, kill, late = fault_times(lines, [event_of(one) for one in events])
    assert (cut.label, cut.injected_at, cut.undone_at, cut.still_open) == ("cut#1", 2, 7.5, False)
    assert (cut.gate, cut.witnessed, cut.witness_what, cut.gone_what) == (True, True, "no answer", "answers")
    assert (second.label, second.gate, second.gate_why, second.injected_at) == (
        "cut#2",
        False,
        "bad baseline",
        None,
    )
    assert (kill.label, kill.gate, kill.gate_why, kill.state) == ("kill#1", False, "too many", "SKIPPED")
    assert (late.label, late.state, late.still_open) == ("late#1", "PLANNED", True)


# -- phases


def test_phases_tile_the_run(evidence: Evidence) -> None:
    names = [span.name for span in evidence.phases.spans]
    assert names == ["warmup", "cooldown", "fault:db-failover#1", "recovery:db-failover#1"]
    times = np.arange(START_S, END_S + 5, 0.1)
    masks = [evidence.phases.mask(times, name) for name in (*names, "baseline")]
    assert (np.sum(masks, axis=0) == 1).all()
    fault = evidence.phases.spans[2]
    assert (fault.start, fault.end) == (INJECTED_S, INJECTED_S + OUTAGE_S)
    edges = np.array([fault.start, fault.end])
    assert evidence.phases.mask(edges, "fault").tolist() == [True, False]
    assert evidence.phases.mask(edges, "recovery").tolist() == [False, True]


def test_what_during_selects(evidence: Evidence) -> None:
    def lasts(phase: str | None) -> float:
        return evidence.phases.duration_s(phase)

    assert (
        lasts("fault") == lasts("fault:db-failover") == lasts("fault:db-failover#1") == pytest.approx(3, abs=0.11)
    )
    assert lasts("fault:db-failover#2") == lasts("fault:db") == lasts("nothing") == 0
    assert lasts("warmup") == pytest.approx(RAMP_S)
    assert lasts(None) == pytest.approx(HOLD_S)
    assert lasts("all") == pytest.approx(RAMP_S + HOLD_S)
    assert lasts("baseline") == pytest.approx(HOLD_S - OUTAGE_S - lasts("recovery"), abs=0.2)


def test_a_named_stage_is_a_phase_and_a_later_fault_ends_a_recovery(measured: Measured) -> None:
    stages = [
        {"kind": "hold", "start_s": 0.0, "end_s": 20.0, "low": 1.0, "high": 1.0, "phase": None},
        {"kind": "hold", "start_s": 20.0, "end_s": 40.0, "low": 1.0, "high": 1.0, "phase": "rush"},
    ]
    faults = [
        FaultTimes("cut", 1, "partition", injected_at=5.0, undone_at=8.0),
        FaultTimes("cut", 2, "partition", injected_at=15.0, undone_at=None),
    ]
    info = RunInfo.from_json({"load": {"stages": stages}, "load_start_s": 2.0, "ended": 50.0})
    phases = phases_of(replace(measured, info=info, faults=faults), {})
    assert [(span.name, span.start, span.end) for span in phases.spans] == [
        ("cooldown", 42.0, math.inf),
        ("fault:cut#1", 5.0, 8.0),
        ("recovery:cut#1", 8.0, 15.0),
        ("fault:cut#2", 15.0, 42.0),
        ("rush", 22.0, 42.0),
    ]
    assert phases.duration_s("rush") == pytest.approx(20)


def test_an_absorbed_fault_leaves_no_recovery_phase(measured: Measured) -> None:
    absorbed = Recovery(None, None, None, 0.0, True, True, None, None, True, "")
    phases = phases_of(measured, {"db-failover#1": absorbed})
    assert phases.spans_of("recovery") == []


# -- recoveries


def scenario(**changes: Any) -> Scenario:
    return Scenario.model_validate({**SCENARIO, **changes})


@pytest.mark.parametrize(
    ("objectives", "limits", "slo"),
    [
        (["ttr <= 9s"], (None, 0.99, None), 0.999),
        (["p99(latency) <= 500ms", "p95(latency) <= 80ms during baseline"], (0.08, 0.95, None), 0.999),
        (["p50(latency) <= 5ms", "p99(latency, journey=A) <= 9ms"], (None, 0.99, None), 0.999),
        (["p99(latency) <= 9ms during fault", "p99(service_time) <= 7ms"], (None, 0.99, None), 0.999),
        (["availability >= 99% during baseline", "error_rate <= 5%"], (None, 0.99, pytest.approx(0.01)), 0.99),
    ],
)
def test_what_a_scenario_declares_a_healthy_request(
    objectives: list[str], limits: tuple[Any, ...], slo: float
) -> None:
    declared = scenario(objectives=objectives)
    assert declared_limits(declared, "full") == limits
    assert declared_slo(declared, "full") == pytest.approx(slo)


def test_recovery_as_the_users_saw_it(evidence: Evidence) -> None:
    one = evidence.recoveries["db-failover#1"]
    assert (one.measurable, one.recovered, one.absorbed) == (True, True, False)
    assert one.impact_s == pytest.approx(0.2, abs=0.1)
    assert one.recover_s == pytest.approx(OUTAGE_S - 0.2, abs=0.1)
    assert set(evidence.recoveries) == {"db-failover#1"}, "a fault that was not injected has no recovery"
    assert by_fault(evidence.recoveries, "") == by_fault(evidence.recoveries, "db-failover")
    assert by_fault(evidence.recoveries, "db") == []


def test_without_samples_recovery_is_not_measurable(measured: Measured) -> None:
    early = replace(measured, record=InMemory(requests(measured)[:0]))
    rule = slice_rule(early, scenario(), "full")
    assert rule is not None
    assert not rule.baseline_ok
    assert not recoveries_of(early, scenario(), "full")["db-failover#1"].measurable


# -- evaluate: the synthetic run in exact figures


def count(measured: Measured, low: float, high: float, **wanted: str) -> int:
    samples = requests(measured)
    inside = (samples.intended_s >= low) & (samples.intended_s < high)
    for name, value in wanted.items():
        inside &= getattr(samples, name).equal(value)
    return int(inside.sum())


def test_shares_count_every_failed_request(evidence: Evidence) -> None:
    n = count(evidence.measured, START_S + RAMP_S, END_S)
    failed = n - count(evidence.measured, START_S + RAMP_S, END_S, outcome="ok")
    assert failed > 200
    one = found(evidence, "availability >= 99.9%")
    assert one.n == n
    assert one.value == pytest.approx(1 - failed / n)
    rate = found(evidence, "error_rate <= 0.1%")
    assert rate.n == n
    assert rate.value == pytest.approx(failed / n)
    assert rate.low is not None and one.high is not None
    assert rate.low == pytest.approx(1 - one.high)
    assert found(evidence, "burn_rate(99%) <= 1").value == pytest.approx(failed / n / 0.01)
    window = found(evidence, "budget(99%, 1h) <= 1%").value
    assert window == pytest.approx(failed / n / 0.01 * HOLD_S / 3600, rel=0.01)


def test_phases_and_filters_choose_the_requests(evidence: Evidence) -> None:
    name = "GET /memories/search"
    measured = evidence.measured
    assert found(evidence, f'availability(request="{name}") >= 9% during warmup').n == count(
        measured, START_S, START_S + RAMP_S, request=name
    )
    assert found(evidence, "p99(latency) <= 1s during all").n == len(requests(evidence.measured))
    assert found(evidence, "p50(latency) <= 1s during fault").value == math.inf
    nothing = found(evidence, "p50(latency, journey=Nobody) <= 1s")
    assert (nothing.value, nothing.n, nothing.why) == (None, 0, "nothing was measured in this phase")


def test_quantiles_are_order_statistics(evidence: Evidence) -> None:
    samples = requests(evidence.measured)
    inside = np.sort(samples.service_s[evidence.phases.mask(samples.intended_s, "baseline")])
    for name, share in (("p50", 0.5), ("p99", 0.99), ("median", 0.5), ("p99.9", 0.999)):
        value = found(evidence, f"{name}(service_time) <= 1s during baseline").value
        assert value == inside[math.ceil(inside.size * share - 1e-9) - 1]
    assert found(evidence, "max(service_time) <= 1s during baseline").value == inside[-1]
    assert found(evidence, "mean(service_time) <= 1s during baseline").value == pytest.approx(inside.mean())


def test_observations_metrics_and_iterations(evidence: Evidence) -> None:
    (series,) = evidence.measured.record.observations()
    inside = evidence.phases.mask(series.t_s, None)
    assert found(evidence, "mean(cache_hit) >= 0.9").value == pytest.approx(series.value[inside].mean())
    assert found(evidence, "mean(cache_hot) >= 0.9").value is None
    metrics = evidence.measured.metrics
    api = metrics.name.equal("cpu_percent") & metrics.labels["service"].equal("api")
    api &= evidence.phases.mask(metrics.t_s, None)
    worst = found(evidence, "max(cpu, service=api) <= 80%")
    assert worst.value == pytest.approx(metrics.value[api].max() / 100)
    assert "2 instances" in worst.why
    assert found(evidence, "max(rss, service=nobody) <= 1GB").value is None
    failed = found(evidence, "iterations(failed) == 0")
    n = count(evidence.measured, START_S + RAMP_S, END_S)
    assert (failed.n, failed.value) == (n, n - count(evidence.measured, START_S + RAMP_S, END_S, outcome="ok"))
    assert failed.low == failed.high == failed.value
    assert found(evidence, "iterations(ok) >= 1").value == failed.n - (failed.value or 0)
    assert found(evidence, "iterations >= 1").value == failed.n


def test_throughput_is_what_ended_well_in_the_longest_stretch(evidence: Evidence) -> None:
    value = found(evidence, "throughput >= 1/s during baseline")
    assert value.value == pytest.approx(RATE, rel=0.1)
    assert "the longest of 2 stretches, 25 s" in value.why
    assert found(evidence, "throughput >= 1/s during fault").value == pytest.approx(6.7, abs=5)


def test_a_ratio_of_two_statistics(evidence: Evidence) -> None:
    one = found(evidence, "ratio(p50(latency), p50(service_time)) >= 1")
    assert one.value is not None
    assert one.value == pytest.approx(1, abs=0.1)
    assert found(evidence, "ratio(p50(latency), p50(service_time, journey=Nobody)) >= 1").value is None


def test_recovery_objectives(evidence: Evidence) -> None:
    assert found(evidence, "ttr <= 9s").value == found(evidence, "ttr(db-failover) <= 9s").value
    missing = found(evidence, "ttr(api-kill) <= 9s")
    assert (missing.value, missing.why) == (None, "fault 'api-kill' was not injected")
    unseen = found(evidence, "ttd <= 60s")
    assert unseen.value == math.inf
    assert unseen.why == (
        "no alert for db-failover#1 (2.8 s): too little for any rule, so an operator would have seen nothing"
    )
    assert found(evidence, "ttd(api-kill) <= 60s").why == "fault 'api-kill' was not injected"
    held = replace(evidence, recoveries={})
    assert found(held, "ttr <= 9s").why == "db-failover#2 was not injected: service db has 1 of 2 instances ready"
    unknown = Recovery(None, None, None, None, False, False, None, None, False, "bad baseline")
    partly = replace(evidence, recoveries={**evidence.recoveries, "db-failover#2": unknown})
    assert found(partly, "ttr <= 9s").why == "db-failover#2: bad baseline"
    assert found(partly, "ttr <= 9s").value is None
    assert found(partly, "ttr <= 1s").low is not None, "one that was too slow decides already"
    nothing = replace(evidence, recoveries={"db-failover#1": unknown})
    assert found(nothing, "ttd <= 60s").why == "db-failover#1: bad baseline"


def test_a_detection_that_cannot_be_told_leaves_ttd_open_unless_another_took_too_long(evidence: Evidence) -> None:
    (seen,) = evidence.recoveries.values()
    unknown = Recovery(None, None, None, None, False, False, None, None, False, "bad baseline")
    partly = replace(evidence, recoveries={"cut#1": replace(seen, detect_s=5.0), "cut#2": unknown})
    assert (found(partly, "ttd <= 60s").value, found(partly, "ttd <= 60s").why) == (None, "cut#2: bad baseline")
    assert found(partly, "ttd <= 4s").value == 5.0


def test_a_fault_while_an_alert_was_firing_already_says_what_an_operator_saw(evidence: Evidence) -> None:
    (seen,) = evidence.recoveries.values()
    first, second = replace(seen, detect_s=5.0), replace(seen, detect_s=None, alerted=True)
    both = found(replace(evidence, recoveries={"cut#1": first, "cut#2": second}), "ttd <= 60s")
    aware = "an alert was firing already when cut#2 had its impact: an operator knew of it before"
    assert (both.value, both.n) == (5.0, 1) and both.why.endswith(aware)
    alone = found(replace(evidence, recoveries={"cut#2": second}), "ttd <= 60s")
    assert (alone.value, alone.why) == (None, aware)


def test_mttr_of_faults_that_were_all_absorbed_says_so_and_passes_a_limit(evidence: Evidence) -> None:
    absorbed = Recovery(None, None, None, 0.0, True, True, None, 0.0, True, "absorbed")
    one = found(replace(evidence, recoveries={"cut#1": absorbed, "cut#2": absorbed}), "mttr <= 9s")
    assert (one.value, one.high, one.n) == (0.0, 0.0, 2)
    assert one.why == "all 2 faults were absorbed: there was nothing to recover from"
    unknown = replace(absorbed, absorbed=False, recovered=False, baseline_ok=False)
    assert found(replace(evidence, recoveries={"cut#1": absorbed, "cut#2": unknown}), "mttr <= 9s").value is None


@pytest.mark.parametrize("text", ["capacity >= 1/s", "recovery_after_overload <= 9s", "mtbf >= 1h"])
def test_what_a_plain_run_cannot_know_is_open(evidence: Evidence, text: str) -> None:
    assert found(evidence, text).value is None
    assert found(evidence, text).why


def test_lost_writes_are_the_most_that_one_verifier_missed(evidence: Evidence) -> None:
    def counted(*checks: dict[str, Any], acknowledged: int = 100) -> Evidence:
        writes = {"acknowledged": acknowledged, "indeterminate": 4, "checks": list(checks)}
        return replace(evidence, measured=replace(evidence.measured, write_checks=WriteChecks.from_json(writes)))

    fine = {"name": "api", "missing_count": 0, "missing": []}
    lossy = {"name": "disk", "missing_count": 3, "missing": ["a", "b", "c"]}
    broken = {"name": "log", "error": "refused", "missing_count": 0}
    assert found(counted(fine), "lost_writes == 0").value == 0
    assert found(counted(fine, lossy), "lost_writes == 0").value == 3
    assert "disk misses 3, such as a, b, c" in found(counted(fine, lossy), "lost_writes == 0").why
    assert found(counted(fine, broken), "lost_writes == 0").value is None
    assert found(counted(), "lost_writes == 0").value is None
    assert found(counted(lossy, broken), "lost_writes == 0").value == 3
    assert found(counted(fine, acknowledged=0), "lost_writes == 0").value is None
    assert write_counts(replace(evidence.measured, write_checks=None)) is None


# -- spoilage


def health(t: float, worker: int = 0, **changes: Any) -> dict[str, Any]:
    plain = {"kind": "health", "t": t, "worker": worker, "loop_lag_p99_ms": 1.0, "cpu_percent": 30.0, "p50_ms": 8.0}
    return {**plain, **changes}


def slips_of(evidence: Evidence) -> Slips:
    return OverviewBuilder(evidence.measured).read_iterations().slips


def spoiled_s(measured: Measured, evidence: Evidence, objective: str, **health_of: Any) -> list[float]:
    """The seconds that are spoiled when the second that ends at 20 has this health."""
    events = [event_of(health(t, **(health_of if t == 20.0 else {}))) for t in np.arange(START_S + 1, END_S + 1)]
    seconds = np.arange(START_S, END_S) + 0.5
    result = spoilage(
        replace(measured, events=events), slips_of(evidence), [parse_objective(objective)], evidence.phases, None
    )
    return [float(one - 0.5) for one in seconds[result.at(seconds)]]


@pytest.mark.parametrize(
    ("objective", "health_of", "spoiled"),
    [
        ("p99(latency) <= 500ms", {}, []),
        ("p99(latency) <= 500ms", {"loop_lag_p99_ms": 24.0}, []),
        ("p99(latency) <= 500ms", {"loop_lag_p99_ms": 26.0}, [19]),
        ("p99(latency) <= 100ms", {"loop_lag_p99_ms": 24.0}, [19]),
        ("p99(latency) <= 100ms during fault", {"loop_lag_p99_ms": 24.0}, []),
        ("availability >= 99%", {"loop_lag_p99_ms": 240.0}, []),
        ("p99(latency) <= 500ms", {"cpu_percent": 97.0}, [19]),
        ("p99(latency) <= 500ms", {"loop_lag_p99_ms": None}, []),
    ],
)
def test_a_second_is_spoiled_by_the_tightest_bound_that_reads_it(
    measured: Measured, evidence: Evidence, objective: str, health_of: dict[str, Any], spoiled: list[float]
) -> None:
    assert [one for one in spoiled_s(measured, evidence, objective, **health_of) if 17 <= one <= 21] == spoiled


def test_a_worker_without_health_spoils_everything(measured: Measured, evidence: Evidence) -> None:
    load = measured.info.load.model_copy(update={"workers": 2})
    two = replace(measured, info=measured.info.model_copy(update={"load": load}))
    result = spoilage(two, slips_of(evidence), [], evidence.phases, None)
    assert result.mask.all()


# -- judge


def judged(run: RunDirectory) -> dict[str, Any]:
    return judge(run).verdict


def with_objectives(run: RunDirectory, *objectives: str) -> RunDirectory:
    run.update({"scenario": {**(run.info().scenario or {}), "objectives": list(objectives)}})
    return run


def test_the_same_files_give_the_same_verdict(written: RunDirectory) -> None:
    assert judged(written) == judged(written)


def test_a_run_with_all_its_objectives_met_passes(run: RunDirectory) -> None:
    verdict = judged(with_objectives(run, "p99(latency) <= 500ms during baseline", "ttr <= 20s"))
    assert (verdict["verdict"], verdict["exit_code"], verdict["reasons"]) == ("PASS", 0, [])
    assert [one["verdict"] for one in verdict["objectives"]] == ["PASS", "PASS"]
    first = verdict["objectives"][0]
    assert (first["unit"], first["target"], first["operator"], first["phase"]) == ("ms", 500, "<=", "baseline")
    assert 0 < first["estimate"] < first["interval"][1] < 100
    assert "P99 of latency during baseline is" in first["why"]


def test_the_worst_objective_is_the_verdict(run: RunDirectory) -> None:
    verdict = judged(with_objectives(run, "ttr <= 20s", "max(service_time) <= 1ms", "mean(nothing) >= 1"))
    assert [one["verdict"] for one in verdict["objectives"]] == ["PASS", "FAIL", "INCONCLUSIVE"]
    assert (verdict["verdict"], verdict["exit_code"]) == ("FAIL", 1)
    assert all(one["n"] is not None for one in verdict["objectives"])


def test_trap_what_was_not_measured_never_passes(run: RunDirectory) -> None:
    verdict = judged(with_objectives(run, "mean(nothing) >= 1"))
    assert (verdict["verdict"], verdict["exit_code"]) == ("INCONCLUSIVE", 3)


def cut_short(run: RunDirectory) -> None:
    info = run.info().to_json()
    del info["ended"]
    (run.path / "run.json").write_text(json.dumps(info))


def gate_holds(run: RunDirectory) -> None:
    run.event("gate", t=57.0, fault="db-failover", k=2, passed=False, why="not ready")


def not_witnessed(run: RunDirectory) -> None:
    run.event("witness", t=32.9, fault="db-failover", k=1, of="there", seen=False, what="pg1 still answers")


def lagging(run: RunDirectory) -> None:
    text = (run.path / "events.jsonl").read_text()
    (run.path / "events.jsonl").write_text(text.replace('"loop_lag_p99_ms": 1.1', '"loop_lag_p99_ms": 900'))


def still_open(state: str) -> Callable[[RunDirectory], None]:
    def change(run: RunDirectory) -> None:
        last = run.faults()[-1]
        append_line(run.faults_path, {**last.to_json(), "state": state, "t": last.t + 1})

    return change


def noted(what: str) -> Callable[[RunDirectory], None]:
    return lambda run: run.event("note", what=what, text=f"{what} happened")


def stopped_by(by: str) -> Callable[[RunDirectory], None]:
    return lambda run: run.update({"stopped": {"by": by, "why": f"{by} said so"}})


@pytest.mark.parametrize(
    ("change", "verdict", "code", "reason"),
    [
        (cut_short, "INCONCLUSIVE", ExitCode.INCONCLUSIVE, "the run was killed before its end"),
        (stopped_by("person"), "INCONCLUSIVE", ExitCode.INTERRUPTED, "person said so"),
        (stopped_by("abort"), "INCONCLUSIVE", ExitCode.REFUSED, "abort said so"),
        (gate_holds, "INCONCLUSIVE", ExitCode.REFUSED, "not injected: db-failover#2"),
        (not_witnessed, "INVALID", ExitCode.INVALID, "db-failover#1 was not witnessed: pg1 still answers"),
        (still_open("UNDO_FAILED"), "INVALID", ExitCode.NOT_UNDONE, "db-failover#1 could not be undone"),
        (still_open("ACTIVE"), "INVALID", ExitCode.NOT_UNDONE, "db-failover#1 was never undone"),
        (noted("conductor_hung"), "INVALID", ExitCode.INVALID, "conductor_hung happened"),
        (noted("lost_worker"), "INVALID", ExitCode.INVALID, "lost_worker happened"),
        (noted("remark"), "PASS", ExitCode.PASS, ""),
        (lagging, "INVALID", ExitCode.INVALID, ""),
        (
            lambda run: run.event("process", process="load-0", state="failed", why="killed"),
            "INVALID",
            ExitCode.INVALID,
            "load-0 failed: killed",
        ),
    ],
    ids=[
        "killed", "person", "abort", "gate", "witness", "undo failed", "open", "hung", "lost worker",
        "remark", "lagging generator", "load failed",
    ],
)  # fmt: skip
def test_a_passing_run_that_was_disturbed(
    run: RunDirectory, change: Callable[[RunDirectory], None], verdict: str, code: ExitCode, reason: str
) -> None:
    with_objectives(run, "p99(latency) <= 500ms during baseline")
    change(run)
    found = judged(run)
    assert (found["verdict"], found["exit_code"]) == (verdict, code)
    assert reason in "; ".join(found["reasons"])


def test_a_missed_objective_stays_missed_in_a_run_that_was_cut_short(run: RunDirectory) -> None:
    with_objectives(run, "p99(latency) <= 1ms during baseline")
    cut_short(run)
    assert judged(run)["verdict"] == "FAIL"


def test_a_lagging_generator_spoils_what_it_measured_and_no_more(run: RunDirectory) -> None:
    with_objectives(run, "p99(latency) <= 500ms during baseline", "lost_writes == 0", "ttr <= 20s")
    lagging(run)
    latency, writes, recovery = judged(run)["objectives"]
    assert latency["verdict"] == "INVALID"
    assert "the load generator was the limit in 100% of this phase" in latency["why"]
    assert writes["verdict"] == "PASS"
    assert recovery["verdict"] == "INVALID"


def test_a_run_without_faults_or_trouble_has_no_reason_to_be_invalid(measured: Measured) -> None:
    assert invalid_reasons(replace(measured, faults=[]), begun=10, dropped=0) == []


@pytest.mark.parametrize(
    ("codes", "worst"),
    [
        ([0], 0),
        ([0, 3], 3),
        ([3, 1, 0], 1),
        ([1, 4, 3], 4),
        ([4, 5, 1], 5),
        ([130, 5], 130),
        ([5, 6, 130], 6),
        ([6, 2], 2),
        ([2, 70], 70),
        ([], 2),
    ],
)
def test_the_exit_code_of_several_scenarios(codes: list[int], worst: int) -> None:
    assert worst_exit(codes) == worst
