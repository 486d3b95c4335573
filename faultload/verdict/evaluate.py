"""One objective against what was measured: the estimate of its measure, in base units, with its bounds."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from fractions import Fraction
from typing import Literal

import numpy as np
import numpy.typing as npt

from faultload.record.measured import FaultTimes
from faultload.record.rows import Floats
from faultload.spec.objective import LATENCIES, METRICS, Objective, Term
from faultload.spec.units import Quantity
from faultload.verdict.evidence import Completions, Evidence, Selection
from faultload.verdict.recoveries import by_fault
from faultload.verdict.writes import write_counts
from faultload_analysis.evidence.verdict import Estimate, exact, no_data
from faultload_analysis.latency.population import Population
from faultload_analysis.latency.quantiles import mean_estimate, quantile_estimate
from faultload_analysis.latency.trend import slope_estimate
from faultload_analysis.recovery import faults as recovery_analysis
from faultload_analysis.recovery.overload import recovery_after_overload_estimate
from faultload_analysis.recovery.production import mtbf_estimate
from faultload_analysis.slo import availability as slo_analysis
from faultload_analysis.slo.availability import Budget


def estimate(evidence: Evidence, objective: Objective) -> Estimate:
    """Estimate an objective's measure from the evidence; never raises for missing data."""
    term = objective.term
    if term.name not in _OF_RUN and (term.subject in METRICS or _has_metric(evidence, term.subject)):
        return _metric(evidence, term, objective.phase, at_most=objective.operator in ("<=", "<", "=="))
    return _estimate(evidence, term, objective.phase, objective.target.value)


def _estimate(evidence: Evidence, term: Term, phase: str | None, target: float | None) -> Estimate:
    if term.name in _OF_RUN:
        return _OF_RUN[term.name](evidence, term, phase, target)
    if term.subject in LATENCIES:
        return _latency(evidence, term, phase, target)
    return _observation(evidence, term, phase, target)


def _latency(evidence: Evidence, term: Term, phase: str | None, target: float | None) -> Estimate:
    return _statistic(term, evidence.population(Selection.of(term, phase), target), target, evidence.confidence)


def _statistic(term: Term, values: npt.ArrayLike | Population, target: float | None, confidence: float) -> Estimate:
    """A quantile, mean, median, least or greatest of values in time order."""
    population = Population.of(values)
    if population.n == 0:
        return no_data("nothing was measured in this phase")
    quantile = "0.5" if term.name == "median" else term.quantile
    if quantile is not None:
        return quantile_estimate(population, Fraction(quantile), target=target, confidence=confidence)
    if term.name == "mean":
        return mean_estimate(population, confidence=confidence)
    return exact(population.maximum if term.name == "max" else population.minimum, population.n)


def _observed(evidence: Evidence, term: Term, phase: str | None) -> Iterator[tuple[Floats, Floats]]:
    """Times and values of an observation, in chunks in order of time."""
    for part in evidence.measured.record.observations():
        chosen = part.name.equal(term.subject) & evidence.phases.mask(part.t_s, phase)
        for label in ("journey", "variant"):
            if label in term.filters:
                chosen &= part.labels[label].equal(term.filters[label])
        yield part.t_s[chosen], part.value[chosen]


def _observations(evidence: Evidence, term: Term, phase: str | None, target: float | None = None) -> Population:
    found = Population(targets=[] if target is None else [target])
    for _, values in _observed(evidence, term, phase):
        found.add(values)
    return found


def _observation(evidence: Evidence, term: Term, phase: str | None, target: float | None) -> Estimate:
    if term.name == "slope":
        parts = list(_observed(evidence, term, phase))
        times, values = (
            (np.concatenate([np.empty(0), *columns]) for columns in zip(*parts, strict=True))
            if (parts)
            else (np.empty(0), np.empty(0))
        )
        return slope_estimate(times, values)
    population = _observations(evidence, term, phase, target)
    if not population.n:
        return no_data(f"'{term.subject}' was never observed in this phase")
    return _statistic(term, population, target, evidence.confidence)


def _has_metric(evidence: Evidence, name: str) -> bool:
    return name in evidence.measured.metrics.name.names


def _metric(evidence: Evidence, term: Term, phase: str | None, *, at_most: bool) -> Estimate:
    """The worst instance of those that a term selects; cpu as a share of one processor.

    The worst is the greatest where the target is an upper limit, else the least.
    """
    series = evidence.measured.metrics
    chosen = series.name.equal(METRICS.get(term.subject, term.subject)) & evidence.phases.mask(series.t_s, phase)
    for label in ("service", "instance"):
        if label in term.filters:
            chosen &= series.labels[label].equal(term.filters[label])
    if not chosen.any():
        return no_data(f"no metric '{term.subject}' was taken in this phase")
    per = 0.01 if term.subject == "cpu" else 1.0
    instances = series.labels["instance"].codes
    found = []
    for code in np.unique(instances[chosen]):
        rows = chosen & (instances == code)
        values = series.value[rows] * per
        if term.name == "slope":
            one = slope_estimate(series.t_s[rows], values)
        else:
            one = _statistic(term, values, None, evidence.confidence)
        found.append(one)
    known = [one for one in found if one.value is not None]
    if not known:
        return found[0]
    worst = (max if at_most else min)(known, key=lambda one: 0.0 if one.value is None else one.value)
    note = f"the worst of {len(found)} instances" if len(found) > 1 else worst.why
    return replace(worst, why=note)


