"""`p99(latency)`, `mean(cache_hit)`, `max(rss)`: a statistic of latencies, of an observation, or of a metric."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from fractions import Fraction
from typing import TYPE_CHECKING, ClassVar

from faultload.spec.measures import Allowance, Declared, Measure
from faultload.spec.mistakes import nearest
from faultload.spec.statements import resolved
from faultload.spec.term import LATENCIES, METRICS, REQUEST_FILTERS, Objective, ObjectiveError, Statement, Term
from faultload.spec.units import Dimension, UnitError, duration, format_seconds
from faultload.verdict.measures._share import above
from faultload.verdict.measures._unseen import naming_values
from faultload_analysis import latency, slo
from faultload_analysis.evidence.verdict import Estimate, exact, no_data
from faultload_analysis.needed import MEASURABLE, least_requests
from faultload_analysis.power import Power, power_of_mean, power_of_quantile

if TYPE_CHECKING:
    import numpy.typing as npt

    from faultload.verdict.evidence import Evidence, Wanted
    from faultload_analysis.latency import Population
    from faultload_analysis.latency.events import LongestEvent

_DIMENSIONS: Mapping[str, Dimension] = {"rss": "bytes", "cpu": "share", "fds": "number"}
_INSTANCE = ("service", "instance")
_SMALLEST_REST = Fraction(3, 10**9)
FEWEST_SAMPLES = 10
"""So many samples of a metric a statement about its mean or its extremes needs: fewer are a glance."""
_WATCHED_SLOW = 0.9
"""From this quantile on a second is asked for its P99, below it for its median."""


class OfValues(Measure):
    """What is computed from one series of values: of requests, of an observation, or of a metric."""

    filters: ClassVar[tuple[str, ...]] = (*REQUEST_FILTERS, *_INSTANCE)

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

    def reads(self, evidence: Evidence, term: Term) -> Collection[str]:
        if term.subject in LATENCIES:
            return ("samples",)
        return ("metrics",) if self._of_metric(evidence, term) else ("observations",)

    @staticmethod
    def _of_metric(evidence: Evidence, term: Term) -> bool:
        return term.subject in METRICS or evidence.has_metric(term.subject)

    def estimate(self, evidence: Evidence, objective: Objective) -> Estimate:
        if self._of_metric(evidence, objective.term):
            return self._of_instances(evidence, objective)
        return self.of_values(evidence, objective)

    def of_values(self, evidence: Evidence, objective: Objective) -> Estimate:
        raise NotImplementedError

    def of_series(
        self, times: npt.ArrayLike, values: npt.ArrayLike, objective: Objective, confidence: float
    ) -> Estimate:
        raise NotImplementedError

    def _of_instances(self, evidence: Evidence, objective: Objective) -> Estimate:
        """The worst instance of those that a term selects; cpu as a share of one processor.

        The worst is the greatest where the target is an upper limit, else the least.
        """
        term = objective.term
        name, scale = METRICS.get(term.subject, term.subject), 0.01 if term.subject == "cpu" else 1.0
        found = [
            self.of_series(times, values * scale, objective, evidence.confidence)
            for times, values in evidence.instances(name, term.filters, objective.phase)
        ]
        if not found:
            return no_data(f"no metric '{term.subject}' was taken in this phase")
        return worst_of(found, upper=objective.operator in ("<=", "<", "=="))


def worst_of(found: Sequence[Estimate], *, upper: bool) -> Estimate:
    """What several instances show together, held against an upper limit, or a lower one.

    The value is that of the worst. On its bad side the bound is that of all, so an instance that says nothing,
    because it lived too short to be estimated, leaves it open, as fewer than 10 samples in all do: it can fail,
    and not pass.
    """
    known = [(one.value, one) for one in found if one.value is not None]
    total = sum(one.n for one in found)
    if not known:
        return found[0]
    worst = (max if upper else min)(known, key=lambda one: one[0])[1]
    bounds = [one.high if upper else one.low for one in found]
    whole = [bound for bound in bounds if bound is not None]
    few = f"{total} samples: {FEWEST_SAMPLES} are needed" if total < FEWEST_SAMPLES else ""
    bad = None if few or len(whole) < len(bounds) else (max if upper else min)(whole)
    silent = [one for one in found if one.value is None]
    deciding = next((one for one in found if bad is not None and bad == (one.high if upper else one.low)), worst)
    notes = [
        f"the worst of {len(found)} instances" if len(found) > 1 else "",
        *dict.fromkeys((worst.why, deciding.why)),
        f"{len(silent)} of them cannot be estimated ({silent[0].why})" if silent else "",
        few,
    ]
    why = "; ".join(filter(None, notes))
    return replace(worst, high=bad, why=why) if upper else replace(worst, low=bad, why=why)


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
    filters: ClassVar[tuple[str, ...]] = (*OfValues.filters, "stall")
    watched = ("p50(latency)", "p99(latency)")

    def filters_of(self, term: Term) -> tuple[str, ...]:
        declares = term.subject in LATENCIES and quantile_of(term) is not None
        return (*super().filters_of(term), *(["stall"] if declares else []))

    def matches(self, name: str) -> bool:
        return name in self.names or Term(name).quantile is not None

    def check(self, term: Term) -> None:
        super().check(term)
        if term.quantile is not None and float(term.quantile) == 0:
            raise ObjectiveError(f"{term.name} is not a quantile: a percentage above 0, such as p50")
        if term.quantile is not None and 1 - Fraction(term.quantile) < _SMALLEST_REST:
            raise ObjectiveError(f"{term.name} is too close to 100 %: it would need more than a billion requests")
        _stall_s(term)

    def check_target(self, objective: Objective) -> None:
        super().check_target(objective)
        if _stall_s(objective.term) is None:
            return
        if objective.operator not in ("<=", "<"):
            raise ObjectiveError("stall= helps an upper limit only: leave it out")
        if resolved(objective).of_run:
            raise ObjectiveError(
                "stall= is about the system, and this objective speaks of the run: leave it out, or end it with "
                "`of system`"
            )

    def statements_of(self, term: Term) -> tuple[Statement, ...]:
        return ("run",) if term.name in ("min", "max") else self.statements

    def allowance(self, objective: Objective) -> Allowance | None:
        return allowance_of_quantile(objective)

    def missed(self, objective: Objective) -> str:
        return f"over {objective.target}"

    def requests_needed(self, objective: Objective) -> int | None:
        if objective.term.subject in METRICS:
            return None
        if objective.term.name == "mean" and not self.of_requests(objective.term):
            return None  # zeros and ones are a share
        return _fewest(objective)

    def load_needed_s(self, objective: Objective) -> float | None:
        stall_s, quantile = _stall_s(objective.term), quantile_of(objective.term)
        if stall_s is None or quantile is None or objective.of_run:
            return None
        return least_requests(quantile) * stall_s

    def power(self, objective: Objective, requests: float) -> Power | None:
        term, quantile = objective.term, quantile_of(objective.term)
        if not self.of_requests(term) or objective.operator not in ("<=", "<"):
            return None
        if quantile is not None:
            return power_of_quantile(quantile, requests, of_run=objective.of_run)
        return power_of_mean(requests, of_run=objective.of_run) if term.name == "mean" else None

    def samples_needed(self, objective: Objective) -> int | None:
        if objective.term.subject not in METRICS:
            return None
        return max(FEWEST_SAMPLES, _fewest(objective) or 0)

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
            wanted.latencies(objective.term, objective.phase, objective.target.value)
        stall_s = _stall_s(objective.term)
        if stall_s is not None and not objective.of_run:
            wanted.events(objective.term, objective.phase, stall_s, above(objective.operator, objective.target))

    def estimate(self, evidence: Evidence, objective: Objective) -> Estimate:
        found, term = super().estimate(evidence, objective), objective.term
        if term.name != "mean" or self._of_metric(evidence, term):
            return found
        values = evidence.values_of(term, objective.phase, objective.target.value)
        return naming_values(found, values, evidence, objective)

    def of_values(self, evidence: Evidence, objective: Objective) -> Estimate:
        term, target = objective.term, objective.target.value
        values = evidence.values_of(term, objective.phase, target)
        if term.subject in LATENCIES:
            declared = _declared(evidence, objective)
            found = statistic(values, objective, evidence.confidence, target, declared)
            return _naming_the_unseen(found, evidence, objective, declared)
        odd = evidence.odd_values(term, objective.phase)
        if values.n:
            return odd.noted(statistic(values, objective, evidence.confidence, target))
        return odd.noted(no_data(f"'{term.subject}' was never observed in this phase"))

    def of_series(
        self, times: npt.ArrayLike, values: npt.ArrayLike, objective: Objective, confidence: float
    ) -> Estimate:
        return statistic(values, objective, confidence)

    def subject(self, term: Term) -> str:
        if term.quantile is None:
            return str(term)
        return f"P{term.name[1:]} of {str(term).partition('(')[2][:-1]}"


def _stall_s(term: Term) -> float | None:
    """The longest event that a term declares, in seconds; None where it declares none. Raises ObjectiveError."""
    text = term.filters.get("stall")
    if text is None:
        return None
    try:
        stall_s = duration(text)
    except UnitError as error:
        raise ObjectiveError(f"stall: {error}") from None
    if not 0 < stall_s < math.inf:
        raise ObjectiveError(f"stall={text} is no time that an event could last, such as 2s")
    return stall_s


def _declared(evidence: Evidence, objective: Objective) -> LongestEvent | None:
    """The longest event that an objective on the system declares, as the run knows it."""
    stall_s = _stall_s(objective.term)
    if stall_s is None or objective.of_run:
        return None
    over = above(objective.operator, objective.target)
    return evidence.events(objective.term, objective.phase, stall_s, over)


def _naming_the_unseen(
    found: Estimate, evidence: Evidence, objective: Objective, declared: LongestEvent | None
) -> Estimate:
    """With the pauses that a quantile of the system which passes an upper limit may have missed.

    Where the longest event is declared, those that are no longer are in the bound, seen or not.
    """
    quantile, target, high = quantile_of(objective.term), objective.target.value, found.high
    operator, lasted_s = objective.operator, evidence.phases.duration_s(objective.phase)
    passes = high is not None and ((operator == "<=" and high <= target) or (operator == "<" and high < target))
    if objective.of_run and "stall" in objective.term.filters:
        return replace(found, why="; ".join(filter(None, [found.why, "of the run stall= plays no part"])))
    if not passes or objective.of_run or quantile is None or not lasted_s > 0:
        return found
    if declared is not None and not found.why:
        longest = format_seconds(declared.stall_s)
        return replace(found, why=f"this holds if no event lasts longer than {longest}, as stall= declares")
    unseen = slo.largest_unseen_outage(found.n, lasted_s, float(quantile), confidence=evidence.confidence)
    return replace(found, why="; ".join(filter(None, [found.why, unseen.of_pauses])))


def _fewest(objective: Objective) -> int | None:
    """How many values a PASS needs at least; None where any number will do."""
    quantile = quantile_of(objective.term)
    if objective.of_run:
        return None if quantile is None else least_requests(quantile)
    if quantile is None:
        return MEASURABLE if objective.term.name == "mean" else None
    return max(1 if "stall" in objective.term.filters else MEASURABLE, least_requests(quantile))


def quantile_of(term: Term) -> Fraction | None:
    """The quantile that a term asks for, a median too; None for the other statistics."""
    text = "0.5" if term.name == "median" else term.quantile
    return None if text is None else Fraction(text)


def allowance_of_quantile(objective: Objective) -> Allowance | None:
    """An upper limit on a quantile as a count: so many may exceed it; None for any other objective."""
    quantile = quantile_of(objective.term)
    if quantile is None or objective.operator not in ("<=", "<"):
        return None
    return Allowance(above(objective.operator, objective.target), 1 - quantile)


def statistic(
    values: npt.ArrayLike | Population,
    objective: Objective,
    confidence: float,
    target: float | None = None,
    declared: LongestEvent | None = None,
) -> Estimate:
    """The quantile, mean, median, least or greatest that an objective asks for, of values in time order.

    `target`: where what exceeds it tells how the values depend on each other, as it does of requests. `declared`:
    the longest event of a quantile of the system.
    """
    term, population = objective.term, latency.Population.of(values)
    if population.n == 0:
        return no_data("nothing was measured in this phase")
    quantile = quantile_of(term)
    if quantile is not None:
        if objective.of_run:
            found = latency.quantile_of_run(population, quantile, confidence=confidence)
        else:
            found = latency.quantile_estimate(
                population, quantile, target=target, confidence=confidence, declared=declared
            )
        return replace(found, missed=population.count_above(objective.target.value))
    if term.name == "mean":
        mean = latency.mean_of_run if objective.of_run else latency.mean_estimate
        return mean(population, confidence=confidence)
    return exact(population.maximum if term.name == "max" else population.minimum, population.n)


MEASURES = (Statistic(),)
