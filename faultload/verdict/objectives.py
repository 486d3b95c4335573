"""One objective judged: its estimate held against the target, as a statement of the run or of the system."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from faultload.record.complete import Missing
from faultload.spec.measures import measure_of
from faultload.spec.scenario import ObjectiveSpec
from faultload.spec.term import Objective
from faultload.spec.units import Quantity
from faultload.verdict.completeness import lacking_for
from faultload.verdict.evidence import Evidence
from faultload_analysis.evidence.of_run import observations_needed
from faultload_analysis.evidence.verdict import Decision, Estimate, Verdict, decide


def judged(
    evidence: Evidence,
    spec: ObjectiveSpec,
    objective: Objective,
    *,
    ran: bool,
    missing: Sequence[Missing] = (),
    unsteady: str = "",
) -> dict[str, Any]:
    """What verdict.json says of an objective, its kind of statement resolved.

    `ran`: whether there was load. `missing`: what the record lacks, which nothing may be said about. `unsteady`:
    why no steady state was seen, where the scenario asks for one.
    """
    measure, unit = measure_of(objective.term), objective.target
    found = evidence.estimate(objective)
    unfit = measure.unfit(evidence, objective) if ran else "the load did not run"
    reasons = [*lacking_for(evidence, objective, missing), unfit if measure.of_load else ""]
    decision = decision_on(evidence, objective, found, untrusted="; ".join(filter(None, reasons)))
    if unsteady and _reads_the_baseline(objective) and _rests_on_it(objective, decision):
        decision = Decision(Verdict.INCONCLUSIVE, f"{unsteady}; {decision.why}")
    return {
        "objective": spec.objective,
        "verdict": str(decision.verdict),
        "statement": objective.statement,
        "estimate": _shown(unit, found.value),
        "interval": [_shown(unit, found.low), _shown(unit, found.high)],
        "unit": unit.unit,
        "n": found.n,
        "n_eff": None if found.n_eff is None else round(found.n_eff, 1),
        "phase": objective.phase,
        "showed": showed(objective, found),
        "missed": found.missed,
        "why": decision.why,
        "method": found.method,
        "target": _shown(unit, unit.value),
        "operator": objective.operator,
        "name": spec.name,
        "critical": spec.critical,
        "weight": spec.weight,
        "dimension": spec.dimension,
    }


def _reads_the_baseline(objective: Objective) -> bool:
    """Whether it reads what the end of the warm-up decides."""
    return objective.phase in (None, "baseline") and not measure_of(objective.term).whole_run


def _rests_on_it(objective: Objective, decision: Decision) -> bool:
    """Whether a decision needs a steady state: a FAIL of the run does not, as what it showed is what it showed."""
    harm = decision.verdict is Verdict.FAIL and objective.of_run
    return not harm and decision.verdict is not Verdict.INVALID


def decision_on(evidence: Evidence, objective: Objective, found: Estimate, *, untrusted: str = "") -> Decision:
    """The decision on an estimate; an INCONCLUSIVE one says what is needed, and what this run showed."""
    decision = _decided(objective, found, untrusted)
    if decision.verdict is not Verdict.INCONCLUSIVE or found.value is None:
        return decision
    more = _needed(evidence, objective, found) if objective.of_run else _of_this_run(evidence, objective, found)
    return replace(decision, why="; ".join(filter(None, [decision.why, more])))


def _decided(objective: Objective, found: Estimate, untrusted: str = "") -> Decision:
    during = "" if objective.phase is None else f" during {objective.phase}"
    measure = measure_of(objective.term)
    # a measure that speaks of nothing but the run, such as ttr, brackets what it saw by its own bounds
    inferred = "system" in measure.statements_of(objective.term)
    return decide(
        objective.operator,
        objective.target.value,
        found,
        fmt=objective.target.format,
        subject=measure.subject(objective.term) + during,
        untrusted=untrusted,
        of_run=objective.of_run and inferred,
    )


def showed(objective: Objective, found: Estimate) -> str | None:
    """What the run showed, whatever it says of the system: `0 of 10,000 over 10s`, else its value."""
    if found.missed is not None:
        return f"{found.missed:,} of {found.n:,} {measure_of(objective.term).missed(objective)}"
    if found.value is None or math.isnan(found.value):
        return None
    return "an infinite value" if math.isinf(found.value) else objective.target.format(found.value)


def _of_this_run(evidence: Evidence, objective: Objective, found: Estimate) -> str:
    """What the run showed, and how `of run` would judge it where the measure can."""
    text = f"this run showed {showed(objective, found)}"
    if "run" not in measure_of(objective.term).statements_of(objective.term):
        return text
    alone = replace(objective, statement="run")
    return f"{text}: {_decided(alone, evidence.estimate(alone)).verdict} `of run`"


def _needed(evidence: Evidence, objective: Objective, found: Estimate) -> str:
    """How many observations a PASS needs, with as many misses among them as there were."""
    allowed = measure_of(objective.term).allowed_misses(evidence, objective)
    if found.missed is None or allowed is None or not 0.0 < allowed < 1.0:
        return ""
    needed = observations_needed(found.missed, allowed)
    if needed <= found.n:
        return ""  # it was not their number
    missed = measure_of(objective.term).missed(objective)
    return f"with {found.missed:,} {missed}, a PASS needs n of at least {needed:,}"


def _shown(unit: Quantity, value: float | None) -> float | None:
    if value is None or math.isnan(value):
        return None
    return unit.shown(value) if math.isfinite(value) else value