def _availability(evidence: Evidence, term: Term, phase: str | None, target: float | None) -> Estimate:
    usable = target is not None and 0 < target < 1
    found = slo_analysis.proportion_estimate(
        evidence.population(Selection.of(term, phase)),
        confidence=evidence.confidence,
        slo=target if usable else None,
        of_run=True,
    )
    if usable and found.value == 1.0 and target is not None:
        lasted = evidence.phases.duration_s(phase)
        if lasted > 0:
            unseen = slo_analysis.largest_unseen_outage(found.n, lasted, target)
            found = replace(found, why="; ".join(filter(None, [found.why, unseen.sentence])))
    return found


def _error_rate(evidence: Evidence, term: Term, phase: str | None, target: float | None) -> Estimate:
    found = _availability(evidence, term, phase, None if target is None else 1.0 - target)
    return found if found.value is None else found.complement()


def _throughput(evidence: Evidence, term: Term, phase: str | None, target: float | None) -> Estimate:
    stretches = evidence.phases.stretches(phase)
    longest = evidence.phases.longest_stretch(phase)
    if longest is None:
        return no_data("this phase did not happen")
    counter = evidence.rate(Completions.of(term, longest))
    left_out = None if evidence.spoiled is None else evidence.spoiled.at(counter.centres)
    found = counter.estimate(left_out=left_out, confidence=evidence.confidence)
    if len(stretches) == 1:
        return found
    return replace(found, why=f"the longest of {len(stretches)} stretches, {longest[1] - longest[0]:.0f} s")


def _iterations(evidence: Evidence, term: Term, phase: str | None, target: float | None) -> Estimate:
    total = wanted = 0
    for part in evidence.measured.record.iterations():
        chosen = evidence.phases.mask(part.intended_s, phase)
        for label in ("journey", "variant"):
            if label in term.filters:
                chosen &= getattr(part, label).equal(term.filters[label])
        ok = part.outcome.equal("ok")
        total += int(np.count_nonzero(chosen))
        wanted += int(np.count_nonzero({"failed": chosen & ~ok, "ok": chosen & ok}.get(term.subject, chosen)))
    return exact(float(wanted), total) if total else no_data("no iteration was made in this phase")


def _ttr(evidence: Evidence, term: Term, phase: str | None, target: float | None) -> Estimate:
    """The worst recovery that was seen; an unmeasurable one leaves the objective open."""
    found = by_fault(evidence.recoveries, term.subject)
    if not found:
        return no_data(_not_injected(evidence.measured.faults, term.subject))
    unknown = [f"{label}: {one.why}" for label, one in found if not one.measurable]
    estimates = [recovery_analysis.ttr_estimate(one) for _, one in found if one.measurable]
    if not estimates:
        return no_data("; ".join(unknown), n=len(found))
    worst = max(estimates, key=lambda one: -1.0 if one.value is None else one.value)
    if unknown and not (target is not None and worst.low is not None and worst.low > target):
        return no_data("; ".join(unknown), n=len(found))
    note = worst.why if len(found) == 1 else f"the worst of {len(found)}: {worst.why}"
    return replace(worst, n=len(found), why=note)


def _ttd(evidence: Evidence, term: Term, phase: str | None, target: float | None) -> Estimate:
    """The longest time from impact to the first replayed burn-rate alert."""
    found = [(label, one) for label, one in by_fault(evidence.recoveries, term.subject) if one.measurable]
    hurt = [(label, one) for label, one in found if not one.absorbed]
    if not hurt:
        return no_data("no fault had an impact to detect" if found else _not_injected(evidence.measured.faults, ""))
    missed = [label for label, one in hurt if one.detect_s is None]
    if missed:
        return Estimate(
            math.inf, math.inf, None, len(hurt), None, "alerts replayed", f"no alert for {', '.join(missed)}"
        )
    worst = max(one.detect_s for _, one in hurt if one.detect_s is not None)
    return exact(worst, len(hurt), why="burn-rate alerts replayed over the run, on a clean history before it")


def _mttr(evidence: Evidence, term: Term, phase: str | None, target: float | None) -> Estimate:
    found = by_fault(evidence.recoveries, term.subject)
    if not found:
        return no_data(_not_injected(evidence.measured.faults, term.subject))
    return recovery_analysis.mttr([one for _, one in found], confidence=evidence.confidence)


