"""A parsed objective: a term such as `p99(latency, journey=Search)`, and the target that it is held against."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from faultload.spec.units import Quantity

LATENCIES = ("latency", "service_time")
METRICS = {"rss": "rss_bytes", "cpu": "cpu_percent", "fds": "fds"}
"""The metrics of an instance that have a short name, and what the record calls them."""
REQUEST_FILTERS = ("request", "journey", "variant")
OPTIONS = ("events", "stall", "alert")
"""Named arguments of a term that select nothing."""
Statement = Literal["run", "system"]
"""What an objective speaks of: what the users of this run got, or the system, beyond the run."""
_QUANTILE = re.compile(r"p(\d{1,2}(?:\.\d+)?)\Z")


class ObjectiveError(ValueError):
    """An expression that is no objective: the message says what and where."""


@dataclass(frozen=True, slots=True)
class Condition:
    """A comparison among the arguments of a term: `latency <= 300ms` in `share(latency <= 300ms)`."""

    term: Term
    operator: str
    target: Quantity

    def __str__(self) -> str:
        return f"{self.term} {self.operator} {self.target}"


Argument = Quantity | Condition | str
"""What a term takes beside other terms."""


@dataclass(frozen=True, slots=True)
class Term:
    """A call such as `p99(latency, journey=Search)`: name, positional arguments, filters."""

    name: str
    args: tuple[Term | Argument, ...] = ()
    filters: Mapping[str, str] = field(default_factory=dict)

    @property
    def quantile(self) -> str | None:
        """The quantile of a `pNN` term as a decimal text (`0.99`), else None."""
        match = _QUANTILE.match(self.name)
        return None if match is None else _shift(match.group(1))

    @property
    def subject(self) -> str:
        """The first argument when it is a name (`latency`, `cache_hit`, a fault), else ''."""
        return self.args[0] if self.args and isinstance(self.args[0], str) else ""

    @property
    def selection(self) -> Mapping[str, str]:
        """The filters that select what it reads, without its options."""
        return {name: value for name, value in self.filters.items() if name not in OPTIONS}

    @property
    def parts(self) -> tuple[Term, ...]:
        """The terms among its arguments: two in `ratio(p50(a), p50(b))`."""
        return tuple(arg for arg in self.args if isinstance(arg, Term))

    @property
    def condition(self) -> Condition | None:
        """The comparison among its arguments, of which a term takes one at most."""
        return next((arg for arg in self.args if isinstance(arg, Condition)), None)

    @property
    def inner(self) -> tuple[Term, ...]:
        """The measures among its arguments, also those that it compares."""
        compared = () if self.condition is None else (self.condition.term,)
        return (*self.parts, *(term for term in compared if term.name not in LATENCIES))

    @property
    def measured(self) -> str:
        """What the values are that it reads of each request: `latency` in `share(latency <= 300ms)`."""
        return self.subject if self.condition is None else self.condition.term.subject or self.condition.term.name

    def quantity(self, index: int) -> Quantity:
        """An argument that is a quantity. Raises TypeError where it is none, which a checked term never does."""
        value = self.args[index]
        if not isinstance(value, Quantity):
            raise TypeError(f"{self}: argument {index + 1} is not a quantity")
        return value

    def __str__(self) -> str:
        parts = [_quoted(arg) if isinstance(arg, str) else str(arg) for arg in self.args]
        parts += [f"{key}={_quoted(value)}" for key, value in self.filters.items()]
        return f"{self.name}({', '.join(parts)})" if parts else self.name


@dataclass(frozen=True, slots=True)
class Objective:
    """A declared target: `p99(latency) <= 500ms during baseline`; `for_s` only in an abort condition.

    `statement`: as written, or as `faultload.spec.statements` resolved it; None: not written. `slo`: for a measure
    that takes one, what a rate must meet to count as sustained.
    """

    term: Term
    operator: str
    target: Quantity
    phase: str | None = None
    for_s: float | None = None
    slo: tuple[Objective, ...] = ()
    statement: Statement | None = None

    @property
    def of_run(self) -> bool:
        """Whether it speaks of this run only; one that nobody resolved speaks of the system."""
        return self.statement == "run"

    def __str__(self) -> str:
        text = f"{self.term} {self.operator} {self.target}"
        if self.phase is not None:
            text += f" during {_quoted(self.phase)}"
        if self.statement is not None:
            text += f" of {self.statement}"
        return text if self.for_s is None else f"{text} for {self.for_s:g}s"


def _shift(percent: str) -> str:
    """A percentage as a share, digit by digit: 99.9 -> 0.999, without floating point."""
    whole, _, rest = percent.partition(".")
    return "0." + whole.zfill(2) + rest


def _quoted(text: str) -> str:
    if re.fullmatch(r"[\w.:#-]+", text):
        return text
    return f"'{text}'" if '"' in text else f'"{text}"'
