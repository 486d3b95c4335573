"""A stepped load: which steady rates met an SLO, the capacity they bracket, and the curve through them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from faultload.record.measured import Measured
from faultload.spec.measures import measure_of
from faultload.spec.scenario import ObjectiveSpec
from faultload.spec.term import LATENCIES, Objective
from faultload.verdict.evidence import Evidence
from faultload.verdict.phases import Phases, Span
from faultload_analysis.capacity.bracket import Bracket, Step, capacity_bracket
from faultload_analysis.capacity.usl import UslFit, usl_fit
from faultload_analysis.evidence.verdict import Estimate, Verdict, decide, worst

SETTLING = 0.1
"""The first tenth of a step is left out: queues are still filling."""

SHORTEST_S = 2.0


@dataclass(frozen=True)
class Capacity:
    """What a stepped run says of capacity. `usl` None: no curve could be drawn, `usl_why` says why.

    `users`, `goodput`: of each step in order of rate, the mean number in the system and the iterations a second
    that ended well; the curve goes through them, so what is refused at once is a limit and no growth.
    `limit_s`, `quantile`: of the latency that the SLO asks for first, None without one.
    """

    bracket: Bracket
    users: tuple[float, ...]
    goodput: tuple[float, ...]
    usl: UslFit | None
    usl_why: str
    limit_s: float | None
    quantile: float | None

    def to_json(self) -> dict[str, Any]:
        """As `verdict.json` holds it; rates per second, times in seconds."""
        steps = [step for level in self.bracket.levels for step in level.steps]
        found: dict[str, Any] = {
            "bracket": [self.bracket.low_per_s, self.bracket.high_per_s],
            "state": str(self.bracket.state.value),
            "why": self.bracket.why,
            "steps": [
                {
                    "offered": step.offered_per_s,
                    "achieved": step.achieved_per_s,
                    "goodput": goodput,
                    "users": users,
                    "verdict": str(step.judged),
                    "n": step.n,
                    "latency_s": None if step.latency is None else step.latency.value,
                    "why": step.why,
                }
                for step, users, goodput in zip(steps, self.users, self.goodput, strict=True)
            ],
            "usl": None,
            "usl_why": self.usl_why,
        }
        if self.usl is not None:
            peak = self.usl.peak()
            low, high = self.usl.band(self.usl.concurrency)
            found["usl"] = {
                "alpha": self.usl.alpha,
                "beta": self.usl.beta,
                "gamma": self.usl.gamma,
                "peak_users": [peak.users.value, peak.users.low, peak.users.high],
                "peak_throughput": peak.throughput_per_s,
                "peak": str(peak.state.value),
                "band": [
                    [users, *map(_finite, bounds)]
                    for users, *bounds in zip(
                        self.usl.concurrency.tolist(), low.tolist(), high.tolist(), strict=True
                    )
                ],
            }
        return found


def _finite(bound: float) -> float | None:
    """A bound of the curve; None where nothing bounds it."""
    return max(0.0, bound) if math.isfinite(bound) else None


def step_spans(measured: Measured, spans: Sequence[Span]) -> list[Span]:
    """The steady part of every stage of constant level that no fault or recovery touches."""
    disturbed = [span for span in spans if span.name.split(":")[0] in ("fault", "recovery")]
    found = []
    for index, stage in enumerate(measured.stages, start=1):
        steady = stage.kind in ("hold", "step") and stage.low == stage.high > 0
        begin = measured.load_start_s + stage.start_s + SETTLING * stage.duration_s
        end = min(measured.load_start_s + stage.end_s, measured.load_end_s)
        touched = any(span.start < end and begin < span.end for span in disturbed)
        if steady and not touched and end - begin >= SHORTEST_S:
            found.append(Span(f"step:{index}", begin, end))
    return found


def with_steps(measured: Measured, phases: Phases) -> Phases:
    """The phases with the steps of the load as further names that `during` may select."""
    return replace(phases, steps=step_spans(measured, phases.spans))


def with_slo(spec: ObjectiveSpec, others: Sequence[ObjectiveSpec]) -> Objective:
    """A spec's objective; where it takes an `slo` and has none, with what the scenario asks of requests."""
    objective = spec.parsed
    if objective.slo or not measure_of(objective.term).takes_slo:
        return objective
    usual = [one.parsed for one in others if measure_of(one.parsed.term).of_requests(one.parsed.term)]
    return replace(objective, slo=tuple(one for one in usual if one.phase in (None, "baseline", "all")))


def capacity_found(evidence: Evidence, objectives: Sequence[Objective]) -> Capacity | None:
    """The capacity that a report draws: of several objectives the first that could be told."""
    found = (capacity_of(evidence, one.slo) for one in objectives if measure_of(one.term).takes_slo)
    return next((one for one in found if isinstance(one, Capacity)), None)


