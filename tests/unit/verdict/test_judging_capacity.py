"""Capacity from a load in steps, recovery after a surge, MTBF from declared failure rates: judged from a record."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from faultload.record import tables
from faultload.record.directory import RunDirectory
from faultload.record.lines import append_line
from faultload.record.sealed import seal
from faultload.spec.profile import scale
from faultload.spec.scenario import Scenario
from faultload.verdict.judge import judge
from tests.helpers.counted import count

START_S = 2.0
SERVED_PER_S = 400.0
"""One server with exponential service: P99 of response is ln(100) / (400 - rate)."""


def scenario(stages: list[dict[str, str]], *objectives: Any, faults: Any = ()) -> Scenario:
    return Scenario.model_validate(
        {
            "name": "steps",
            "target": {"url": "http://127.0.0.1:8080"},
            "load": {"journeys": "j.py", "rate": stages},
            "objectives": list(objectives),
            "faults": list(faults),
        }
    )


def write_run(
    path: Path,
    declared: Scenario,
    *,
    seed: int = 1,
    stuck_from: float = math.inf,
    admitted: Callable[[float], float] = lambda rate: rate,
    model: str = "open",
) -> RunDirectory:
    """The run of a queue with one server; from `stuck_from` (load time) on, requests take ten times as long.

    Of each step with a rate, `admitted` a second are answered well, the others are refused.
    """
    scaled = scale(declared, "full").scenario
    run = RunDirectory.create(path)
    stages = scaled.load.stages
    run.begin(
        {
            "scenario": scaled.to_json(),
            "profile": "full",
            "seed": seed,
            "load": {"stages": [stage.to_json() for stage in stages], "workers": 1, "model": model},
        }
    )
    rng = np.random.default_rng(seed)
    arrivals = np.sort(
        np.concatenate([rng.uniform(s.start_s, s.end_s, rng.poisson(s.low * s.duration_s)) for s in stages])
    )
    service = rng.exponential(1 / SERVED_PER_S, arrivals.size) * np.where(arrivals >= stuck_from, 10, 1)
    begun = np.maximum.accumulate(arrivals - np.concatenate(([0.0], np.cumsum(service)[:-1])))
    latency = begun + np.cumsum(service) - arrivals
    intended_ns = ((START_S + arrivals) * 1e9).astype(np.int64)
    latency_us = np.maximum(1, (latency * 1e6).astype(np.int64))
    n = arrivals.size
    chance = [
        min(1.0, admitted(s.low) / s.low)
        for s in stages
        for _ in range(int(np.sum((arrivals >= s.start_s) & (arrivals < s.end_s))))
    ]
    outcome = np.where(rng.random(n) < np.array(chance), 0, 1).astype(np.int32)
    same = {
        "journey": (np.zeros(n, np.int32), ["Visit"]),
        "variant": [None] * n,
        "outcome": (outcome, ["ok", "http_error"]),
    }
    samples = tables.TableWriter(run.path, "samples")
    samples.write(
        {
            **same, "intended_ns": intended_ns, "started_ns": intended_ns, "service_us": latency_us,
            "request": ["GET /"] * n, "status": np.full(n, 200, np.int16), "bytes": np.full(n, 9, np.int32),
        }
    )  # fmt: skip
    samples.close()
    iterations = tables.TableWriter(run.path, "iterations")
    iterations.write(
        {
            **same, "intended_ns": intended_ns, "ended_ns": intended_ns + 1000 * latency_us,
            "waited_us": np.zeros(n, np.int64), "slip_us": np.zeros(n, np.int64),
        }
    )  # fmt: skip
    iterations.close()
    end = START_S + stages[-1].end_s
    for second in np.arange(START_S + 1, end + 1):
        run.event("health", t=float(second), worker=0, loop_lag_p99_ms=1.0, cpu_percent=30.0)
    count(run)
    seal(run.path)
    run.update({"load_start_s": START_S, "load_end_s": end, "ended": "2026-01-01T00:00:00.000Z"})
    return run


RATES = (100, 200, 250, 300, 340, 370, 390)
STEPS = [{"step": f"{rate}/s", "for": "60s"} for rate in RATES]
LIMIT_MS = 50


def capacity(text: str) -> dict[str, Any]:
    return {"objective": text, "slo": [f"p99(latency) <= {LIMIT_MS}ms", "error_rate <= 1%"]}


@pytest.fixture(scope="module")
def stepped(tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    objectives = [capacity("capacity >= 200/s"), capacity("capacity >= 360/s"), capacity("capacity >= 305/s")]
    return write_run(tmp_path_factory.mktemp("runs") / "steps", scenario(STEPS, *objectives))


def throttle(rate: float) -> float:
    return min(rate, 200.0)


def test_what_a_throttle_refuses_is_no_throughput_of_the_curve(tmp_path: Path) -> None:
    """At most 200 a second are answered well, and everything comes back at once."""
    found = judge(write_run(tmp_path / "run", scenario(STEPS, capacity("capacity >= 100/s")), admitted=throttle))
    steps = found.verdict["capacity"]["steps"]
    assert [step["goodput"] for step in steps] == [pytest.approx(min(rate, 200), rel=0.05) for rate in RATES]
    assert steps[-1]["achieved"] == pytest.approx(390, rel=0.05)
    usl = found.verdict["capacity"]["usl"]
    assert found.capacity is not None and found.capacity.usl is not None
    assert found.capacity.usl.throughput(2 * steps[-1]["users"]) < 1.1 * 200, "a limit, not linear growth"
    assert [users for users, _, _ in usl["band"]] == pytest.approx([step["users"] for step in steps])
    assert all(low <= high for _, low, high in usl["band"])
    limit = found.verdict["capacity"]["limit"]
    assert (limit["state"], limit["load"]) == ("limited", 200)
    assert limit["goodput"][0] == pytest.approx(200, rel=0.03)
    assert limit["goodput"][1] < 200 < limit["goodput"][2]
    assert "a limit: goodput stays at about" in found.verdict["capacity"]["why"]


def test_the_curve_is_told_with_bounds(stepped: RunDirectory) -> None:
    """X(N) = 400 N / (1 + N) is the law with alpha 1/2, beta 0 and gamma 200."""
    found = judge(stepped).verdict["capacity"]
    usl = found["usl"]
    for name, truth in (("alpha", 0.5), ("beta", 0.0), ("gamma", SERVED_PER_S / 2)):
        low, high = usl[f"{name}_bounds"]
        assert low <= usl[name] <= high
        assert low <= truth <= high, name
    assert found["limit"]["state"] in ("grows with the load", "undecided")


def test_a_throttle_is_no_capacity_whatever_the_slo_asks(tmp_path: Path) -> None:
    """What is refused at once leaves the median of the others alone; from 250/s on, too little ends well."""
    objective = {"objective": "capacity >= 300/s", "slo": ["p50(latency) <= 50ms"]}
    found = judge(write_run(tmp_path / "run", scenario(STEPS[:5], objective), admitted=throttle)).verdict
    assert found["capacity"]["bracket"] == [200, 250]
    assert found["objectives"][0]["verdict"] == "FAIL"
    assert "that fell due ended well" in found["capacity"]["steps"][2]["why"]


def test_goodput_that_falls_with_the_load_is_called_retrograde(tmp_path: Path) -> None:
    declared = scenario(STEPS, capacity("capacity >= 100/s"))
    run = write_run(tmp_path / "run", declared, admitted=lambda rate: min(rate, 250 * (250 / rate) ** 2))
    found = judge(run).verdict["capacity"]
    assert (found["limit"]["state"], found["limit"]["load"]) == ("retrograde", 250)
    assert "retrograde: goodput falls from" in found["why"]
    assert found["bracket"][1] == 300


def test_users_beyond_the_peak_take_no_rate_away_from_fewer(tmp_path: Path) -> None:
    """250 users get 250/s, and 340 no more than 135/s, of which most fails: 200/s is no rate that failed."""
    declared = scenario(STEPS[:5], capacity("capacity >= 150/s"))
    falls = write_run(
        tmp_path / "run", declared, admitted=lambda rate: min(rate, 250 * (250 / rate) ** 2), model="closed"
    )
    found = judge(falls).verdict
    low, high = found["capacity"]["bracket"]
    assert (low, high) == (pytest.approx(250, rel=0.03), pytest.approx(300, rel=0.03))
    assert found["objectives"][0]["verdict"] == "PASS"
    assert "at 340 users" in found["capacity"]["limit"]["why"]


def test_the_bracket_holds_the_capacity_of_the_queue(stepped: RunDirectory) -> None:
    truth = SERVED_PER_S - math.log(100) / (LIMIT_MS / 1e3)
    judgement = judge(stepped)
    assert judgement.capacity is not None
    low, high = judgement.verdict["capacity"]["bracket"]
    assert low <= truth < high
    assert [step["offered"] for step in judgement.verdict["capacity"]["steps"]] == list(RATES)
    assert judgement.verdict["capacity"]["steps"][-1]["verdict"] == "FAIL"


def test_a_target_below_the_bracket_passes_above_it_fails_and_inside_is_open(stepped: RunDirectory) -> None:
    below, above, inside = judge(stepped).verdict["objectives"]
    assert (below["verdict"], above["verdict"], inside["verdict"]) == ("PASS", "FAIL", "INCONCLUSIVE")
    assert below["n"] == above["n"] > 100_000
    assert "passed and" in inside["why"]


def test_users_follow_from_littles_law_and_a_curve_is_fitted(stepped: RunDirectory) -> None:
    found = judge(stepped).verdict["capacity"]
    for step in found["steps"][:3]:
        rho = step["offered"] / SERVED_PER_S
        assert step["users"] == pytest.approx(rho / (1 - rho), rel=0.15)
    assert found["usl"] is not None or found["usl_why"]


def test_two_objectives_of_one_text_keep_their_own_slo(tmp_path: Path) -> None:
    strict = {"objective": "capacity >= 100/s", "slo": ["p99(latency) <= 1ms"]}
    both = scenario(STEPS[:2], capacity("capacity >= 100/s"), strict)
    verdicts = [one["verdict"] for one in judge(write_run(tmp_path / "run", both)).verdict["objectives"]]
    assert verdicts == ["PASS", "FAIL"]


def test_a_load_that_never_saturates_says_so(tmp_path: Path) -> None:
    easy = scenario(STEPS[:2], capacity("capacity >= 100/s"), capacity("capacity >= 300/s"))
    first, second = judge(write_run(tmp_path / "run", easy)).verdict["objectives"]
    assert first["verdict"] == "PASS"
    assert second["verdict"] == "INCONCLUSIVE"
    assert "not reached" in second["why"]


def test_without_its_own_slo_a_capacity_takes_what_the_scenario_asks_of_requests(tmp_path: Path) -> None:
    plain = scenario(STEPS[:3], "capacity >= 100/s", "p99(latency) <= 50ms", "p99(latency) <= 1us during fault")
    run = judge(write_run(tmp_path / "run", plain))
    assert run.verdict["objectives"][0]["verdict"] == "PASS"


@pytest.mark.parametrize(
    ("stages", "objectives", "why"),
    [
        ([{"step": "50/s", "for": "20s"}], [capacity("capacity >= 1/s")], "at least two steps"),
        (STEPS[:2], ["capacity >= 1/s", "iterations(failed) == 0"], "needs an `slo`"),
        ([{"step": "50/s", "for": "20s"}], ["recovery_after_overload <= 9s"], "no surge"),
        ([{"step": "50/s", "for": "20s"}], ["mtbf >= 1h"], "failure_rate"),
    ],
)
def test_what_a_run_cannot_answer_is_inconclusive_with_the_reason(
    tmp_path: Path, stages: list[dict[str, str]], objectives: list[Any], why: str
) -> None:
    first = judge(write_run(tmp_path / "run", scenario(stages, *objectives))).verdict["objectives"][0]
    assert first["verdict"] == "INCONCLUSIVE"
    assert first["estimate"] is None
    assert why in first["why"]


SURGE = [{"step": "200/s", "for": "40s"}, {"surge": "3x", "for": "10s"}, {"hold": "70s"}]


def test_a_queue_drains_after_a_surge(tmp_path: Path) -> None:
    """600/s for 10 s leave 2,000 requests; 400/s less 200/s take 10 s to drain them."""
    declared = scenario(
        SURGE,
        "recovery_after_overload <= 30s",
        "recovery_after_overload <= 3s",
        "p99(latency) <= 50ms during baseline",
    )
    verdict = judge(write_run(tmp_path / "run", declared)).verdict
    slow, fast, _ = verdict["objectives"]
    assert (slow["verdict"], fast["verdict"]) == ("PASS", "FAIL")
    assert slow["estimate"] == pytest.approx(10, abs=2)
    assert verdict["overloads"][0]["state"] in ("recovered", "slow")


def test_a_queue_that_stays_slow_after_a_surge_never_recovers(tmp_path: Path) -> None:
    declared = scenario(SURGE, "recovery_after_overload <= 30s", "p99(latency) <= 50ms during baseline")
    verdict = judge(write_run(tmp_path / "run", declared, stuck_from=40.0)).verdict
    assert verdict["objectives"][0]["verdict"] == "FAIL"
    assert verdict["objectives"][0]["estimate"] == "inf" or verdict["objectives"][0]["estimate"] == math.inf


def with_faults(path: Path, *, failure_rate: str | None, objective: str) -> RunDirectory:
    """Eight pauses of two seconds each, of which the users notice nothing."""
    fault = {"name": "pause", "experiment": "e.yaml", "at": "30s", "repeat": {"count": 8, "every": "20s"}}
    if failure_rate is not None:
        fault["failure_rate"] = failure_rate
    declared = scenario([{"step": "50/s", "for": "200s"}], objective, faults=[fault])
    run = write_run(path, declared)
    info = json.loads((run.path / "run.json").read_text())
    assert info["scenario"]["faults"][0].get("failure_rate") is not None or failure_rate is None
    for k in range(8):
        at = START_S + 30 + 20 * k
        for state, t in (("INJECTING", at), ("ACTIVE", at + 0.1), ("UNDONE", at + 2)):
            line = {"t": t, "fault": "pause", "k": k + 1, "state": state, "kind": "pause", "instances": []}
            append_line(run.faults_path, line | {"max_duration_s": 2.0})
        run.event("witness", t=at + 0.5, fault="pause", k=k + 1, of="there", seen=True, what="stopped")
    return run


def test_mtbf_follows_from_the_declared_rate_and_never_from_the_injections(tmp_path: Path) -> None:
    absorbed = with_faults(tmp_path / "a", failure_rate="1/720h", objective="mtbf >= 720h")
    found = judge(absorbed).verdict["objectives"][0]
    assert found["verdict"] == "PASS"
    assert found["interval"][0] >= 720
    none = with_faults(tmp_path / "b", failure_rate=None, objective="mtbf >= 720h")
    assert judge(none).verdict["objectives"][0]["verdict"] == "INCONCLUSIVE"
    rare = with_faults(tmp_path / "c", failure_rate="1/720h", objective="mtbf >= 100000h")
    assert judge(rare).verdict["objectives"][0]["verdict"] == "INCONCLUSIVE"
