"""The last seconds of a running load against the objectives `during baseline`: what the gate looks at."""

from __future__ import annotations

import numpy as np

from faultload.evaluate import estimate
from faultload.evidence import Evidence
from faultload.measured import Measured
from faultload.phases import Phases
from faultload.record import RunDirectory
from faultload.rows import InMemory, Labels, Recorded, Series, joined
from faultload.scenario import Scenario
from faultload_analysis.verdict import Verdict, decide

CONFIDENCE = 0.8
"""A gate would rather hold than inject into a system that is probably bad."""

LATE_S = 5.0
"""How late a slot may begin for reasons of the generator, at most, to be seen by the gate."""

_LIVE_TERMS = ("availability", "error_rate")


def baseline_problems(run: RunDirectory, scenario: Scenario, window_s: float) -> list[str]:
    """Why the last seconds are no healthy baseline, in plain words; empty when they are."""
    info = run.info() or {}
    now = run.clock.now()
    # a request that ended in the window was intended at most so long before
    longest = sum(float(info.get("load", {}).get(name, 10.0)) for name in ("timeout_s", "drop_after_s"))
    samples = joined(Recorded(run, keep=False).samples(since_s=now - window_s - longest - LATE_S))
    recent = samples[np.flatnonzero(samples.ended_s >= now - window_s)]
    if not len(recent):
        return [f"no request ended in the last {window_s:g} s"]
    empty = Labels(np.zeros(0, dtype=np.int32), [])
    nothing = np.zeros(0)
    measured = Measured(
        info=info,
        events=[],
        record=InMemory(recent),
        metrics=Series(nothing, empty, nothing, {}),
        faults=[],
        write_checks=None,
    )
    evidence = Evidence(measured, Phases([], now - window_s, now, frozenset()), {}, None, CONFIDENCE)
    found = []
    for spec in scenario.objectives_in(str(info.get("profile", "full"))):
        objective = spec.parsed
        latency = objective.term.quantile is not None and objective.term.subject in ("latency", "service_time")
        if objective.phase != "baseline" or not (latency or objective.term.name in _LIVE_TERMS):
            continue
        decision = decide(
            objective.operator,
            objective.target.value,
            estimate(evidence, objective),
            fmt=objective.target.format,
            subject=str(objective.term),
        )
        if decision.verdict is Verdict.FAIL:
            found.append(f"{spec.objective}: {decision.why}".replace("95 % confidence", "80 % confidence"))
    return found
