"""A run directory drawn by hand: an even load whose requests take ten milliseconds, but where a test says else."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from faultload.record import tables
from faultload.record.directory import RunDirectory, append_line
from faultload.spec.profile import scale
from faultload.spec.scenario import Scenario
from faultload.spec.stages import end_of

RATE = 100
"""Requests a second, unless a test says else."""
LATENCY_S = 0.010
HOLD_60S = ({"hold": "60s"},)


@dataclass(frozen=True)
class Stretch:
    """What is else between two moments of the run's clock, for every n-th request (`every`)."""

    start_s: float
    end_s: float
    latency_s: float = LATENCY_S
    outcome: str = "ok"
    request: str | None = None
    slip_s: float = 0.0
    waited_s: float = 0.0
    every: int = 1


@dataclass(frozen=True)
class Strike:
    """A fault on the run's clock, witnessed and undone."""

    injected_s: float
    undone_s: float | None = None
    name: str = "cut"
    k: int = 1
    one_shot: bool = False
    max_duration_s: float = 20.0
    witnessed: bool | None = True


def draw(
    path: Path,
    *objectives: Any,
    stretches: Sequence[Stretch] = (),
    strikes: Sequence[Strike] = (),
    stages: Sequence[dict[str, str]] = HOLD_60S,
    start_s: float = 2.0,
    rate: float = RATE,
    ill: dict[float, dict[str, Any]] | None = None,
    scenario: dict[str, Any] | None = None,
    seconds: Sequence[float] | None = None,
    **info: Any,
) -> RunDirectory:
    """Write the run. `ill`: what the generator's health says otherwise, by the end of the second it speaks of.

    `seconds`: when each request is due, instead of `rate`; `scenario` and `info` go before what is usual.
    """
    first = {"ramp" if "ramp" in stages[0] else "step": f"{RATE}/s", **stages[0]}
    if "hold" in first:
        first = {"step": f"{RATE}/s", "for": first["hold"]}
    declared = {
        "name": "drawn",
        "target": {"url": "http://127.0.0.1:8080"},
        "load": {"journeys": "j.py", "rate": [first, *stages[1:]]},
        "faults": [
            {"name": name, "experiment": "e.yaml", "at": "30s"}
            for name in dict.fromkeys(one.name for one in strikes)
        ],
        "objectives": list(objectives) or ["availability >= 1%"],
        "recovery": {"slice": "1s", "hold": "5s", "tolerance": "50%"},
        **(scenario or {}),
    }
    scaled = scale(Scenario.model_validate(declared), "full").scenario
    run = RunDirectory.create(path)
    planned = scaled.load.stages
    load = {
        "stages": [stage.to_json() for stage in planned],
        "workers": 1,
        "timeout_s": 10.0,
        **info.pop("load", {}),
    }
    end = start_s + end_of(planned)
    begun = {"scenario": scaled.to_json(), "profile": "full", "load": load, "t0": {"monotonic_ns": 0}}
    times = {"load_start_s": start_s, "load_end_s": end, "ended": "2026-01-01T00:00:00.000Z"}
    run.update({"record": 1, **begun, **times, **info})
    due = (
        np.arange(start_s + 0.5 / rate, end, 1 / rate) if seconds is None else np.asarray(seconds, dtype=np.float64)
    )
    _write(run, due, stretches)
    plain = {"kind": "health", "worker": 0, "loop_lag_p99_ms": 1.0, "cpu_percent": 30.0, "p50_ms": 10.0}
    moments = np.arange(np.floor(start_s) + 1, end + 1).tolist()
    health = [{**plain, "t": second, **(ill or {}).get(second, {})} for second in moments]
    (run.path / "events.jsonl").write_text("".join(f"{json.dumps(event)}\n" for event in health))
    for strike in strikes:
        _strike(run, strike)
    return run


def _write(run: RunDirectory, due: Any, stretches: Sequence[Stretch]) -> None:
    n = due.size
    latency, slip, waited = np.full(n, LATENCY_S), np.zeros(n), np.zeros(n)
    outcome, request = np.zeros(n, np.int32), np.zeros(n, np.int32)
    outcomes = list(dict.fromkeys(["ok", *(one.outcome for one in stretches)]))
    requests = list(dict.fromkeys(["GET /", None, *(one.request for one in stretches)]))
    for one in stretches:
        here = np.flatnonzero((due >= one.start_s) & (due < one.end_s))[:: one.every]
        latency[here], slip[here], waited[here] = one.latency_s, one.slip_s, one.waited_s
        outcome[here] = outcomes.index(one.outcome)
        if one.request is not None:
            request[here] = requests.index(one.request)
    dropped = np.array([name == "dropped" for name in outcomes])[outcome]
    request[dropped] = requests.index(None)
    service_s = np.where(dropped, 0, np.maximum(latency - slip - waited, 0))
    started_ns = np.round((due + slip + waited) * 1e9).astype(np.int64)
    service_us = np.round(service_s * 1e6).astype(np.int64)
    both = {
        "intended_ns": np.round(due * 1e9).astype(np.int64),
        "journey": (np.zeros(n, np.int32), ["Visit"]),
        "variant": (np.zeros(n, np.int32), [None]),
        "outcome": (outcome, outcomes),
    }
    samples = {"started_ns": started_ns, "service_us": service_us, "request": (request, requests)}
    _table(run, "samples", {**both, **samples, "status": np.full(n, 200, np.int16), "bytes": np.zeros(n, np.int32)})
    times = {"waited_us": np.round(waited * 1e6), "slip_us": np.round(slip * 1e6)}
    iterations: dict[str, Any] = {**both, **times, "ended_ns": started_ns + service_us * 1000}
    begun = {
        name: (values[0][~dropped], values[1]) if isinstance(values, tuple) else values[~dropped]
        for name, values in iterations.items()
    }
    _table(run, "iterations", begun)


def _table(run: RunDirectory, name: str, columns: dict[str, Any]) -> None:
    writer = tables.TableWriter(run.path, name)
    writer.write(columns)
    writer.close()


def _strike(run: RunDirectory, strike: Strike) -> None:
    states = [("PLANNED", strike.injected_s - 0.1), ("INJECTING", strike.injected_s), ("ACTIVE", strike.injected_s)]
    if strike.undone_s is not None:
        states += [("UNDOING", strike.undone_s), ("UNDONE", strike.undone_s)]
    who = {"fault": strike.name, "k": strike.k}
    for state, t in states:
        line = {
            **who, "t": t, "state": state, "kind": "pause", "platform": "local", "target_id": "shop",
            "instances": [], "undo": {}, "one_shot": strike.one_shot, "max_duration_s": strike.max_duration_s,
            "by": "chaos",
        }  # fmt: skip
        append_line(run.faults_path, line)
    run.event("gate", t=strike.injected_s - 0.2, **who, passed=True, why="")
    if strike.witnessed is not None:
        run.event("witness", t=strike.injected_s + 0.1, **who, of="there", seen=strike.witnessed, what="looked")
