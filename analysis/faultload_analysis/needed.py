"""The minimum number of requests a statement needs: plain arithmetic for planning, without numpy."""

from __future__ import annotations

import math
from fractions import Fraction

SLOPE_POINTS, SLOPE_S = 30, 60.0
"""A slope needs so many points, over so many seconds."""
MEASURABLE = 60
"""From fewer requests it cannot be told how they depend on each other."""


def least_requests(share: Fraction, confidence: float = 0.95) -> int:
    """The fewest independent requests, all of them good, that show that at least `share` of all are good.

    The smallest n with share^n <= 1 - confidence. For a quantile the share is its p: the slowest of n bounds it
    from above. 299 for 0.99, 2995 for 0.999.
    ValueError unless share and confidence lie between 0 and 1.
    """
    if not 0 < share < 1:
        raise ValueError(f"a share lies between 0 and 1, not {share}")
    if not 0 < confidence < 1:
        raise ValueError(f"a confidence lies between 0 and 1, not {confidence}")
    each, all_ = math.log1p(-float(1 - share)), math.log1p(-confidence)
    needed = max(1, math.ceil(all_ / each))
    while needed * each > all_:
        needed += 1
    while needed > 1 and (needed - 1) * each <= all_:
        needed -= 1
    return needed
