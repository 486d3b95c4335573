"""`p99(latency)`, `mean(cache_hit)`, `max(rss)`: a statistic of latencies, of an observation, or of a metric."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from fractions import Fraction
from typing import TYPE_CHECKING

from faultload.spec.measures import Declared, Measure
from faultload.spec.mistakes import nearest
from faultload.spec.term import LATENCIES, METRICS, REQUEST_FILTERS, Objective, ObjectiveError, Term
from faultload.spec.units import Dimension
from faultload_analysis import latency, slo
from faultload_analysis.evidence.verdict import Estimate, exact, no_data
from faultload_analysis.needed import MEASURABLE, least_requests

if TYPE_CHECKING:
    import numpy.typing as npt

    from faultload.verdict.evidence import Evidence, Wanted
    from faultload_analysis.latency import Population

_DIMENSIONS: Mapping[str, Dimension] = {"rss": "bytes", "cpu": "share", "fds": "number"}
_INSTANCE = ("service", "instance")
_WATCHED_SLOW = 0.9
"""From this quantile on a second is asked for its P99, below it for its median."""


class OfValues(Measure):
    """What is computed from one series of values: of requests, of an observation, or of a metric."""

    filters = (*REQUEST_FILTERS, *_INSTANCE)

    def check(self, term: Term) -> None:
        if len(term.args) != 1 or not term.subject:
            raise ObjectiveError(f"{term.name} takes one name, such as {term.name}({self.subject_example})")

    @property
    def subject_example(self) -> str:
        return "latency"

    def filters_of(self, term: Term) -> tuple[str, ...]:
        if term.subject in LATENCIES:
            return REQUEST_FILTERS
        return _INSTANCE if term.subject in METRICS else ("journey", "variant", *_INSTANCE)

    def dimension_of(self, term: Term) -> Dimension | None:
        return "time" if term.subject in LATENCIES else _DIMENSIONS.get(term.subject)

    def problems(self, term: Term, declared: Declared) -> Iterator[tuple[str, str | None]]:
        elsewhere = term.subject in (*LATENCIES, *METRICS) or set(_INSTANCE) & set(term.filters)
        observed = declared.observations
        if not elsewhere and observed is not None and term.subject not in observed:
            known = [*LATENCIES, *observed, *METRICS]
            yield f"{term}: no journey observes '{term.subject}'", nearest(term.subject, known)

    def estimate(self, evidence: Evidence, objective: Objective) -> Estimate:
        term = objective.term
        if term.subject in METRICS or evidence.has_metric(term.subject):
            return self._of_instances(evidence, objective)
        return self.of_values(evidence, objective)

    def of_values(self, evidence: Evidence, objective: Objective) -> Estimate:
        raise NotImplementedError

    def of_series(self, times: npt.ArrayLike, values: npt.ArrayLike, term: Term, confidence: float) -> Estimate:
        raise NotImplementedError

    def _of_instances(self, evidence: Evidence, objective: Objective) -> Estimate:
        """The worst instance of those that a term selects; cpu as a share of one processor.

        The worst is the greatest where the target is an upper limit, else the least.
        """
        term = objective.term
        name, scale = METRICS.get(term.subject, term.subject), 0.01 if term.subject == "cpu" else 1.0
        found = [
            self.of_series(times, values * scale, term, evidence.confidence)
            for times, values in evidence.instances(name, term.filters, objective.phase)
        ]
        if not found:
            return no_data(f"no metric '{term.subject}' was taken in this phase")
        known = [(one.value, one) for one in found if one.value is not None]
        if not known:
            return found[0]
        of = max if objective.operator in ("<=", "<", "==") else min
        worst = of(known, key=lambda one: one[0])[1]
        return replace(worst, why=f"the worst of {len(found)} instances") if len(found) > 1 else worst


class Statistic(OfValues):
    names = ("mean", "median", "min", "max", "p50", "p95", "p99")
    examples = (
        (
            "p99.9(latency) <= 500ms",
            "a quantile of `latency` (from the intended start) or `service_time` (from the actual one)",
        ),
        ("mean(cache_hit) >= 0.9", "`mean`, `median`, `min`, `max` or a quantile, also of an observation"),
        ("max(cpu, service=db) <= 80%", "a metric: `rss`, `cpu`, `fds`; 100 % is one processor"),
    )
    watched = ("p50(latency)", "p99(latency)")

    def matches(self, name: str) -> bool:
        return name in self.names or Term(name).quantile is not None

    def check(self, term: Term) -> None:
        super().check(term)
        if term.quantile is not None and float(term.quantile) == 0:
            raise ObjectiveError(f"{term.name} is not a quantile: a percentage above 0, such as p50")

    def requests_needed(self, objective: Objective) -> int | None:
        quantile = quantile_of(objective.term)
        if quantile is None or quantile == 1:
            return MEASURABLE if objective.term.name == "mean" and self.of_requests(objective.term) else None
        return max(MEASURABLE, least_requests(quantile))

    def of_requests(self, term: Term) -> bool:
        return term.subject in LATENCIES

    def of_seconds(self, term: Term) -> bool:
        return term.subject in LATENCIES and term.quantile is not None

    def in_second(self, term: Term, second: Mapping[str, float]) -> float:
        return second["p99" if float(term.quantile or 0) >= _WATCHED_SLOW else "p50"] / 1e3

    def latency_limit(self, objective: Objective) -> tuple[float, float] | None:
        quantile = objective.term.quantile
        if objective.term.subject != "latency" or quantile is None or float(quantile) < _WATCHED_SLOW:
            return None
        return objective.target.value, float(quantile)

    def resolution_s(self, objective: Objective, recovery_limit_s: float | None) -> float | None:
        return (
            objective.target.value if objective.term.subject in LATENCIES and objective.target.value > 0 else None
        )

    def gather(self, objective: Objective, wanted: Wanted) -> None:
        if objective.term.subject in LATENCIES:
            wanted.requests(objective.term, objective.phase, objective.target.value)

    def of_values(self, evidence: Evidence, objective: Objective) -> Estimate:
        term, target = objective.term, objective.target.value
        values = evidence.values_of(term, objective.phase, target)
        if term.subject in LATENCIES:
            return _naming_the_unseen(statistic(values, term, evidence.confidence, target), evidence, objective)
        if values.n:
            return statistic(values, term, evidence.confidence, target)
        return no_data(f"'{term.subject}' was never observed in this phase")

    def of_series(self, times: npt.ArrayLike, values: npt.ArrayLike, term: Term, confidence: float) -> Estimate:
        return statistic(values, term, confidence)

    def subject(self, term: Term) -> str:
        if term.quantile is None:
            return str(term)
        return f"P{term.name[1:]} of {str(term).partition('(')[2][:-1]}"


def _naming_the_unseen(found: Estimate, evidence: Evidence, objective: Objective) -> Estimate:
    """With the pauses that a quantile which passes an upper limit may have missed."""
    quantile, target, high = quantile_of(objective.term), objective.target.value, found.high
    operator, lasted_s = objective.operator, evidence.phases.duration_s(objective.phase)
    passes = high is not None and ((operator == "<=" and high <= target) or (operator == "<" and high < target))
    if not passes or quantile is None or quantile == 1 or not lasted_s > 0:
        return found
    unseen = slo.largest_unseen_outage(found.n, lasted_s, float(quantile), confidence=evidence.confidence)
    return replace(found, why="; ".join(filter(None, [found.why, unseen.of_pauses])))


def quantile_of(term: Term) -> Fraction | None:
    """The quantile that a term asks for, a median too; None for the other statistics."""
    text = "0.5" if term.name == "median" else term.quantile
    return None if text is None else Fraction(text)


def statistic(
    values: npt.ArrayLike | Population, term: Term, confidence: float, target: float | None = None
) -> Estimate:
    """A quantile, mean, median, least or greatest of values in time order."""
    population = latency.Population.of(values)
    if population.n == 0:
        return no_data("nothing was measured in this phase")
    quantile = quantile_of(term)
    if quantile is not None:
        return latency.quantile_estimate(population, quantile, target=target, confidence=confidence)
    if term.name == "mean":
        return latency.mean_estimate(population, confidence=confidence)
    return exact(population.maximum if term.name == "max" else population.minimum, population.n)


MEASURES = (Statistic(),)
