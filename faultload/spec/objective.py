"""The objective expression: parses, checks and prints what a scenario declares."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import get_args

from faultload.spec.measures import check_term, known_filters, measure_of, measures
from faultload.spec.mistakes import nearest
from faultload.spec.term import Argument, Condition, Objective, ObjectiveError, Statement, Term
from faultload.spec.units import Quantity, UnitError, duration, parse

OPERATORS = ("<=", ">=", "==", "<", ">")
FIXED_PHASES = ("baseline", "fault", "recovery", "warmup", "cooldown", "all")

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
        args: list[Term | Argument] = []
        filters: dict[str, str] = {}
        if self.peek()[1] == "(" and self.peek()[0] == "mark":
            self.take("(")
            while self.peek()[1] != ")":
                self._argument(args, filters)
                if self.peek()[1] != ")":
                    self.take(",")
            self.take(")")
        return Term(name, tuple(args), filters)

    def _argument(self, args: list[Term | Argument], filters: dict[str, str]) -> None:
        kind, text, column = self.peek()
        after = self._tokens[min(self._at + 1, len(self._tokens) - 1)]
        if kind == "word" and after[0] == "mark" and after[1] == "=":
            if text not in known_filters():
                near = nearest(text, known_filters())
                raise ObjectiveError(f"unknown filter '{text}' (column {column}); {near}")
            if text in filters:
                raise ObjectiveError(f"filter '{text}' appears twice (column {column})")
            self.take()
            self.take("=")
            filters[text] = self.name("a value")
        elif kind == "word" and (after[0] == "op" or after[:2] == ("mark", "(")):
            term = self.term()
            args.append(Condition(term, self.take(), self._quantity()) if self.peek()[0] == "op" else term)
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
        statement = None if abort else self._statement()
        if abort and self.peek()[1] == "for":
            self.take()
            try:
                for_s = duration(self.name("a duration"))
            except UnitError as error:
                raise ObjectiveError(str(error)) from None
        kind, text, column = self.peek()
        if kind != "end":
            raise ObjectiveError(f"'{text}' is unexpected (column {column})")
        return Objective(term, operator, target, phase, for_s, statement=statement)

    def _statement(self) -> Statement | None:
        if self.peek()[1] != "of":
            return None
        self.take()
        kinds: tuple[Statement, ...] = get_args(Statement)
        column, text = self.peek()[2], self.name("run or system")
        kind = next((one for one in kinds if one == text), None)
        if kind is None:
            raise ObjectiveError(f"wanted `of run` or `of system`, found 'of {text}' (column {column})")
        return kind


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
    watched = [name for one in measures() for name in one.watched]
    if str(objective.term) not in watched or objective.phase is not None:
        raise ObjectiveError(f"an abort condition can use {', '.join(watched)}, without filters or `during`")
    return objective


def _check(objective: Objective) -> None:
    check_term(objective.term)
    for inner in objective.term.inner:
        if "stall" in inner.filters:
            raise ObjectiveError(f"{objective.term.name} takes no stall: only a quantile of latency by itself does")
    measure = measure_of(objective.term)
    if measure.whole_run and objective.phase is not None:
        raise ObjectiveError(f"{objective.term.name} is about the whole run: leave out `during {objective.phase}`")
    measure.check_target(objective)
    kinds = measure.statements_of(objective.term)
    if objective.statement is not None and objective.statement not in kinds:
        raise ObjectiveError(
            f"{objective.term.name} always speaks of the {kinds[0]}: leave out `of {objective.statement}`"
        )
