"""Which order statistic is which quantile, in exact arithmetic."""

from __future__ import annotations

import math
from decimal import Decimal
from fractions import Fraction

Probability = float | Fraction | Decimal


def exact_probability(p: Probability) -> Fraction:
    """p as an exact fraction; a float means the decimal it prints as, so 0.07 is 7/100."""
    if isinstance(p, float) and not math.isfinite(p):
        raise ValueError(f"a quantile lies in (0, 1], not {p}")
    fraction = Fraction(str(float(p))) if isinstance(p, float) else Fraction(p)
    if not 0 < fraction <= 1:
        raise ValueError(f"a quantile lies in (0, 1], not {p}")
    return fraction


def rank(n: int, p: Probability) -> int:
    """ceil(n p) in exact arithmetic, 1-based. ValueError when n < 1 or p is not in (0, 1]."""
    if n < 1:
        raise ValueError("no samples have no rank")
    return math.ceil(n * exact_probability(p))
