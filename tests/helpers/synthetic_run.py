"""A run directory as a run of a minute leaves it behind: 100 requests a second and one outage of three seconds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from faultload.record import tables
from faultload.record.directory import RunDirectory
from faultload.record.lines import append_line
from faultload.record.sealed import seal
from faultload.spec.profile import scale
from faultload.spec.scenario import Scenario
from tests.helpers.counted import count

START_S, RAMP_S, HOLD_S, RATE = 2.0, 5.0, 60.0, 100.0
INJECTED_S, OUTAGE_S = 32.0, 3.0
REQUESTS = ("GET /memories/search", "POST /memories/", 'GET /<script>alert("x")</script>')
SCENARIO: dict[str, Any] = {
    "name": "database-failover",
    "system": "memory",
    "description": "The database leader dies & a <b>standby</b> takes over.",
    "target": {"url": "http://127.0.0.1:8080"},
    "load": {
        "journeys": "loadtests/memory.py",
        "rate": [{"ramp": "100/s", "over": "5s"}, {"hold": "60s"}],
    },
    "faults": [
        {
            "name": "db-failover",
            "experiment": "experiments/memory/kill_database_leader.yaml",
            "at": "30s",
            "repeat": {"count": 2, "every": "25s"},
        }
    ],
    "objectives": [
        "p99(latency) <= 500ms during baseline",
        'p99(latency, request="POST /memories/") <= 20ms during baseline',
        "availability >= 99.9% during baseline",
        "budget(99.9%, 30d) <= 1%",
        "ttr(db-failover) <= 20s",
        "lost_writes == 0",
        {"objective": "mean(cache_hit) >= 0.9", "name": "The cache is warm", "critical": True},
        "slope(rss, service=api) <= 100MB/h",
    ],
    "profiles": {"smoke": {"rate": 2, "repeat": 1}},
}


def write_run(path: Path, *, killed: bool = False, empty: bool = False, **info: Any) -> RunDirectory:
    """Write the run; `killed` ends it 5 s into the outage's aftermath, `empty` before any load."""
    run = RunDirectory.create(path)
    scaled = scale(Scenario.model_validate(SCENARIO), "full")
    stages = [stage.to_json() for stage in scaled.scenario.load.stages]
    run.begin(
        {
            "scenario": scaled.scenario.to_json(),
            "profile": "full",
            "scaled": {"rate": "arrival rate x 2"},
            "seed": 7,
            "command": ["faultload", "run", "scenarios/memory/database-failover.yaml", "--seed", "7"],
            "load": {"stages": stages, "workers": 1},
            **info,
        }
    )
    if empty:
        run.event("process", t=0.5, process="load-0", state="failed", pid=4700, why="cannot import <journeys>")
        run.log("load-0").write_text("".join(f"line {i} of <log> \x1b[31mred\x1b[0m\n" for i in range(50)))
        return run
    end = INJECTED_S + OUTAGE_S + 5 if killed else START_S + RAMP_S + HOLD_S
    run.update({"load_start_s": START_S})
    _requests(run, end)
    _metrics(run, end)
    _events(run, end, killed)
    count(run, health=_seconds(end).size, last=not killed)
    if not killed:
        seal(run.path)
        checks = [{"name": "api", "missing_count": 0, "missing": []}]
        writes = {"acknowledged": 2104, "indeterminate": 3, "checks": checks}
        run.write_checks_path.write_text(json.dumps(writes))
        run.update(
            {"load_end_s": end, "duration_s": end + 1.5, "ended": "2026-01-01T00:01:09.000Z", "verdict": "FAIL"}
        )
    return run


