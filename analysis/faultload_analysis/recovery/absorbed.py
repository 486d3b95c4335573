"""When a fault without an impact was absorbed for certain, and what could have been missed."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from faultload_analysis.evidence.dependence import Counts
from faultload_analysis.latency.slices import Slices
from faultload_analysis.recovery.excess import Events, is_excess
from faultload_analysis.recovery.outcome import Recovery
from faultload_analysis.recovery.slice_rule import SliceRule

WORST_MISSED = 0.2
"""Where more bad requests than this share could have been missed nothing is called absorbed."""


def unknown(why: str, *, baseline_ok: bool) -> Recovery:
    """The recovery of a fault of which nothing can be said."""
    return Recovery(None, None, None, None, False, False, None, None, baseline_ok, why)


@dataclass(frozen=True, slots=True)
class Caught:
    """The requests in flight at the injection: all of them, those that failed, and those that were bad."""

    total: int = 0
    failed: int = 0
    over: int = 0


@dataclass(frozen=True, slots=True)
class Watch:
    """The slices after an injection in which no incident began.

    `over`: bad requests of each slice of `cut`, shape (k,). `sparse`: the usual requests of a slice where empty
    ones count, else None. `caught`: as in `recover`.
    """

    cut: Slices
    rule: SliceRule
    over: Counts
    injected_s: float
    until_s: float
    hold_s: float
    undone_s: float | None
    sparse: float | None
    caught: Caught

    def unimpaired(self) -> Recovery:
        """Absorbed when it was watched for long enough, and the baseline explains all bad requests."""
        cut, sparse = self.cut, self.sparse
        first = cut.index_at(self.injected_s)
        ends = np.minimum(cut.starts + cut.width_s, min(self.until_s, cut.end_s))
        spans = np.maximum(0.0, ends - np.maximum(cut.starts, self.injected_s))[first:]
        counted = spans[cut.total[first:] > 0] if sparse is None else spans
        seen, all_of_it = float(counted.sum()), float(spans.sum())
        watched = cut.total[first:][spans > 0].any() and seen >= max(self.hold_s, 0.5 * all_of_it) - 1e-6
        if not watched or (self.undone_s is not None and min(self.until_s, cut.end_s) < self.undone_s - 1e-6):
            return unknown(f"no impact seen, but requests were watched for {seen:.1f} s only", baseline_ok=True)
        after = slice(first, first + int(np.count_nonzero(spans)))
        total, bad = int(cut.total[after].sum()), int(self.over[after].sum())
        if 2 * bad >= total or (sparse is not None and total < 0.5 * sparse * np.count_nonzero(spans)):
            return unknown(f"no impact for certain: {bad} of only {total} requests were bad", baseline_ok=True)
        return self._tested(after)

    def _tested(self, after: slice) -> Recovery:
        for part in (self._open(after), after):
            why = self._excess(part)
            if why:
                return unknown(why, baseline_ok=True)
        missed = Events.of(self.cut.total[after], self.over[after]).most()
        failed = int(self.cut.failed[after].sum()) + self.caught.failed
        total = int(self.cut.total[after].sum()) + self.caught.total
        if missed > WORST_MISSED:
            return unknown(
                f"no impact seen, but {missed:.0%} of the {total} requests could have been bad unseen",
                baseline_ok=True,
            )
        bursts = self.rule.bursts
        usual = bursts is not None and bursts.failed > 0
        few = "no more at a time than in bursts of the baseline" if usual else "too few at a time for an impact"
        what = f"{failed} of {total} requests failed, {few}" if failed else ""
        why = f"absorbed: {what or 'users saw no impact'} (at most {100 * missed:.2g} % of requests)"
        return Recovery(None, None, None, 0.0, True, True, None, 0.0, True, why, low_s=0.0, high_s=0.0)

    def _open(self, after: slice) -> slice:
        """The slices while the fault was open."""
        if self.undone_s is None:
            return after
        return slice(after.start, min(after.stop, self.cut.index_at(self.undone_s - 1e-6) + 1))

    def _excess(self, part: slice) -> str:
        """What the requests of some slices suffered that the baseline does not explain; empty when nothing."""
        total = self.cut.total[part]
        for usual, counts, caught, what in (
            (self.rule.failed, self.cut.failed[part], self.caught.failed, "failed"),
            (self.rule.over, self.over[part], self.caught.over, "failed or were slow"),
        ):
            seen = Events.of(total, counts)
            seen = replace(seen, total=seen.total + self.caught.total, events=seen.events + caught)
            if usual is not None and is_excess(seen, usual):
                return (
                    f"not absorbed, and too little at a time to be dated: {seen.events} of {seen.total} requests "
                    f"{what} ({seen.share:.2%}), of the baseline {usual.events} of {usual.total} "
                    f"({usual.share:.2%})"
                )
        return ""
