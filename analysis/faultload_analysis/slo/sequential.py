"""When to stop early: Wald's sequential probability ratio test on errors, to avoid wasting load."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import numpy.typing as npt

from faultload_analysis.evidence.dependence import Array
from faultload_analysis.evidence.inputs import checked_counts


class Stop(StrEnum):
    """What a sequential test says so far: CONTINUE, FAIL or PASS."""

    CONTINUE = "continue"
    FAIL = "fail"
    PASS = "pass"


@dataclass(frozen=True, slots=True)
class SequentialPlan:
    """Wald's SPRT of a bad share: `acceptable` (p0) against `unacceptable` (p1), 0 < p0 < p1 < 1.

    After n outcomes with k bad: fail when k >= s n + h_fail, pass when k <= s n - h_pass, with
    D = ln(p1 (1-p0) / (p0 (1-p1))), s = ln((1-p0) / (1-p1)) / D, h_fail = ln((1-beta) / alpha) / D,
    h_pass = ln((1-alpha) / beta) / D (Wald 1947, ch. 5). At p0 it fails with at most alpha / (1-beta), at p1 it
    passes with at most beta / (1-alpha), for independent outcomes, whenever one stops looking.
    ValueError for shares out of order, or alpha + beta >= 1.
    """

    acceptable: float
    unacceptable: float
    alpha: float = 0.05
    beta: float = 0.05

    def __post_init__(self) -> None:
        if not 0.0 < self.acceptable < self.unacceptable < 1.0:
            raise ValueError(f"needs 0 < acceptable < unacceptable < 1: {self}")
        if not (self.alpha > 0 and self.beta > 0 and self.alpha + self.beta < 1):
            raise ValueError(f"needs alpha, beta > 0 and alpha + beta < 1: {self}")

    @property
    def _log_odds(self) -> float:
        p0, p1 = self.acceptable, self.unacceptable
        return math.log(p1 / p0) + math.log1p(-p0) - math.log1p(-p1)

    @property
    def slope(self) -> float:
        """s: the bad share along which both lines run."""
        return (math.log1p(-self.acceptable) - math.log1p(-self.unacceptable)) / self._log_odds

    @property
    def fail_height(self) -> float:
        """h_fail: how many bad outcomes above the slope fail."""
        return math.log((1.0 - self.beta) / self.alpha) / self._log_odds

    @property
    def pass_height(self) -> float:
        """h_pass: how many bad outcomes below the slope pass."""
        return math.log((1.0 - self.alpha) / self.beta) / self._log_odds

    @property
    def earliest_pass(self) -> int:
        """The fewest outcomes, all good, that pass."""
        return math.ceil(self.pass_height / self.slope)

    def fails_within(self, bad: int) -> int:
        """The most outcomes within which `bad` bad ones still fail; 0 when they never do."""
        return max(0, math.floor((bad - self.fail_height) / self.slope))


class EarlyStop:
    """Watches a run by slices and says when going on is pointless.

    Failures under faults come in bursts, and a burst of one outage is not many independent outcomes. So with
    `slice_limit` each slice is one outcome: bad when more than that share of its requests is bad, and the plan's
    shares are shares of slices. Without it every request is an outcome, which only holds for failures that are
    independent: then use it as a guard against gross failure. It never fails before `least` outcomes, and never
    passes before all planned faults ran, since a pass says nothing about a fault that is yet to come.
    """

    def __init__(self, plan: SequentialPlan, *, least: int = 0, slice_limit: float | None = None) -> None:
        """ValueError for a negative `least` or a slice limit outside [0, 1)."""
        if least < 0 or (slice_limit is not None and not 0.0 <= slice_limit < 1.0):
            raise ValueError(f"not an early stop: least {least}, slice limit {slice_limit}")
        self.plan = plan
        self.least = least
        self.slice_limit = slice_limit
        self.n = 0
        self.bad = 0
        self.decision = Stop.CONTINUE

    def add(self, total: npt.ArrayLike, bad: npt.ArrayLike, *, all_faults_ran: bool = False) -> Stop:
        """The next slices in time order: requests and bad ones of each, shape (m,). Returns the decision so far.

        Looked at after every slice. A FAIL is final, even when later slices are good; a PASS needs `all_faults_ran`
        and is final then. Empty slices are no outcome.
        ValueError as `inputs.checked_counts`.
        """
        totals, bads = checked_counts(total, bad)
        if self.decision is not Stop.CONTINUE:
            return self.decision
        outcomes, wrong = self._outcomes(totals, bads)
        n, k = self.n + np.cumsum(outcomes), self.bad + np.cumsum(wrong)
        fails = np.flatnonzero((k >= self.plan.slope * n + self.plan.fail_height) & (n >= self.least))
        passes = np.flatnonzero((k <= self.plan.slope * n - self.plan.pass_height) & (n >= self.least))
        at = n.size - 1
        if fails.size and not (all_faults_ran and passes.size and passes[0] < fails[0]):
            self.decision, at = Stop.FAIL, int(fails[0])
        elif passes.size and all_faults_ran:
            self.decision, at = Stop.PASS, int(passes[0])
        if n.size:
            self.n, self.bad = int(n[at]), int(k[at])
        return self.decision

    def _outcomes(self, total: Array, bad: Array) -> tuple[Array, Array]:
        if self.slice_limit is None:
            return total, bad
        seen = total > 0
        return seen.astype(np.float64), (seen & (bad > self.slice_limit * total * (1 + 1e-12))).astype(np.float64)

    @property
    def sentence(self) -> str:
        """Why it says what it says."""
        unit = "requests" if self.slice_limit is None else "slices"
        seen = f"{self.bad} of {self.n} {unit} were bad"
        line = self.plan.slope * self.n + self.plan.fail_height
        return {
            Stop.FAIL: f"{seen}, {line:.1f} are enough to say that more than {self.plan.acceptable:.3%} are",
            Stop.PASS: f"{seen}, few enough to say that fewer than {self.plan.unacceptable:.3%} are",
            Stop.CONTINUE: f"{seen}, which decides nothing yet",
        }[self.decision]