def _requests(run: RunDirectory, end: float) -> None:
    rng = np.random.default_rng(1)
    ramp = START_S + RAMP_S * np.sqrt(rng.uniform(0, 1, int(RAMP_S * RATE / 2)))
    hold = rng.uniform(START_S + RAMP_S, START_S + RAMP_S + HOLD_S, int(HOLD_S * RATE))
    intended = np.sort(np.concatenate((ramp, hold)))
    intended = intended[intended < end]
    n = intended.size
    out = (intended >= INJECTED_S + 0.2) & (intended < INJECTED_S + OUTAGE_S)
    slow = (intended >= INJECTED_S + OUTAGE_S) & (intended < INJECTED_S + OUTAGE_S + 1.5)
    service = rng.lognormal(np.log(0.008), 0.45, n) * np.where(slow, 20, 1)
    outcome = np.where(out, rng.choice([1, 2], n, p=[0.7, 0.3]), 0)
    slip = rng.exponential(0.0003, n)
    kind = rng.choice(3, n, p=[0.6, 0.35, 0.05])
    intended_ns = (intended * 1e9).astype(np.int64)
    started_ns = intended_ns + (slip * 1e9).astype(np.int64)
    service_us = (service * 1e6).astype(np.int64)
    journey = (np.zeros(n, np.int32), ["RememberAndSearch"])
    samples = tables.TableWriter(run.path, "samples")
    samples.write(
        {
            "intended_ns": intended_ns,
            "started_ns": started_ns,
            "service_us": service_us,
            "request": (kind.astype(np.int32), list(REQUESTS)),
            "journey": journey,
            "variant": [None] * n,
            "outcome": (outcome.astype(np.int32), ["ok", "http_error", "timeout"]),
            "status": np.where(outcome == 1, 503, 200).astype(np.int16),
            "bytes": np.full(n, 512, np.int32),
        }
    )
    samples.close()
    iterations = tables.TableWriter(run.path, "iterations")
    iterations.write(
        {
            "intended_ns": intended_ns,
            "ended_ns": started_ns + service_us * 1000,
            "waited_us": np.zeros(n, np.int64),
            "slip_us": (slip * 1e6).astype(np.int64),
            "journey": journey,
            "variant": [None] * n,
            "outcome": (outcome.astype(np.int32), ["ok", "http_error", "timeout"]),
        }
    )
    iterations.close()
    observations = tables.TableWriter(run.path, "observations")
    observations.write(
        {
            "t_ns": intended_ns,
            "name": (np.zeros(n, np.int32), ["cache_hit"]),
            "value": (rng.uniform(0, 1, n) < 0.93).astype(np.float64),
            "journey": journey,
            "variant": [None] * n,
        }
    )
    observations.close()


def _metrics(run: RunDirectory, end: float) -> None:
    rng = np.random.default_rng(2)
    rows: list[tuple[int, str, str, str, float]] = []
    for second in np.arange(0.0, end):
        for service, instance in (("api", "api-0"), ("api", "api-1"), ("db", "pg1"), ("db", "pg2")):
            if instance == "pg1" and INJECTED_S <= second < INJECTED_S + 8:
                continue
            base = 90e6 if service == "api" else 210e6
            t_ns = int(second * 1e9)
            rows.append((t_ns, service, instance, "rss_bytes", base + 1e5 * rng.normal()))
            rows.append((t_ns, service, instance, "cpu_percent", abs(rng.normal(30, 8))))
    writer = tables.TableWriter(run.path, "metrics", None)
    columns = [list(column) for column in zip(*rows, strict=True)]
    writer.write(dict(zip(("t_ns", "service", "instance", "name", "value"), columns, strict=True)))
    writer.close()


def _events(run: RunDirectory, end: float, killed: bool) -> None:
    run.event("process", t=0.8, process="load-0", state="ready", pid=4700)
    for n, second in enumerate(_seconds(end)):
        run.event("health", t=float(second), worker=0, n=n, loop_lag_p99_ms=1.1, cpu_percent=34.0, users=12)
    run.event("gate", t=INJECTED_S - 0.2, fault="db-failover", k=1, passed=True, why="")
    states = [("PLANNED", -0.1), ("INJECTING", 0.0), ("ACTIVE", 0.1)]
    states += [] if killed else [("UNDOING", OUTAGE_S - 0.2), ("UNDONE", OUTAGE_S)]
    for state, after in states:
        append_line(
            run.faults_path,
            {
                "t": INJECTED_S + after,
                "fault": "db-failover",
                "k": 1,
                "state": state,
                "kind": "failover_database",
                "platform": "local",
                "target_id": "reference:memory:local",
                "instances": [{"id": "4711", "name": "pg1", "started": 1}],
                "undo": {},
                "max_duration_s": 20.0,
                "by": "chaos",
            },
        )
    what = "pg1 (pid 4711) is gone; connect() to 127.0.0.1:5432 is <refused>"
    run.event("witness", t=INJECTED_S + 0.3, fault="db-failover", k=1, of="there", seen=True, what=what)
    if killed:
        return
    run.event("witness", t=INJECTED_S + 3.1, fault="db-failover", k=1, of="gone", seen=True, what="pg2 leads")
    run.event("gate", t=57.0, fault="db-failover", k=2, passed=False, why="service db has 1 of 2 instances ready")
    run.event("note", t=57.0, what="remark", text="a <i>person</i> looked at the dashboard")
    run.event(
        "note", t=end, what="locust_table", worker=0, requests=6260, failures=280, unit="ms", p50=8, p90=15, p95=19,
        p99=150,
    )  # fmt: skip


def _seconds(end: float) -> Any:
    """The whole seconds at which the load process told of its health."""
    return np.arange(START_S + 1, end + 1)
