"""Which seconds of a run the generator spoiled, given the tightest latency bound that covers each second."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from faultload.record.measured import Measured
from faultload.record.rows import Mask
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
    limits = np.array([limit_for(float(bound)) for bound in tightest])
    longest = limit_for(measured.info.load.timeout_s)
    found = {
        limit: union([_of_worker(measured, worker, slips, limit) for worker in _workers(measured)])
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


def _workers(measured: Measured) -> range:
    return range(measured.info.load.workers)


def _of_worker(measured: Measured, worker: int, slips: Slips, limit_s: float) -> Spoiled:
    health = measured.health.get(worker, [])
    # a health event speaks of the second that it ends
    moments = [event.t - 0.5 for event in health]
    return spoiled_seconds(
        slips,
        moments,
        [_number(event.loop_lag_p99_ms) / 1e3 for event in health],
        [_number(event.cpu_percent) for event in health],
        limit_s=limit_s,
        median_latency_s=[_number(event.p50_ms) / 1e3 for event in health],
    )


def _number(value: float | None) -> float:
    return math.nan if value is None else value
