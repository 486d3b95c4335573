"""Which seconds of a run its generator spoiled, by the tightest latency bound that reads each second."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from faultload.measured import Measured
from faultload.objective import Objective
from faultload.phases import Phases
from faultload_analysis.generator import Spoiled, lag_limit_for, limit_for, spoiled_seconds, union


def spoilage(measured: Measured, objectives: Sequence[Objective], phases: Phases) -> Spoiled:
    """The spoiled seconds of the load, over all its workers; a worker that left no health spoils all of them."""
    start, end = math.floor(measured.load_start_s), math.ceil(measured.load_end_s)
    bounds = [one for one in objectives if one.term.quantile is not None and one.term.subject == "latency"]
    limits = np.full(max(0, end - start), limit_for(None))
    found: dict[float, Spoiled] = {}
    if limits.size:
        tightest = np.full(limits.size, np.inf)
        for one in bounds:
            seconds = (phases.seconds(one.phase) - start).astype(np.int64)
            seconds = seconds[(seconds >= 0) & (seconds < tightest.size)]
            tightest[seconds] = np.minimum(tightest[seconds], one.target.value)
        limits = np.array([limit_for(None if math.isinf(bound) else float(bound)) for bound in tightest])
    for limit in {limit_for(None), *limits.tolist()}:
        found[limit] = union([_of_worker(measured, worker, start, end, limit) for worker in _workers(measured)])
    loosest = found[max(found)]
    mask = loosest.mask.copy()
    for limit, part in found.items():
        here = limits == limit
        mask[here] = part.mask[here]
    return replace(loosest, mask=mask)


def _workers(measured: Measured) -> range:
    return range(int(measured.info.get("load", {}).get("workers", 1)))


def _of_worker(measured: Measured, worker: int, start: int, end: int, limit_s: float) -> Spoiled:
    health = measured.health.get(worker, [])
    iterations = measured.iterations
    # a health event speaks of the second that it ends
    moments = [float(event["t"]) - 0.5 for event in health]
    return spoiled_seconds(
        iterations.intended_s,
        iterations.slip_s,
        moments,
        [_number(event.get("loop_lag_p99_ms")) / 1e3 for event in health],
        [_number(event.get("cpu_percent")) for event in health],
        start_s=start,
        end_s=end,
        limit_s=limit_s,
        lag_limit_s=[lag_limit_for(limit_s, _seconds(event.get("p50_ms"))) for event in health],
    )


def _seconds(milliseconds: object) -> float | None:
    return float(milliseconds) / 1e3 if isinstance(milliseconds, int | float) else None


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) else math.nan
