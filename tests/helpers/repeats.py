"""How often a statistical test repeats its experiment: a quarter of what it should, or all with `make test-all`."""

from __future__ import annotations

import os

from scipy.stats import binom

WHOLE = os.environ.get("FAULTLOAD_TEST_WHOLE") == "1"


def rounds(whole: int) -> int:
    """How many of `whole` repetitions to play."""
    return whole if WHOLE else max(1, whole // 4)


def most(n: int, share: float, chance: float) -> int:
    """The count that an event of probability `share` exceeds in n trials with at most that chance."""
    return int(binom.isf(chance, n, share))


def least(n: int, share: float, chance: float) -> int:
    """The count that an event of probability `share` falls below in n trials with at most that chance."""
    return n - most(n, 1.0 - share, chance)