def capacity_of(evidence: Evidence, slo: Sequence[Objective]) -> Capacity | str:
    """The capacity under an SLO; a sentence where the run has no steps to tell it from."""
    key = tuple(map(str, slo))
    found: Capacity | str = evidence.capacities.get(key) or _capacity_of(evidence, slo)
    evidence.capacities[key] = found
    return found


def _capacity_of(evidence: Evidence, slo: Sequence[Objective]) -> Capacity | str:
    spans = evidence.phases.steps
    if not slo:
        return "capacity needs an `slo`, or objectives on latency, availability or error rate"
    if len({_level(evidence.measured, span) for span in spans}) < 2:
        return "capacity needs at least two steps of constant load without faults"
    begun, ended, well, spent = _iterations_in(evidence.measured, spans)
    dropped = _dropped_in(evidence.measured, spans)
    steps = []
    for i, span in enumerate(spans):
        lasted = span.duration_s
        due = (begun[i] + dropped[i]) / lasted
        achieved = ended[i] / lasted
        decisions = [
            decide(one.operator, one.target.value, found, fmt=one.target.format, subject=str(one.term))
            for one in slo
            for found in [evidence.estimate(replace(one, phase=span.name))]
        ]
        verdict = worst(decision.verdict for decision in decisions)
        open_model = not evidence.measured.info.load.closed
        seconds = evidence.phases.seconds(span.name)
        spoiled = evidence.spoiled is not None and evidence.spoiled.unfit(seconds) != ""
        latency = _latency(evidence, slo, span)
        steps.append(
            Step(
                offered_per_s=_level(evidence.measured, span) if open_model else max(achieved, 1e-9),
                achieved_per_s=achieved,
                verdict=verdict,
                healthy=not spoiled,
                n=evidence.requests(span.name),
                why="; ".join(one.why for one in decisions if one.verdict is verdict is not Verdict.PASS),
                due_per_s=max(due, 1e-9) if open_model else None,
                latency=latency,
            )
        )
    bracket = capacity_bracket(steps)
    # the bracket has the steps in order of rate
    place = {id(step): i for i, step in enumerate(steps)}
    ordered = [place[id(step)] for level in bracket.levels for step in level.steps]
    users = [spent[i] / spans[i].duration_s for i in range(len(steps))]
    goodput = [well[i] / spans[i].duration_s for i in range(len(steps))]
    valid = [i for i, step in enumerate(steps) if step.judged is not Verdict.INVALID and goodput[i] > 0]
    usl: UslFit | None = None
    why = ""
    try:
        usl = usl_fit([users[i] for i in valid], [goodput[i] for i in valid])
    except ValueError as error:
        why = str(error)
    first = _first_quantile(slo)
    limit, quantile = (None, None) if first is None else (first.target.value, float(first.term.quantile or 0))
    return Capacity(
        bracket,
        tuple(users[i] for i in ordered),
        tuple(goodput[i] for i in ordered),
        usl,
        why,
        limit,
        quantile,
    )


def _level(measured: Measured, span: Span) -> float:
    return measured.stages[int(span.name.removeprefix("step:")) - 1].low


def _first_quantile(slo: Sequence[Objective]) -> Objective | None:
    return next((one for one in slo if one.term.subject in LATENCIES and one.term.quantile), None)


def _latency(evidence: Evidence, slo: Sequence[Objective], span: Span) -> Estimate | None:
    """The judged latency quantile of a step; None when the SLO has none."""
    one = _first_quantile(slo)
    return None if one is None else evidence.estimate(replace(one, phase=span.name))


def _iterations_in(
    measured: Measured, spans: Sequence[Span]
) -> tuple[list[int], list[int], list[int], list[float]]:
    """By span: iterations due in it that began, that ended in it, that ended well, and user-seconds spent in it."""
    begun, ended, well, spent = [0] * len(spans), [0] * len(spans), [0] * len(spans), [0.0] * len(spans)
    for part in measured.record.iterations():
        started = part.intended_s + part.waited_s + part.slip_s
        ok = part.outcome.equal("ok")
        for i, span in enumerate(spans):
            begun[i] += int(np.count_nonzero((part.intended_s >= span.start) & (part.intended_s < span.end)))
            here = (part.ended_s >= span.start) & (part.ended_s < span.end)
            ended[i] += int(np.count_nonzero(here))
            well[i] += int(np.count_nonzero(here & ok))
            overlap = np.minimum(part.ended_s, span.end) - np.maximum(started, span.start)
            spent[i] += float(np.maximum(overlap, 0.0).sum())
    return begun, ended, well, spent


def _dropped_in(measured: Measured, spans: Sequence[Span]) -> list[int]:
    dropped = [0] * len(spans)
    for part in measured.record.samples():
        due = part.intended_s[part.outcome.equal("dropped")]
        for i, span in enumerate(spans):
            dropped[i] += int(np.count_nonzero((due >= span.start) & (due < span.end)))
    return dropped
