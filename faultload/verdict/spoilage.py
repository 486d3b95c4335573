"""Which seconds of a run the generator spoiled, given the tightest latency bound that covers each second."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from faultload.record.measured import Measured
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
    whether a request counts as failed.
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
    found = {
        limit: union([_of_worker(measured, worker, slips, limit) for worker in _workers(measured)])
        for limit in sorted({limit_for(None), *limits.tolist()})
    }
    strictest = found[min(limits.tolist(), default=limit_for(None))]
    mask = strictest.mask.copy()
    for limit, part in found.items():
        here = limits == limit
        mask[here] = part.mask[here]
    return replace(strictest, mask=mask)


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