def _mtbf(evidence: Evidence, term: Term, phase: str | None, target: float | None) -> Estimate:
    """Mean time between failures that users notice, from the declared failure rates and the faults absorbed."""
    if not evidence.failure_rates:
        return no_data(
            "MTBF needs the `failure_rate` of its faults in production; how often they are injected says nothing"
        )
    impacts: dict[str, tuple[int, int]] = {}
    for name in evidence.failure_rates:
        seen = [one for _, one in by_fault(evidence.recoveries, name) if one.measurable]
        impacts[name] = (sum(not one.absorbed for one in seen), len(seen))
    return mtbf_estimate(evidence.failure_rates, impacts, confidence=evidence.confidence)


def _recovery_after_overload(evidence: Evidence, term: Term, phase: str | None, target: float | None) -> Estimate:
    """The slowest return after a surge of the load."""
    if not evidence.overloads:
        return no_data("the load has no surge to recover from, such as {surge: 3x, for: 30s}")
    found = [recovery_after_overload_estimate(one) for one in evidence.overloads.values()]
    unknown = next((one for one in found if one.value is None), None)
    known = [one for one in found if one.value is not None]
    worst = max(known, key=lambda one: one.value or 0.0, default=None)
    if worst is None or (unknown is not None and not (target is not None and worst.low and worst.low > target)):
        return found[0] if unknown is None else unknown
    return worst if len(found) == 1 else replace(worst, n=len(found), why=f"the worst of {len(found)}: {worst.why}")


def _capacity(evidence: Evidence, term: Term, phase: str | None, target: float | None) -> Estimate:
    return no_data("capacity is read from the steps of a whole run")


def _not_injected(faults: Sequence[FaultTimes], name: str) -> str:
    held = [fault for fault in faults if fault.gate is False and name in ("", fault.fault)]
    if held:
        return f"{held[0].label} was not injected: {held[0].gate_why}"
    return f"fault '{name}' was not injected" if name else "no fault was injected"


def _lost_writes(evidence: Evidence, term: Term, phase: str | None, target: float | None) -> Estimate:
    counts = write_counts(evidence.measured)
    if counts is None:
        return no_data("no journey acknowledged a write, or the writes were not read back")
    found = recovery_analysis.lost_writes(counts.acknowledged, counts.lost, counts.indeterminate, counts.verified)
    return replace(found, why="; ".join(filter(None, [found.why, counts.problem])))


def _budget(evidence: Evidence, term: Term, phase: str | None, target: float | None) -> Estimate:
    return budget_of(evidence, term, phase).estimate


def budget_of(evidence: Evidence, term: Term, phase: str | None) -> Budget:
    """What the requests of a phase consumed of the error budget that a `budget` term names."""
    share, window = _quantity(term, 0), _quantity(term, 1)
    events = float(term.filters["events"].replace("_", "")) if "events" in term.filters else None
    lasted = evidence.phases.duration_s(phase)
    requests = evidence.population(Selection.of(term, phase))
    return slo_analysis.error_budget(requests, share.value, window.value, max(lasted, 0.1), events)


def _burn_rate(evidence: Evidence, term: Term, phase: str | None, target: float | None) -> Estimate:
    requests = evidence.population(Selection.of(term, phase))
    return slo_analysis.burn_rate_estimate(requests, _quantity(term, 0).value)


def _quantity(term: Term, index: int) -> Quantity:
    value = term.args[index]
    assert isinstance(value, Quantity)
    return value


def _ratio(evidence: Evidence, term: Term, phase: str | None, target: float | None) -> Estimate:
    from faultload_analysis.compare.builds import ratio_estimate

    parts: list[Population] = []
    statistics: list[Term] = []
    for arg in term.args:
        assert isinstance(arg, Term)
        latency = arg.subject in LATENCIES
        parts.append(
            evidence.population(Selection.of(arg, phase)) if latency else _observations(evidence, arg, phase)
        )
        statistics.append(arg)
    if min(part.n for part in parts) == 0:
        return no_data(f"nothing was measured for {statistics[int(parts[1].n == 0)]}")
    if statistics[0].name != statistics[1].name:
        return no_data("a ratio compares the same statistic on both sides")
    quantile = "0.5" if statistics[0].name == "median" else statistics[0].quantile
    statistic: Fraction | Literal["mean"] = "mean" if quantile is None else Fraction(quantile)
    return ratio_estimate(parts[0], parts[1], statistic, confidence=evidence.confidence)


_OF_RUN: Mapping[str, Callable[[Evidence, Term, str | None, float | None], Estimate]] = {
    "availability": _availability,
    "error_rate": _error_rate,
    "throughput": _throughput,
    "iterations": _iterations,
    "ttr": _ttr,
    "ttd": _ttd,
    "mttr": _mttr,
    "lost_writes": _lost_writes,
    "budget": _budget,
    "burn_rate": _burn_rate,
    "ratio": _ratio,
    "mtbf": _mtbf,
    "recovery_after_overload": _recovery_after_overload,
    "capacity": _capacity,
}
