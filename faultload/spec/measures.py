"""What a measure says of itself, and how the measures are found: one file each in `faultload/verdict/measures/`.

Those of other packages come from modules that they name as entry points of the group `faultload.measures`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from importlib import import_module
from importlib.metadata import entry_points
from pkgutil import iter_modules
from typing import Any, ClassVar

from faultload.spec.mistakes import nearest
from faultload.spec.stages import Stage
from faultload.spec.term import Objective, ObjectiveError, Statement, Term
from faultload.spec.units import Dimension
from faultload_analysis.evidence.verdict import Estimate
from faultload_analysis.power import Power

GROUP = "faultload.measures"
_HOME = "faultload.verdict.measures"
_TARGETS: Mapping[Dimension, str] = {
    "time": "500ms",
    "share": "99.9%",
    "rate": "100/s",
    "bytes": "100MB",
    "byte_rate": "100MB/h",
    "share_rate": "1%/h",
    "number": "0",
    "factor": "3x",
}


@dataclass(frozen=True, slots=True)
class Allowance:
    """How an objective counts: a value above `over`, in base units, misses (None: what failed); a `share` may."""

    over: float | None
    share: Fraction


@dataclass(frozen=True, slots=True)
class Declared:
    """What a scenario and its journeys declare that a measure may need; None where it cannot be known.

    `faults` and `with_failure_rate`: names of faults. `observations`: the names that journeys observe. `alerts`:
    those of its own alert rules.
    """

    faults: Sequence[str]
    with_failure_rate: Collection[str]
    observations: Collection[str] | None
    acknowledges: bool | None
    alerts: Sequence[str] = ()


class Measure:
    """Something an objective can ask of a run: its arguments, the data it reads, its estimate, its texts.

    This file is below the record in the layers, so `evidence` (a `faultload.verdict.evidence.Evidence`) is untyped
    here. Everything that reads a scenario imports the measures, so they must not load numpy before they estimate.
    """

    names: ClassVar[tuple[str, ...]]
    """Its names in an objective; for a family (p50, p99.9, ...) a few of them, for hints about typos."""
    examples: ClassVar[tuple[tuple[str, str], ...]]
    """Objectives that use it, each with an explanation, for the reference."""
    dimension: ClassVar[Dimension]
    filters: ClassVar[tuple[str, ...]] = ()
    """All filters it can take; `filters_of` says which ones a given term takes."""
    whole_run: ClassVar[bool] = False
    """Whether it is about the whole run and takes no `during`."""
    of_load: ClassVar[bool] = True
    """Whether it depends on the load, and is unfit if the load generator was the limit."""
    takes_slo: ClassVar[bool] = False
    """Whether it takes an `slo`: what a rate must meet to count as sustained."""
    statements: ClassVar[tuple[Statement, ...]] = ("system", "run")
    """The kinds of statement it can be; the first is the default where `faultload.spec.statements` has no other."""
    watched: ClassVar[tuple[str, ...]] = ()
    """The terms an abort condition can use, computed from the counts of one second by `in_second`."""

    def matches(self, name: str) -> bool:
        return name in self.names

    def takes(self, term: Term) -> bool:
        """Whether a term asks for it: by its name, unless measures share one and differ in what they read."""
        return self.matches(term.name)

    def check(self, term: Term) -> None:
        """Raise ObjectiveError if the arguments are wrong; by default it takes none."""
        if term.args:
            raise ObjectiveError(f"{term.name} takes no argument")

    def filters_of(self, term: Term) -> tuple[str, ...]:
        return self.filters

    def dimension_of(self, term: Term) -> Dimension | None:
        """The dimension of its value; None if that depends on an observation."""
        return self.dimension

    def statements_of(self, term: Term) -> tuple[Statement, ...]:
        """As `statements`, for a measure whose terms differ in it."""
        return self.statements

    def check_target(self, objective: Objective) -> None:
        """Raise ObjectiveError if the target has another dimension."""
        wanted, got = self.dimension_of(objective.term), objective.target.dimension
        plain = (wanted == "number" and got == "factor") or (wanted == "share" and got == "number")
        if wanted is not None and got != wanted and not plain:
            raise ObjectiveError(
                f"{objective.term} is compared with a {wanted.replace('_', ' ')} such as {_TARGETS[wanted]}, "
                f"not with '{objective.target}'"
            )

    def problems(self, term: Term, declared: Declared) -> Iterator[tuple[str, str | None]]:
        """What the scenario lacks to answer it, each with a hint."""
        yield from ()

    def undecidable(self, stages: Sequence[Stage]) -> str | None:
        """Why a load with these stages can never decide it; None if it can."""
        return None

    def requests_needed(self, objective: Objective) -> int | None:
        """The minimum number of independent requests for a PASS; None if unknown."""
        return None

    def load_needed_s(self, objective: Objective) -> float | None:
        """The least time for a PASS, in seconds; None where only the number of requests counts."""
        return None

    def power(self, objective: Objective, requests: float) -> Power | None:
        """How often it passes with so many requests when the truth is half its limit; None if unknown."""
        return None

    def samples_needed(self, objective: Objective) -> int | None:
        """The minimum number of samples of instances for a PASS, taken once a second; None where it reads none."""
        return None

    def of_requests(self, term: Term) -> bool:
        """Whether it judges requests by latency, availability or error rate, and can be part of an `slo`."""
        return False

    def of_seconds(self, term: Term) -> bool:
        """Whether it can be judged on a few seconds of requests, as the gate does before a fault."""
        return False

    def in_second(self, term: Term, second: Mapping[str, float]) -> float:
        """Its value in one second that had requests, for the terms in `watched`.

        `second` has the number of `ok` and `failed` requests, and their `p50` and `p99` in milliseconds.
        """
        raise NotImplementedError(f"{term} is not watched")

    def allowance(self, objective: Objective) -> Allowance | None:
        """What each request is held against, and how many may miss it; None where it counts none."""
        return None

    def allowed_misses(self, evidence: Any, objective: Objective) -> float | None:
        """The share of its observations that may miss (`Estimate.missed`) in a PASS; None where it counts none."""
        allowance = self.allowance(objective)
        return None if allowance is None else float(allowance.share)

    def missed(self, objective: Objective) -> str:
        """What a counted observation did that missed, in words: `over 500ms`, `failed`."""
        return "missed"

    def latency_limit(self, objective: Objective) -> tuple[float, float] | None:
        """The latency in seconds it allows a healthy system, and for which quantile."""
        return None

    def error_limit(self, objective: Objective) -> float | None:
        """The share of failed requests it allows a healthy system."""
        return None

    def resolution_s(self, objective: Objective, recovery_limit_s: float | None) -> float | None:
        """The shortest time the load generator must be able to resolve; None if times do not matter.

        `recovery_limit_s`: the latency above which a request is bad.
        """
        return None

    def reads(self, evidence: Any, term: Term) -> Collection[str]:
        """The tables of the record that its estimate reads, such as `samples`; what they lack makes it INVALID."""
        return ("samples",)

    def gather(self, objective: Objective, wanted: Any) -> None:
        """Tell `wanted`, a `faultload.verdict.evidence.Wanted`, which requests the estimate will read."""

    def estimate(self, evidence: Any, objective: Objective) -> Estimate:
        """The value and its bounds, in base units. Missing data gives no value, never an error."""
        raise NotImplementedError

    def unfit(self, evidence: Any, objective: Objective) -> str:
        """Why the load generator makes it unfit to be judged; empty if it is fit."""
        spoiled = evidence.spoiled
        return "" if spoiled is None else str(spoiled.unfit(evidence.phases.seconds(objective.phase)))

    def subject(self, term: Term) -> str:
        """What to call it in a sentence."""
        return str(term)


@dataclass(frozen=True, slots=True)
class _Found:
    measures: tuple[Measure, ...]
    broken: tuple[str, ...]


@cache
def _discover() -> _Found:
    """The measures of faultload, then those of packages that name a module in the entry-point group.

    The folder is listed and not imported by name: it is on a floor above, since an estimate reads the record,
    while the parser down here must know every measure.
    """
    home = import_module(_HOME)
    files = sorted(one.name for one in iter_modules(home.__path__) if not one.name.startswith("_"))
    found = [one for file in files for one in import_module(f"{_HOME}.{file}").MEASURES]
    broken = []
    for entry in entry_points(group=GROUP):
        try:
            theirs = _checked(entry.load().MEASURES)
        except Exception as error:  # noqa: BLE001 - a broken package must not keep runs from being judged
            broken.append(f"{entry.value} cannot be used: {type(error).__name__}: {error}")
            continue
        names = [name for one in theirs for name in one.names]
        twice = next((name for name in names if any(one.matches(name) for one in found)), None)
        if twice is not None:
            broken.append(f"{entry.value} has a measure '{twice}', which already exists")
        else:
            found += theirs
    return _Found(tuple(found), tuple(broken))


def _checked(theirs: Iterable[object]) -> list[Measure]:
    """The measures of another package. Raises TypeError where one is none, or lacks what every measure has."""
    found = []
    for one in theirs:
        if not isinstance(one, Measure):
            raise TypeError(f"MEASURES holds {one!r}, not an instance of a Measure")
        own_dimension = type(one).dimension_of is not Measure.dimension_of
        needed = ("names", "examples") if own_dimension else ("names", "examples", "dimension")
        missing = [name for name in needed if not hasattr(one, name)]
        if missing or not isinstance(one.names, tuple):
            raise TypeError(f"{type(one).__name__} has no {missing[0] if missing else 'tuple of names'}")
        found.append(one)
    return found


def measures() -> tuple[Measure, ...]:
    """Every measure there is."""
    return _discover().measures


def broken() -> Sequence[str]:
    """The entry points of other packages that cannot be used, each with why."""
    return _discover().broken


def measure_of(term: Term) -> Measure:
    """The measure that a term asks for. Raises ObjectiveError where there is none of that name."""
    for one in measures():
        if one.takes(term):
            return one
    hint = nearest(term.name, [name for one in measures() for name in one.names])
    raise ObjectiveError("; ".join([f"unknown measure '{term.name}'", hint or "", *broken()]))


def known_filters() -> tuple[str, ...]:
    """Every filter that some measure takes."""
    return tuple(dict.fromkeys(name for one in measures() for name in one.filters))


def check_term(term: Term) -> None:
    """Raises ObjectiveError where no measure takes the term as it stands."""
    measure = measure_of(term)
    measure.check(term)
    taken = measure.filters_of(term)
    for name in term.filters:
        if name not in taken:
            raise ObjectiveError(f"{term.name} takes no filter '{name}' (it takes: {', '.join(taken) or 'none'})")
