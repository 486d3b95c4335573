"""What an estimate says about a target: PASS, FAIL, INCONCLUSIVE or INVALID, and why, in one sentence."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from enum import StrEnum


class Verdict(StrEnum):
    """PASS, FAIL, INCONCLUSIVE or INVALID; INVALID is about the measurement, never about the system."""

    PASS = "PASS"
    FAIL = "FAIL"
    INCONCLUSIVE = "INCONCLUSIVE"
    INVALID = "INVALID"


_WORST_FIRST = (Verdict.INVALID, Verdict.FAIL, Verdict.INCONCLUSIVE, Verdict.PASS)


def worst(verdicts: Iterable[Verdict]) -> Verdict:
    """The worst of `verdicts` (INVALID, FAIL, INCONCLUSIVE, PASS); nothing judged is INCONCLUSIVE."""
    seen = set(verdicts)
    return next((v for v in _WORST_FIRST if v in seen), Verdict.INCONCLUSIVE)


@dataclass(frozen=True, slots=True)
class Estimate:
    """A measured value with two one-sided bounds.

    `low` and `high` are each a one-sided bound (95 % unless the method was asked otherwise); None is an
    open end: nothing can be said on that side. `value` None: there was nothing to measure. `value` may be
    +inf (a quantile that falls among the failures, a recovery that never came). `n` counts what was
    observed (requests, faults, writes, slices), `n_eff` what they are worth as independent observations.
    `method` names how the bounds were found; `why` is a remark for the reader. `missed`: how many of the n missed
    the target by themselves (took longer, failed); None where nothing can be counted so.
    """

    value: float | None
    low: float | None
    high: float | None
    n: int
    n_eff: float | None
    method: str
    why: str = ""
    missed: int | None = None

    def scaled(self, factor: float) -> Estimate:
        """The same estimate in another unit: value and bounds times `factor` (> 0)."""
        if not factor > 0:
            raise ValueError(f"a scale factor must be above 0, not {factor}")

        def times(x: float | None) -> float | None:
            return None if x is None else x * factor

        return replace(self, value=times(self.value), low=times(self.low), high=times(self.high))

    def complement(self) -> Estimate:
        """1 minus this estimate, bounds swapped: an availability as an error rate and back."""

        def rest(x: float | None) -> float | None:
            return None if x is None else 1.0 - x

        return replace(self, value=rest(self.value), low=rest(self.high), high=rest(self.low))


@dataclass(frozen=True, slots=True)
class Decision:
    """A verdict on one objective and the sentence that explains it."""

    verdict: Verdict
    why: str


def exact(value: float, n: int, *, why: str = "") -> Estimate:
    """An estimate that is a plain fact (a count, an observed maximum): both bounds are the value."""
    return Estimate(value, value, value, n, None, "exact", why)


def no_data(why: str, *, n: int = 0, method: str = "none") -> Estimate:
    """An estimate of nothing: it can never pass and never fail."""
    return Estimate(None, None, None, n, None, method, why)


OPERATORS = ("<=", "<", ">=", ">", "==")


def decide(
    operator: str,
    target: float,
    estimate: Estimate,
    *,
    fmt: Callable[[float], str],
    subject: str = "the value",
    untrusted: str = "",
    of_run: bool = False,
) -> Decision:
    """Judge `estimate` against `operator target` from its bounds.

    INVALID when the measurement cannot be trusted, for the reason in `untrusted`. Else PASS when the bound on the
    bad side meets the target, FAIL when the bound on the good side misses it, INCONCLUSIVE in between, and
    always INCONCLUSIVE without data. `==` is for exact counts: PASS only when both bounds are the value and it
    equals the target. `fmt` prints a value with its unit, `subject` names what was measured ("P99 of latency").

    `of_run`: the statement is about this run alone. What the run showed is then no inference: the value itself
    misses the target or does not, so that a FAIL needs no bound and no number of observations. A PASS does.

    Raises ValueError for an unknown operator or a NaN target.
    """
    decision = _decide(operator, target, estimate, fmt, subject, of_run)
    return Decision(Verdict.INVALID, f"{untrusted}; {decision.why}") if untrusted else decision


def _decide(
    operator: str, target: float, estimate: Estimate, fmt: Callable[[float], str], subject: str, of_run: bool
) -> Decision:
    if operator not in OPERATORS:
        raise ValueError(f"unknown operator {operator!r}: one of {', '.join(OPERATORS)}")
    if math.isnan(target):
        raise ValueError("the target is not a number")
    value, low, high = estimate.value, _number(estimate.low), _number(estimate.high)
    if value is None or math.isnan(value):
        return Decision(Verdict.INCONCLUSIVE, estimate.why or "there is no data to judge")
    verdict = _verdict(operator, target, value, low, high)
    # a share that is exactly the target may come out a rounding beside it
    seen = target if math.isclose(value, target, rel_tol=1e-12) else value
    missed = of_run and operator != "==" and not _meets(operator, seen, target)
    verdict = Verdict.FAIL if missed else verdict
    head = f"{subject} is {_text(value, fmt)}{' in this run' if of_run else ''}"
    bounds = "" if missed else _bounds_text(operator, verdict, low, high, value, fmt)
    counts = f"n {estimate.n}" + ("" if of_run or estimate.n_eff is None else f", n_eff {estimate.n_eff:.0f}")
    sentence = f"{head}{bounds} ({counts}); the target is {_operator_text(operator)}{_text(target, fmt)}"
    return Decision(verdict, f"{sentence}; {estimate.why}" if estimate.why else sentence)


def _number(bound: float | None) -> float | None:
    return None if bound is None or math.isnan(bound) else bound


def _verdict(operator: str, target: float, value: float, low: float | None, high: float | None) -> Verdict:
    if operator == "==":
        if low is not None and low == high == value:
            return Verdict.PASS if value == target else Verdict.FAIL
        outside = (low is not None and low > target) or (high is not None and high < target)
        return Verdict.FAIL if outside else Verdict.INCONCLUSIVE
    bad, good = (high, low) if operator in ("<=", "<") else (low, high)
    if bad is not None and _meets(operator, bad, target):
        return Verdict.PASS
    if good is not None and not _meets(operator, good, target):
        return Verdict.FAIL
    return Verdict.INCONCLUSIVE


def _meets(operator: str, x: float, target: float) -> bool:
    return {"<=": x <= target, "<": x < target, ">=": x >= target, ">": x > target}[operator]


def _text(x: float, fmt: Callable[[float], str]) -> str:
    return ("infinite" if x > 0 else "minus infinite") if math.isinf(x) else fmt(x)


def _operator_text(operator: str) -> str:
    return {"<=": "at most ", "<": "below ", ">=": "at least ", ">": "above ", "==": "exactly "}[operator]


def _bounds_text(
    operator: str,
    verdict: Verdict,
    low: float | None,
    high: float | None,
    value: float,
    fmt: Callable[[float], str],
) -> str:
    """The bound that decided, or both when nothing did."""
    if low is not None and low == high == value:
        return ""
    at_most = None if high is None or math.isinf(high) else f"at most {fmt(high)}"
    at_least = None if low is None else f"at least {_text(low, fmt)}"
    if operator != "==" and verdict is not Verdict.INCONCLUSIVE:
        upper_decides = (operator in ("<=", "<")) == (verdict is Verdict.PASS)
        chosen = at_most if upper_decides else at_least
        return f", {chosen} with 95 % confidence" if chosen else ""
    if at_least and at_most:
        return f", {at_least} and {at_most} with 95 % confidence each"
    if not (at_least or at_most):
        return ", with no bound on either side"
    open_end = "with no upper bound" if at_most is None else "with no lower bound"
    return f", {at_least or at_most} with 95 % confidence, {open_end}"
