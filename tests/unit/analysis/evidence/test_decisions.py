"""An estimate's bounds decide, and missing data never does."""

from __future__ import annotations

import math

import pytest

from faultload_analysis.evidence.verdict import Estimate, Verdict, decide, exact, no_data, worst


def ms(x: float) -> str:
    return f"{x * 1e3:.0f} ms"


def estimate(low: float | None, value: float, high: float | None) -> Estimate:
    return Estimate(value, low, high, 12000, 2100.0, "test")


@pytest.mark.parametrize(
    ("operator", "low", "high", "verdict"),
    [
        ("<=", 1.0, 5.0, Verdict.PASS),
        ("<", 1.0, 5.0, Verdict.INCONCLUSIVE),
        ("<", 1.0, 4.9, Verdict.PASS),
        ("<=", 5.0, 6.0, Verdict.INCONCLUSIVE),
        ("<", 5.0, 6.0, Verdict.FAIL),
        ("<=", 5.1, 6.0, Verdict.FAIL),
        ("<=", 5.1, None, Verdict.FAIL),
        ("<=", 1.0, None, Verdict.INCONCLUSIVE),
        ("<=", 1.0, math.inf, Verdict.INCONCLUSIVE),
        ("<=", math.inf, None, Verdict.FAIL),
        ("<=", None, None, Verdict.INCONCLUSIVE),
        ("<=", math.nan, math.nan, Verdict.INCONCLUSIVE),
        (">=", 5.0, 9.0, Verdict.PASS),
        (">", 5.0, 9.0, Verdict.INCONCLUSIVE),
        (">=", None, 4.9, Verdict.FAIL),
        (">", 4.0, 5.0, Verdict.FAIL),
        (">=", None, 9.0, Verdict.INCONCLUSIVE),
        ("==", 5.0, 5.5, Verdict.INCONCLUSIVE),
        ("==", 5.1, 5.5, Verdict.FAIL),
    ],
)
def test_bounds_decide(operator: str, low: float | None, high: float | None, verdict: Verdict) -> None:
    assert decide(operator, 5.0, estimate(low, 5.2, high), fmt=ms).verdict is verdict


def test_equality_is_for_exact_counts() -> None:
    assert decide("==", 0, exact(0, 100), fmt=str).verdict is Verdict.PASS
    assert decide("==", 0, exact(1, 100), fmt=str).verdict is Verdict.FAIL


@pytest.mark.parametrize("operator", ["<=", "<", ">=", ">", "=="])
def test_no_data_is_inconclusive_and_says_why(operator: str) -> None:
    decision = decide(operator, 0.0, no_data("no write was acknowledged"), fmt=ms)
    assert decision.verdict is Verdict.INCONCLUSIVE
    assert decision.why == "no write was acknowledged"


def test_the_sentence_reads_like_an_engineer_wrote_it() -> None:
    why = decide("<=", 0.5, estimate(0.29, 0.312, 0.361), fmt=ms, subject="P99").why
    assert why == (
        "P99 is 312 ms, at most 361 ms with 95 % confidence (n 12000, n_eff 2100); the target is at most 500 ms"
    )
    failed = decide("<=", 0.1, estimate(0.29, math.inf, None), fmt=ms, subject="P99").why
    assert failed.startswith("P99 is infinite, at least 290 ms with 95 % confidence")
    open_why = decide("<=", 0.3, estimate(0.29, 0.312, None), fmt=ms).why
    assert "at least 290 ms with 95 % confidence, with no upper bound" in open_why


def test_unknown_operators_and_targets_are_refused() -> None:
    with pytest.raises(ValueError, match="unknown operator"):
        decide("=<", 1.0, exact(1, 1), fmt=ms)
    with pytest.raises(ValueError, match="not a number"):
        decide("<=", math.nan, exact(1, 1), fmt=ms)


def test_worst_of_several() -> None:
    assert worst(list(Verdict)) is Verdict.INVALID
    assert worst([Verdict.PASS, Verdict.INCONCLUSIVE, Verdict.FAIL]) is Verdict.FAIL
    assert worst([Verdict.PASS, Verdict.INCONCLUSIVE]) is Verdict.INCONCLUSIVE
    assert worst([Verdict.PASS]) is Verdict.PASS
    assert worst([]) is Verdict.INCONCLUSIVE


def test_complement_and_scale_move_the_bounds_along() -> None:
    assert estimate(0.1, 0.2, None).complement().low is None
    assert estimate(0.1, 0.2, None).complement().high == 0.9
    assert estimate(0.1, 0.2, 0.3).scaled(10).high == 3.0
    with pytest.raises(ValueError, match="above 0"):
        estimate(0.1, 0.2, 0.3).scaled(-1)


def test_a_measurement_that_cannot_be_trusted_is_invalid_whatever_it_says() -> None:
    for value in (1.0, 9.0):
        decision = decide("<=", 5.0, exact(value, 3), fmt=str, untrusted="the clock stood still")
        assert decision.verdict is Verdict.INVALID
        assert decision.why.startswith("the clock stood still; the value is ")
