"""Judges the last seconds of a running load by the objectives `during baseline`, for the gate."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module

import numpy as np

from faultload.record.directory import RunDirectory
from faultload.record.info import RunInfo
from faultload.record.recorded import Recorded
from faultload.record.rows import InMemory, Labels, Samples, Series, joined
from faultload.spec.measures import measure_of
from faultload.spec.scenario import ObjectiveSpec, Scenario
from faultload.spec.statements import resolved

CONFIDENCE = 0.8
"""A gate would rather hold than inject into a system that is probably bad."""

LATE_S = 5.0
"""How late a slot may begin for reasons of the generator, at most, to be seen by the gate."""

_NEEDED = (
    "faultload.verdict.evidence",
    "faultload_analysis.latency.quantiles",
    "faultload_analysis.slo.availability",
)


def preload(run: RunDirectory) -> None:
    """Import what the run's objectives will need, which takes seconds on a busy machine: before a fault is due."""
    info = run.info()
    if info.scenario is not None and live_objectives(info.as_run(), info.profile):
        for module in _NEEDED:
            import_module(module)


def live_objectives(scenario: Scenario, profile: str) -> list[ObjectiveSpec]:
    """The objectives `during baseline` that a few seconds of samples can be held against."""
    return [
        spec
        for spec in scenario.objectives_in(profile)
        if spec.parsed.phase == "baseline" and measure_of(spec.parsed.term).of_seconds(spec.parsed.term)
    ]


def baseline_problems(run: RunDirectory, scenario: Scenario, window_s: float) -> list[str]:
    """Why the last seconds are no healthy baseline, in plain words; empty when they are."""
    info = run.info()
    now = run.clock.now()
    # a request that ended in the window was intended at most so long before
    longest = info.load.timeout_s + info.load.drop_after_s
    samples = joined(Recorded(run, keep=False).samples(since_s=now - window_s - longest - LATE_S))
    recent = samples[np.flatnonzero(samples.ended_s >= now - window_s)]
    if not len(recent):
        return [f"no request ended in the last {window_s:g} s"]
    objectives = live_objectives(scenario, info.profile)
    return _missed(objectives, info, recent, now - window_s, now) if objectives else []


def _missed(
    objectives: Sequence[ObjectiveSpec], info: RunInfo, recent: Samples, start_s: float, end_s: float
) -> list[str]:
    """The objectives that samples miss, and by how much; by the bound: one failed request holds no fault back."""
    from faultload.record.measured import Measured
    from faultload.verdict.evidence import Evidence
    from faultload.verdict.phases import Phases
    from faultload_analysis.evidence.verdict import Verdict, decide

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
    evidence = Evidence(measured, Phases([], start_s, end_s), {}, None, CONFIDENCE)
    found = []
    for spec in objectives:
        objective = resolved(spec.parsed)
        decision = decide(
            objective.operator,
            objective.target.value,
            evidence.estimate(objective),
            fmt=objective.target.format,
            subject=str(objective.term),
        )
        if decision.verdict is Verdict.FAIL:
            found.append(f"{spec.objective}: {decision.why}".replace("95 % confidence", "80 % confidence"))
    return found
