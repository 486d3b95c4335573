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
from faultload.verdict.steps import StepCounts, counted_steps, step_spans
from faultload_analysis.capacity.bracket import Bracket, Step, capacity_bracket
from faultload_analysis.capacity.limit import Growth, Limit, goodput_limit
from faultload_analysis.capacity.usl import NAMES, UslFit, usl_fit
from faultload_analysis.evidence.verdict import Estimate, Verdict, decide, worst


@dataclass(frozen=True)
class Capacity:
    """What a stepped run says of capacity. `usl` None: no curve could be drawn, `usl_why` says why.

    `users`, `goodput`: of each step in order of rate, the mean number in the system and the iterations a second
    that ended well; the curve goes through them, so what is refused at once is a limit and no growth. `limit`: how
    goodput grows with the load. `limit_s`, `quantile`: of the latency that the SLO asks for first; None without.
    """

    bracket: Bracket
    users: tuple[float, ...]
    goodput: tuple[float, ...]
    limit: Limit
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
            "limit": {
                "state": str(self.limit.state.value),
                "goodput": [self.limit.per_s, self.limit.low_per_s, self.limit.high_per_s],
                "load": self.limit.load,
                "why": self.limit.why,
            },
            "usl": None,
            "usl_why": self.usl_why,
        }
        if self.usl is not None:
            found["usl"] = _usl_to_json(self.usl)
        return found


def _usl_to_json(usl: UslFit) -> dict[str, Any]:
    peak = usl.peak()
    low, high = usl.band(usl.concurrency)
    coefficients = {name: usl.estimate(name) for name in NAMES}
    return {
        **{name: one.value for name, one in coefficients.items()},
        **{f"{name}_bounds": [one.low, one.high] for name, one in coefficients.items()},
        "peak_users": [peak.users.value, peak.users.low, peak.users.high],
        "peak_throughput": peak.throughput_per_s,
        "peak_throughput_bounds": [peak.low_per_s, peak.high_per_s],
        "peak": str(peak.state.value),
        "band": [
            [users, *map(_finite, bounds)]
            for users, *bounds in zip(usl.concurrency.tolist(), low.tolist(), high.tolist(), strict=True)
        ],
        "notes": [*usl.notes, *filter(None, [peak.users.why])],
    }


def _finite(bound: float) -> float | None:
    """A bound of the curve; None where nothing bounds it."""
    return max(0.0, bound) if math.isfinite(bound) else None


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
    counts = counted_steps(evidence.measured, spans)
    closed = evidence.measured.info.load.closed
    steps = [_step(evidence, slo, one) for one in counts]
    if closed:
        users = [_level(evidence.measured, one.span) for one in counts]
        steps = [_beyond_the_peak(step, at, users, counts) for step, at in zip(steps, users, strict=True)]
    bracket = capacity_bracket(steps)
    # the bracket has the steps in order of rate
    place = {id(step): i for i, step in enumerate(steps)}
    ordered = [place[id(step)] for level in bracket.levels for step in level.steps]
    valid = [one for one, step in zip(counts, steps, strict=True) if step.judged is not Verdict.INVALID]
    limit = goodput_limit(
        [_level(evidence.measured, one.span) for one in valid],
        [one.goodput(len(valid)) for one in valid],
        unit=" users" if closed else "/s",
    )
    if limit.state in (Growth.LIMITED, Growth.FALLS):
        bracket = replace(bracket, why=f"{bracket.why}; {limit.why}")
    usl, why = _curve(valid)
    first = _first_quantile(slo)
    limit_s, quantile = (None, None) if first is None else (first.target.value, float(first.term.quantile or 0))
    return Capacity(
        bracket,
        tuple(counts[i].users for i in ordered),
        tuple(counts[i].goodput_per_s for i in ordered),
        limit,
        usl,
        why,
        limit_s,
        quantile,
    )


def _step(evidence: Evidence, slo: Sequence[Objective], counts: StepCounts) -> Step:
    span, goodput = counts.span, counts.goodput_per_s
    decisions = [
        decide(one.operator, one.target.value, found, fmt=one.target.format, subject=str(one.term))
        for one in slo
        for found in [evidence.estimate(replace(one, phase=span.name))]
    ]
    verdict = worst(decision.verdict for decision in decisions)
    closed = evidence.measured.info.load.closed
    spoiled = evidence.spoiled is not None and evidence.spoiled.unfit(evidence.phases.seconds(span.name)) != ""
    step = Step(
        offered_per_s=max(goodput, 1e-9) if closed else _level(evidence.measured, span),
        achieved_per_s=counts.achieved_per_s,
        verdict=verdict,
        healthy=not spoiled,
        n=evidence.requests(span.name),
        why="; ".join(one.why for one in decisions if one.verdict is verdict is not Verdict.PASS),
        due_per_s=None if closed else max(counts.due_per_s, 1e-9),
        latency=_latency(evidence, slo, span),
        goodput_per_s=goodput,
        failures_judged=any(_judges_failures(one) for one in slo),
    )
    if step.kept_up or closed:
        return step
    short = f"{goodput:.4g}/s of {counts.due_per_s:.4g}/s that fell due ended well"
    return replace(step, why="; ".join(filter(None, [step.why, short])))


def _judges_failures(one: Objective) -> bool:
    """Whether an objective says how many may fail, so that no rule of ours has to."""
    return measure_of(one.term).error_limit(one) is not None or one.term.condition is not None


def _beyond_the_peak(step: Step, users: float, levels: Sequence[float], counts: Sequence[StepCounts]) -> Step:
    """A step of a closed model that failed with more users, and did no more than one with fewer.

    Users ask for no rate. That these failed says nothing of the lower rate that they came to, which fewer may well
    get; only that the rate they would have come to, had it grown with them, is too much.
    """
    fewer = [(one.goodput_per_s, level) for one, level in zip(counts, levels, strict=True) if level < users]
    best, level = max(fewer, default=(0.0, users))
    if step.judged is not Verdict.FAIL or step.offered_per_s > best:
        return step
    return replace(step, offered_per_s=best * users / level)


def _curve(counts: Sequence[StepCounts]) -> tuple[UslFit | None, str]:
    """The curve through the steps, each weighted by its precision; None and why where there is none.

    How much an error in the users counts depends on the slope of the curve there, so it is fitted without weights
    first.
    """
    some = [one for one in counts if one.goodput_per_s > 0]
    users, goodput = np.array([one.users for one in some]), np.array([one.goodput_per_s for one in some])
    try:
        even = usl_fit(users, goodput)
        slopes = (even.throughput(1.001 * users) - even.throughput(0.999 * users)) / (0.002 * users)
        errors = [one.error_per_s(slope) for one, slope in zip(some, slopes.tolist(), strict=True)]
        return usl_fit(users, goodput, errors), ""
    except ValueError as error:
        return None, str(error)


def _level(measured: Measured, span: Span) -> float:
    return measured.stages[int(span.name.removeprefix("step:")) - 1].low


def _first_quantile(slo: Sequence[Objective]) -> Objective | None:
    return next((one for one in slo if one.term.subject in LATENCIES and one.term.quantile), None)


def _latency(evidence: Evidence, slo: Sequence[Objective], span: Span) -> Estimate | None:
    """The judged latency quantile of a step; None when the SLO has none."""
    one = _first_quantile(slo)
    return None if one is None else evidence.estimate(replace(one, phase=span.name))
