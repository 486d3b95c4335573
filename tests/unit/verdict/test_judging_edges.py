"""Edges of judging: lost workers, missing slots, least metrics, availability of this run, secrets of a target."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from synthetic_run import INJECTED_S, write_run

from faultload.errors import ExitCode, InvalidInput
from faultload.record import tables
from faultload.record.directory import RunDirectory
from faultload.record.measured import read_measured
from faultload.spec.objective import parse_objective
from faultload.spec.yamlfile import expand_secrets
from faultload.verdict.evidence import Evidence
from faultload.verdict.judge import judge
from faultload.verdict.phases import phases_of
from faultload.verdict.recoveries import recoveries_of
from faultload_analysis.evidence.verdict import Verdict, decide
from faultload_analysis.slo.availability import proportion_estimate


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    return write_run(tmp_path / "run")


def evidence(run: RunDirectory) -> Evidence:
    measured = read_measured(run)
    recoveries = recoveries_of(measured, measured.info.as_run(), "full")
    return Evidence(measured, phases_of(measured, recoveries), recoveries)


def test_a_lost_worker_is_invalid_and_not_refused(run: RunDirectory) -> None:
    run.update({"stopped": {"by": "load", "why": "load-0 ended with -9"}})
    run.event("note", what="lost_worker", text="load-0 ended with -9: see logs/load-0.log")
    # a held gate alone would make it 5
    kept = [event.to_json() for event in run.events() if event.kind != "gate"]
    (run.path / "events.jsonl").write_text("".join(json.dumps(event) + "\n" for event in kept))
    verdict = judge(run).verdict
    assert (verdict["verdict"], verdict["exit_code"]) == ("INVALID", ExitCode.INVALID)


def test_a_planned_fault_of_which_nothing_is_said_makes_a_run_invalid(run: RunDirectory) -> None:
    """Its process died, or never came to its method: that nothing is on record is no proof that all went well."""
    known = [{"fault": one.fault, "k": one.k, "at_s": 1.0} for one in read_measured(run).faults]
    run.update({"injections": known})
    assert not any("never injected" in reason for reason in judge(run).verdict["reasons"])
    run.update({"injections": [*known, {"fault": "cut", "k": 1, "at_s": 50.0, "process": "chaos-cut-1"}]})
    verdict = judge(run).verdict
    assert verdict["verdict"] == "INVALID"
    assert "cut#1 was never injected, and nothing of ours says why: see logs/chaos-cut-1.log" in verdict["reasons"]


def test_a_planned_fault_that_a_run_was_too_short_for_is_missed_by_nobody(run: RunDirectory) -> None:
    run.update(
        {"injections": [{"fault": "cut", "k": 1, "at_s": 50.0}], "stopped": {"by": "person", "why": "Ctrl-C"}}
    )
    assert not any("never injected" in reason for reason in judge(run).verdict["reasons"])


def test_slots_that_left_no_trace_make_a_run_invalid(run: RunDirectory) -> None:
    record = read_measured(run).record
    recorded = sum(part.intended_s.size for part in record.iterations())
    recorded += sum(int(part.outcome.equal("dropped").sum()) for part in record.samples())
    run.event("note", what="slots", worker=0, offered=recorded, started=recorded, dropped=0)
    assert not any("missing from the record" in reason for reason in judge(run).verdict["reasons"])
    run.event("note", what="slots", worker=0, offered=recorded + 7, started=recorded + 7, dropped=0)
    run.update({"load": {**run.info().load.to_json(), "workers": 2}})
    reasons = judge(run).verdict["reasons"]
    assert any(f"{recorded + 7} of {2 * recorded + 7} offered slots are missing" in reason for reason in reasons)


def test_the_worst_instance_depends_on_the_side_of_the_target(run: RunDirectory) -> None:
    upper = evidence(run).estimate(parse_objective("max(rss) <= 1GB")).value
    lower = evidence(run).estimate(parse_objective("max(rss) >= 1MB")).value
    assert upper is not None
    assert lower is not None
    assert lower < upper


def test_an_outage_of_the_run_fails_its_availability(run: RunDirectory) -> None:
    """Ten seconds down in ten minutes: one event for the long run, and 1.7 % of this one."""
    bad = np.zeros(60_000, dtype=np.bool_)
    bad[30_000:31_000] = True
    of_run = proportion_estimate(bad, of_run=True)
    assert decide(">=", 0.999, of_run, fmt=str).verdict is Verdict.FAIL
    assert decide(">=", 0.999, proportion_estimate(bad), fmt=str).verdict is Verdict.INCONCLUSIVE


def test_secrets_are_expanded_for_use_only_where_they_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DB_PASSWORD", "correct horse")
    target = {"dsn": ["postgresql://u:${secret:DB_PASSWORD}@db"], "port": 1, "plain": "${OTHER}"}
    assert expand_secrets(target) == {"dsn": ["postgresql://u:correct horse@db"], "port": 1, "plain": "${OTHER}"}
    monkeypatch.delenv("DB_PASSWORD")
    with pytest.raises(InvalidInput, match="DB_PASSWORD"):
        expand_secrets(target)


def test_a_run_too_long_to_keep_gets_the_same_verdict(run: RunDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = judge(run)
    monkeypatch.setattr("faultload.record.recorded.KEPT_ROWS", 0)
    monkeypatch.setattr("faultload.record.sealed.CHUNK_ROWS", 137)
    chunked = judge(run)
    assert chunked.verdict == whole.verdict
    assert chunked.overview.timeline.total.tolist() == whole.overview.timeline.total.tolist()
    assert chunked.overview.count == whole.overview.count > 40 * 137


def test_a_run_too_long_for_exact_quantiles_differs_by_a_thousandth_at_most(
    run: RunDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = judge(run)
    monkeypatch.setattr("faultload_analysis.latency.population.KEEP", 100)
    monkeypatch.setattr("faultload.verdict.overview.MOST_KEPT", 100)
    monkeypatch.setattr("faultload.verdict.evidence.KEEP", 100)
    folded = judge(run)
    for exact, near in zip(whole.verdict["objectives"], folded.verdict["objectives"], strict=True):
        assert near["verdict"] == exact["verdict"]
        assert near["estimate"] == pytest.approx(exact["estimate"], rel=1e-3)
        assert near["n"] == exact["n"]
    for exact, near in zip(whole.verdict["requests"], folded.verdict["requests"], strict=True):
        assert near["request"] == exact["request"]
        for key in ("n", "failed", "p50", "p99", "p99_9", "max", "mean", "ok_p99", "ok_max"):
            assert near[key] == pytest.approx(exact[key], rel=1e-3), key


def with_ledger(run: RunDirectory, lost_s: list[float]) -> None:
    """A write every 100 ms, acknowledged at once; the read-back after the load misses those of some moments."""
    times = np.round(np.arange(10.0, 50.0, 0.1), 1)
    writer = tables.TableWriter(run.path, "writes")
    writer.write({"t_ns": (times * 1e9).round().astype(np.int64), "key": [str(t) for t in times],
                  "state": ["acknowledged"] * times.size})  # fmt: skip
    writer.close()
    check = {"name": "api", "missing_count": len(lost_s), "missing": [], "missing_acknowledged_s": lost_s}
    checks = {"acknowledged": times.size, "indeterminate": 0, "checks": [{**check, "began_s": 70.0, "error": None}]}
    run.write_checks_path.write_text(json.dumps(checks))


@pytest.mark.parametrize(
    ("lost_s", "rpo_s", "count"),
    [([], 0.0, 0), ([31.7, 31.8, 31.9], INJECTED_S - 31.7, 3), ([40.0], 0.0, 1), ([30.0, 40.0], 2.0, 2)],
)
def test_how_far_back_a_fault_reached_into_the_acknowledged_writes(
    run: RunDirectory, lost_s: list[float], rpo_s: float, count: int
) -> None:
    with_ledger(run, lost_s)
    verdict = judge(run).verdict
    assert verdict["faults"][0]["rpo_s"] == pytest.approx(rpo_s)
    assert verdict["writes"]["lost"] == count


def test_without_a_read_back_the_recovery_point_is_unknown(run: RunDirectory) -> None:
    assert judge(run).verdict["faults"][0]["rpo_s"] is None
