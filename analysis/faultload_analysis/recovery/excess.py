"""Whether more users failed or waited during a fault than the baseline explains, and what may have been missed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import special

from faultload_analysis.evidence.dependence import Counts, share_bounds

EXCESS = 1e-3


@dataclass(frozen=True, slots=True)
class Events:
    """How many of `total` requests were events of a kind (failed, or bad); each `clumping` of them count as one."""

    total: int
    events: int
    clumping: float = 1.0

    @classmethod
    def of(cls, total: npt.ArrayLike, events: npt.ArrayLike) -> Events:
        """From the counts of slices, shape (k,) each."""
        n, k = np.asarray(total, dtype=np.int64), np.asarray(events, dtype=np.int64)
        return cls(int(n.sum()), int(k.sum()), dispersion(n, k))

    @property
    def share(self) -> float:
        return self.events / max(1, self.total)

    def most(self, confidence: float = 0.95) -> float:
        """The upper bound on the share of events; 1 without requests."""
        if not self.total:
            return 1.0
        return share_bounds(self.events, self.total, inflation=self.clumping, confidence=confidence)[1]


def dispersion(total: Counts, events: Counts) -> float:
    """How much more events vary from slice to slice than binomially: Pearson's chi2 / df, at least 1."""
    held = total > 0
    n, k = total[held], events[held]
    share = k.sum() / max(1, n.sum())
    if n.size < 3 or not 0.0 < share < 1.0:
        return 1.0
    return max(1.0, float(np.sum((k - share * n) ** 2 / (share * (1.0 - share) * n))) / (n.size - 1))


def is_excess(seen: Events, usual: Events, *, probability: float = EXCESS) -> bool:
    """Whether `seen` holds more events than the baseline `usual` explains, at that probability.

    Given all events of both, those that were seen are binomial with the share of requests that were seen
    (Przyborowski & Wilenski 1940); every g of them count as one, g being the greater clumping of both.
    """
    if not (seen.events and seen.total and usual.total):
        return False
    clumping = max(seen.clumping, usual.clumping)
    k, others = seen.events / clumping, usual.events / clumping
    return float(special.betainc(k, others + 1.0, seen.total / (seen.total + usual.total))) < probability
