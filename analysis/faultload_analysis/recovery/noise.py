"""How many bad requests of a slice normal noise explains."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from faultload_analysis.evidence.dependence import Counts
from faultload_analysis.evidence.distributions import binomial_isf

NOISE = 1e-3
NOISE_ALONE = 1e-4


@lru_cache(maxsize=65536)
def noise(n: int, share: float, probability: float = NOISE) -> int:
    """The largest count that normal noise explains: the least c with P(Bin(n, share) > c) <= probability."""
    return binomial_isf(probability * (1 + 1e-9), n, share)


def noise_of(total: Counts, share: float, probability: float = NOISE) -> Counts:
    """`noise` of each slice, shape (k,)."""
    sizes, which = np.unique(total, return_inverse=True)
    each = [noise(int(n), share, probability) if n else 0 for n in sizes]
    return np.array(each, dtype=np.int64)[which]
