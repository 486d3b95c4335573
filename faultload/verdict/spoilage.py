"""Which seconds of a run the generator spoiled, given the tightest latency bound that covers each second."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from faultload.record.events import Health
from faultload.record.measured import Measured
from faultload.record.rows import Floats, Mask
from faultload.spec.measures import measure_of
from faultload.spec.term import Objective
from faultload.verdict.phases import Phases
from faultload_analysis.latency.generator import Slips, Spoiled, limit_for, spoiled_seconds, union


def spoilage(
    measured: Measured,
    slips: Slips,
    objectives: Sequence[Objective],
    phases: Phases,
    recovery_limit_s: float | None,
) -> Spoiled:
    """The spoiled seconds of the load, over all its workers; a worker that left no health spoils all of them.

    `slips`: those of all workers together, over the load.

    What reads a second: the latency objectives of its phase, recovery (`recovery_limit_s`, the latency above
    which a request is bad) where an objective asks for it, and always the request time-out, which decides
    whether a request counts as failed. A second in which most requests failed is an outage of the target, and not
    spoiled, unless the generator was so late that it may have made them fail: by 5 % of the time-out.
    """
    start = math.floor(slips.start_s)
    tightest = np.full(slips.p99_s.size, measured.info.load.timeout_s)
    for one in objectives:
        measure = measure_of(one.term)
        bound = measure.resolution_s(one, recovery_limit_s)
        if bound is None:
            continue
        if measure.whole_run:
            tightest = np.minimum(tightest, bound)
        else:
            seconds = (phases.seconds(one.phase) - start).astype(np.int64)
            seconds = seconds[(seconds >= 0) & (seconds < tightest.size)]
            tightest[seconds] = np.minimum(tightest[seconds], bound)
    bounds, which = np.unique(tightest, return_inverse=True)
    limits = np.array([limit_for(float(bound)) for bound in bounds])[which]
    longest = limit_for(measured.info.load.timeout_s)
    told = [_Told.of(measured.health.get(worker, [])) for worker in range(measured.info.load.workers)]
    found = {
        limit: union([one.spoiled(slips, limit) for one in told])
        for limit in sorted({limit_for(None), longest, *limits.tolist()})
    }
    strictest = found[min(limits.tolist(), default=limit_for(None))]
    mask = strictest.mask.copy()
    for limit, part in found.items():
        here = limits == limit
        mask[here] = part.mask[here]
    excused = mask & ~found[longest].untimely
    excused[excused] = _failing(measured, start, np.flatnonzero(excused))
    reasons = strictest.reasons
    if excused.any():
        reasons = (*reasons, f"{np.count_nonzero(excused)} s of it were an outage of the target, and count")
    return replace(strictest, mask=mask & ~excused, reasons=reasons)


def _failing(measured: Measured, start_s: float, seconds: NDArray[np.int64]) -> Mask:
    """Shape (n,): in which seconds from `start_s` most of the requests failed that were due in them, or ended."""
    failing = np.zeros(seconds.size, dtype=np.bool_)
    for stretch in np.split(np.arange(seconds.size), np.flatnonzero(np.diff(seconds) > 1) + 1):
        if not stretch.size:
            continue
        first, count = int(seconds[stretch[0]]), stretch.size
        due, ended = np.zeros((2, count), np.int64), np.zeros((2, count), np.int64)
        begin = start_s + first
        for part in measured.record.times(begin - measured.info.load.timeout_s, begin + count):
            for counts, moments in ((due, part.intended_s), (ended, part.ended_s)):
                second = np.floor(moments - begin).astype(np.int64)
                inside = (second >= 0) & (second < count)
                counts[0] += np.bincount(second[inside], minlength=count)
                counts[1] += np.bincount(second[inside & ~part.ok], minlength=count)
        for total, failed in (due, ended):
            failing[stretch] |= (total > 0) & (2 * failed >= total)
    return failing


@dataclass(frozen=True)
class _Told:
    """What a load process told of itself, shape (n,) each; seconds, CPU in percent."""

    moments: Floats
    loop_lag_s: Floats
    cpu_percent: Floats
    median_s: Floats

    @classmethod
    def of(cls, health: Sequence[Health]) -> _Told:
        # a health event speaks of the second that it ends
        rows = ((e.t - 0.5, _number(e.loop_lag_p99_ms), _number(e.cpu_percent), _number(e.p50_ms)) for e in health)
        moments, lag_ms, cpu, median_ms = np.array([*rows], dtype=np.float64).reshape(-1, 4).T
        return cls(moments, lag_ms / 1e3, cpu, median_ms / 1e3)

    def spoiled(self, slips: Slips, limit_s: float) -> Spoiled:
        return spoiled_seconds(
            slips,
            self.moments,
            self.loop_lag_s,
            self.cpu_percent,
            limit_s=limit_s,
            median_latency_s=self.median_s,
        )


def _number(value: float | None) -> float:
    return math.nan if value is None else value
