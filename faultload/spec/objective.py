"""The objective expression: what a scenario declares, parsed, checked and printed."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from faultload.spec.units import Dimension, Quantity, UnitError, duration, parse

OPERATORS = ("<=", ">=", "==", "<", ">")
FIXED_PHASES = ("baseline", "fault", "recovery", "warmup", "cooldown", "all")
LATENCIES = ("latency", "service_time")
METRICS = {"rss": "rss_bytes", "cpu": "cpu_percent", "fds": "fds"}
_METRIC_DIMENSION: dict[str, Dimension] = {"rss": "bytes", "cpu": "share", "fds": "number"}
_QUANTILE = re.compile(r"p(\d{1,2}(?:\.\d+)?)\Z")
_FILTERS = ("request", "journey", "variant", "service", "instance", "events")

# name -> dimension of the value (None: that of its argument)
_FUNCTIONS: dict[str, Dimension | None] = {
    "availability": "share",
    "error_rate": "share",
    "throughput": "rate",
    "iterations": "number",
    "mttr": "time",
    "ttr": "time",
    "ttd": "time",
    "mtbf": "time",
    "lost_writes": "number",
    "budget": "share",
    "burn_rate": "number",
    "capacity": "rate",
    "recovery_after_overload": "time",
    "ratio": "number",
    "mean": None,
    "min": None,
    "max": None,
    "median": None,
    "slope": None,
}
_NO_ARGUMENTS = ("lost_writes", "mtbf", "capacity", "recovery_after_overload")
_OF_REQUESTS = ("availability", "error_rate", "throughput")
_OF_RUN = (*_NO_ARGUMENTS, "ttr", "ttd", "mttr")
_REQUEST_FILTERS = ("request", "journey", "variant")


class ObjectiveError(ValueError):
    """An expression that is no objective: the message says what and where."""


@dataclass(frozen=True, slots=True)
class Term:
    """A call such as `p99(latency, journey=Search)`: name, positional arguments, filters."""

    name: str
    args: tuple[Term | Quantity | str, ...] = ()
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

    def __str__(self) -> str:
        parts = [str(arg) for arg in self.args]
        parts += [f"{key}={_quoted(value)}" for key, value in self.filters.items()]
        return f"{self.name}({', '.join(parts)})" if parts else self.name


@dataclass(frozen=True, slots=True)
class Objective:
    """A declared target: `p99(latency) <= 500ms during baseline`; `for_s` only in an abort condition."""

    term: Term
    operator: str
    target: Quantity
    phase: str | None = None
    for_s: float | None = None

    @property
    def of_requests(self) -> bool:
        """Whether it judges requests by latency, availability or error rate."""
        return self.term.subject in LATENCIES or self.term.name in ("availability", "error_rate")

    def __str__(self) -> str:
        text = f"{self.term} {self.operator} {self.target}"
        if self.phase is not None:
            text += f" during {_quoted(self.phase)}"
        return text if self.for_s is None else f"{text} for {self.for_s:g}s"


def _shift(percent: str) -> str:
    """A percentage as a share, digit by digit: 99.9 -> 0.999, without floating point."""
    whole, _, rest = percent.partition(".")
    return "0." + whole.zfill(2) + rest


def _quoted(text: str) -> str:
    if re.fullmatch(r"[\w.:#-]+", text):
        return text
    return f"'{text}'" if '"' in text else f'"{text}"'


_TOKEN = re.compile(
    r"""\s*(?:
      (?P<string>"[^"]*"|'[^']*')
    | (?P<op><=|>=|==|<|>)
    | (?P<mark>[(),=])
    | (?P<word>[^\s(),=<>"']+)
    )""",
    re.VERBOSE,
)


def _tokens(text: str) -> Iterator[tuple[str, str, int]]:
    position = 0
    while text[position:].strip():
        match = _TOKEN.match(text, position)
        if match is None:
            raise ObjectiveError(f"cannot read '{text[position:].strip()}' (column {position + 1})")
        kind = match.lastgroup or ""
        yield kind, match.group(kind), match.start(kind) + 1
        position = match.end()
    yield "end", "", len(text) + 1


class _Parser:
    def __init__(self, text: str) -> None:
        self._tokens = list(_tokens(text))
        self._at = 0

    def peek(self) -> tuple[str, str, int]:
        return self._tokens[self._at]

    def take(self, wanted: str | None = None) -> str:
        kind, text, column = self._tokens[self._at]
        if kind == "end" or (wanted is not None and text != wanted):
            found = "the end" if kind == "end" else f"'{text}'"
            raise ObjectiveError(f"wanted {wanted or 'more'}, found {found} (column {column})")
        self._at += 1
        return text

    def name(self, what: str) -> str:
        kind, text, column = self.peek()
        if kind == "string":
            return self.take()[1:-1]
        if kind != "word":
            raise ObjectiveError(f"wanted {what}, found '{text or 'the end'}' (column {column})")
        return self.take()

    def term(self) -> Term:
        kind, name, column = self.peek()
        if kind != "word":
            raise ObjectiveError(f"wanted a measure such as p99(latency), found '{name}' (column {column})")
        self.take()
        args: list[Term | Quantity | str] = []
        filters: dict[str, str] = {}
        if self.peek()[1] == "(" and self.peek()[0] == "mark":
            self.take("(")
            while self.peek()[1] != ")":
                self._argument(args, filters)
                if self.peek()[1] != ")":
                    self.take(",")
            self.take(")")
        return Term(name, tuple(args), filters)

    def _argument(self, args: list[Term | Quantity | str], filters: dict[str, str]) -> None:
        kind, text, column = self.peek()
        after = self._tokens[min(self._at + 1, len(self._tokens) - 1)]
        if kind == "word" and after[0] == "mark" and after[1] == "=":
            if text not in _FILTERS:
                raise ObjectiveError(f"unknown filter '{text}' (column {column}){_near(text, _FILTERS)}")
            if text in filters:
                raise ObjectiveError(f"filter '{text}' is here twice (column {column})")
            self.take()
            self.take("=")
            filters[text] = self.name("a value")
        elif kind == "word" and after[0] == "mark" and after[1] == "(":
            args.append(self.term())
        elif kind == "word" and re.match(r"[+-]?[\d.]", text):
            args.append(self._quantity())
        else:
            args.append(self.name("an argument"))

    def _quantity(self) -> Quantity:
        kind, text, column = self.peek()
        if kind != "word":
            raise ObjectiveError(f"wanted a number, found '{text or 'the end'}' (column {column})")
        try:
            quantity = parse(text)
        except UnitError as error:
            raise ObjectiveError(f"{error} (column {column})") from None
        self.take()
        return quantity

    def objective(self, abort: bool) -> Objective:
        term = self.term()
        kind, text, column = self.peek()
        if kind != "op":
            raise ObjectiveError(
                f"wanted one of {' '.join(OPERATORS)}, found '{text or 'the end'}' (column {column})"
            )
        operator = self.take()
        target = self._quantity()
        phase: str | None = None
        for_s: float | None = None
        if self.peek()[1] == "during":
            self.take()
            phase = self.name("a phase")
        if abort and self.peek()[1] == "for":
            self.take()
            try:
                for_s = duration(self.name("a duration"))
            except UnitError as error:
                raise ObjectiveError(str(error)) from None
        kind, text, column = self.peek()
        if kind != "end":
            raise ObjectiveError(f"'{text}' is too much (column {column})")
        return Objective(term, operator, target, phase, for_s)


def _near(word: str, known: tuple[str, ...] | list[str]) -> str:
    close = difflib.get_close_matches(word, known, n=1)
    return f"; did you mean '{close[0]}'?" if close else f"; known: {', '.join(known)}"


def parse_objective(text: str) -> Objective:
    """Parse and check an objective. Raises ObjectiveError."""
    objective = _Parser(text).objective(abort=False)
    _check(objective)
    return objective


def parse_abort(text: str) -> Objective:
    """Parse an abort condition: an objective over the last seconds, `error_rate > 90% for 20s`."""
    objective = _Parser(text).objective(abort=True)
    _check(objective)
    if objective.for_s is None or objective.for_s <= 0:
        raise ObjectiveError("an abort condition ends with `for` and a duration, such as `for 10s`")
    live = ("error_rate", "availability", "p50(latency)", "p99(latency)")
    if str(objective.term) not in live or objective.phase is not None:
        raise ObjectiveError(f"an abort condition reads {', '.join(live)}, without filters or `during`")
    return objective


def dimension_of(term: Term) -> Dimension | None:
    """The dimension of a term's value; None where an observation decides it."""
    if term.quantile is not None or term.name in ("mean", "min", "max", "median", "slope"):
        if term.subject in LATENCIES:
            return "time"
        metric = _METRIC_DIMENSION.get(term.subject)
        if term.name == "slope":
            rates: dict[Dimension | None, Dimension] = {"bytes": "byte_rate", "share": "share_rate"}
            return rates.get(metric, "rate")
        return metric
    return _FUNCTIONS[term.name]


def _check_term(term: Term) -> None:
    known = [*_FUNCTIONS, "p50", "p95", "p99"]
    if term.quantile is None and term.name not in _FUNCTIONS:
        raise ObjectiveError(f"unknown measure '{term.name}'{_near(term.name, known)}")
    if _statistic(term) and (len(term.args) != 1 or not term.subject):
        example = "rss" if term.name == "slope" else "latency"
        raise ObjectiveError(f"{term.name} takes one name, such as {term.name}({example})")
    if term.quantile is not None and float(term.quantile) == 0:
        raise ObjectiveError(f"{term.name} is no quantile: a percentage above 0, such as p50")
    if term.name == "slope" and term.subject in LATENCIES:
        raise ObjectiveError("slope reads an observation or a metric, such as slope(rss)")
    if term.name == "ratio":
        _check_ratio(term)
    if term.name in ("budget", "burn_rate"):
        _check_budget(term)
    if term.name in ("ttr", "ttd", "mttr") and (len(term.args) > 1 or (term.args and not term.subject)):
        raise ObjectiveError(f"{term.name} takes the name of one fault, or nothing")
    if term.name == "iterations" and term.subject not in ("", "failed", "ok"):
        raise ObjectiveError("iterations takes failed, ok or nothing")
    if term.name in (*_NO_ARGUMENTS, *_OF_REQUESTS) and term.args:
        raise ObjectiveError(f"{term.name} takes no argument")
    for name in term.filters:
        if name not in _filters_of(term):
            takes = ", ".join(_filters_of(term)) or "none"
            raise ObjectiveError(f"{term.name} takes no filter '{name}' (it takes: {takes})")


def _statistic(term: Term) -> bool:
    return term.quantile is not None or _FUNCTIONS.get(term.name, "number") is None


def _filters_of(term: Term) -> tuple[str, ...]:
    """The filters that a term obeys."""
    if term.name in _OF_REQUESTS or term.name == "burn_rate":
        return _REQUEST_FILTERS
    if term.name == "budget":
        return (*_REQUEST_FILTERS, "events")
    if term.name == "iterations":
        return ("journey", "variant")
    if not _statistic(term):
        return ()
    if term.subject in LATENCIES:
        return _REQUEST_FILTERS
    if term.subject in METRICS:
        return ("service", "instance")
    return ("journey", "variant", "service", "instance")


def _check_ratio(term: Term) -> None:
    parts = [arg for arg in term.args if isinstance(arg, Term)]
    same = len({part.name for part in parts}) == 1
    statistics = all(part.quantile is not None or part.name in ("mean", "median") for part in parts)
    if len(parts) != 2 or len(term.args) != 2 or not same or not statistics:
        raise ObjectiveError(
            "ratio takes a quantile, mean or median twice, such as ratio(p50(latency), p50(service_time))"
        )
    for part in parts:
        _check_term(part)
        if part.subject in METRICS or {"service", "instance"} & set(part.filters):
            raise ObjectiveError("ratio reads latency, service_time or observations, not metrics")


def _check_budget(term: Term) -> None:
    first = term.args[0] if term.args else None
    if not isinstance(first, Quantity) or first.dimension != "share" or not 0 < first.value < 1:
        raise ObjectiveError(f"{term.name} takes a target share, such as {term.name}(99.9%)")
    if term.name == "burn_rate" and len(term.args) != 1:
        raise ObjectiveError("burn_rate takes one share, such as burn_rate(99.9%)")
    if term.name == "burn_rate":
        return
    second = term.args[1] if len(term.args) == 2 else None
    if not isinstance(second, Quantity) or second.dimension != "time" or second.value <= 0:
        raise ObjectiveError("budget takes a share and a window, such as budget(99.9%, 30d)")
    events = term.filters.get("events")
    if events is not None and not _above_zero(events):
        raise ObjectiveError(f"events={events}: wanted the number of requests in a window, such as events=1000000")


def _above_zero(text: str) -> bool:
    try:
        quantity = parse(text)
    except UnitError:
        return False
    return quantity.dimension == "number" and quantity.value > 0


def _check(objective: Objective) -> None:
    _check_term(objective.term)
    if objective.term.name in _OF_RUN and objective.phase is not None:
        raise ObjectiveError(f"{objective.term.name} speaks of the whole run: leave out `during {objective.phase}`")
    wanted = dimension_of(objective.term)
    got = objective.target.dimension
    if objective.term.name in ("availability", "error_rate") and not 0 <= objective.target.value <= 1:
        hint = f"; did you mean {objective.target}%?" if got == "number" else ""
        raise ObjectiveError(f"{objective.target} is no share between 0% and 100%{hint}")
    if wanted == "number" and got == "factor":
        return
    if wanted is not None and got != wanted and not (wanted == "share" and got == "number"):
        example = {
            "time": "500ms",
            "share": "99.9%",
            "rate": "100/s",
            "bytes": "100MB",
            "byte_rate": "100MB/h",
            "share_rate": "1%/h",
            "number": "0",
            "factor": "3x",
        }[wanted]
        raise ObjectiveError(
            f"{objective.term} is compared with a {wanted.replace('_', ' ')} such as {example}, "
            f"not with '{objective.target}'"
        )
