"""A run over time in at most 600 bins: rates, latency, errors; from the chunks of a run of any length."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from faultload_analysis.evidence.dependence import Array, Counts
from faultload_analysis.latency.slices import SliceBuilder

MOST_BINS = 600


@dataclass(frozen=True, slots=True)
class Timeline:
    """Equal bins of `width_s` (whole seconds) from `start_s` on.

    Shape (k,): `total` requests by intended start; `p50`, `p99` of the ok ones, seconds, NaN where there is
    none; `planned` and `begun` iterations, None when they were not given. `errors`: shape (outcomes, k), counts
    of the failed requests by index into `outcomes`.
    """

    start_s: float
    width_s: float
    total: Counts
    p50: Array
    p99: Array
    outcomes: tuple[str, ...]
    errors: Counts
    planned: Counts | None = None
    begun: Counts | None = None

    @property
    def edges(self) -> Array:
        """Shape (k + 1,), seconds."""
        return np.asarray(self.start_s + self.width_s * np.arange(self.total.size + 1), dtype=np.float64)

    @property
    def centres(self) -> Array:
        return np.asarray(self.edges[:-1] + self.width_s / 2, dtype=np.float64)

    @property
    def failed(self) -> Counts:
        return np.asarray(self.errors.sum(axis=0), dtype=np.int64)


class TimelineBuilder:
    """Builds a timeline over [start_s, end_s) from requests in order of intended start; others are left out."""

    def __init__(self, start_s: float, end_s: float, outcomes: Sequence[str]) -> None:
        """ValueError when there is no finite time between start and end."""
        if not -math.inf < start_s < end_s < math.inf:
            raise ValueError(f"no timeline between {start_s} and {end_s} s")
        self._start_s = start_s
        self._width_s = float(max(1, math.ceil((end_s - start_s) / MOST_BINS)))
        self._bins = max(1, math.ceil((end_s - start_s) / self._width_s))
        self._outcomes = tuple(outcomes)
        self._ok = SliceBuilder(start_s, start_s + self._bins * self._width_s, self._width_s)
        self._failed = np.zeros(self._bins, dtype=np.int64)
        self._errors = np.zeros((len(self._outcomes), self._bins), dtype=np.int64)
        self._planned: Counts | None = None
        self._begun: Counts | None = None

    def add(self, intended_s: npt.ArrayLike, latency_s: npt.ArrayLike, outcome: npt.ArrayLike) -> None:
        """The next requests, shape (n,) each: seconds, seconds with +inf for failed, index into the outcomes.

        A negative index is a failure of no known outcome. ValueError for other shapes, an index beyond the
        outcomes, NaN, latencies of -inf, or a clock that goes back.
        """
        times, latency = np.asarray(intended_s, dtype=np.float64), np.asarray(latency_s, dtype=np.float64)
        codes = np.asarray(outcome, dtype=np.int64)
        if not times.shape == latency.shape == codes.shape:
            raise ValueError(f"times {times.shape}, latencies {latency.shape}, outcomes {codes.shape} differ")
        failed = np.isposinf(latency)
        if failed.any() and codes[failed].max() >= len(self._outcomes):
            raise ValueError(
                f"outcome {codes[failed].max()} of a failed request, of {len(self._outcomes)} outcomes"
            )
        if failed.any():
            self._failed += self._counts(times[failed])
            for code in np.unique(codes[failed & (codes >= 0)]):
                self._errors[code] += self._counts(times[failed & (codes == code)])
            times, latency = times[~failed], latency[~failed]
        self._ok.add(times, latency)

    def add_iterations(self, planned_s: npt.ArrayLike, begun_s: npt.ArrayLike) -> None:
        """When iterations were due, and when those that began did, shapes (n,) and (m,), seconds in any order.

        ValueError for NaN.
        """
        if self._planned is None or self._begun is None:
            self._planned, self._begun = (np.zeros(self._bins, dtype=np.int64) for _ in range(2))
        self._planned += self._counts(np.asarray(planned_s, dtype=np.float64))
        self._begun += self._counts(np.asarray(begun_s, dtype=np.float64))

    def _counts(self, times: Array) -> Counts:
        place = np.floor((times - self._start_s) / self._width_s)
        inside = (place >= 0) & (place < self._bins)
        if not inside.all():
            if np.isnan(place).any():
                raise ValueError("times hold NaN")
            place = place[inside]
        return np.bincount(place.astype(np.int64), minlength=self._bins)

    def finish(self) -> Timeline:
        nothing = np.empty(0), np.empty(0)
        ok = self._ok.finish(lambda _a, _b: nothing)
        return Timeline(
            start_s=self._start_s,
            width_s=self._width_s,
            total=ok.total + self._failed,
            p50=ok.p50,
            p99=ok.p99,
            outcomes=self._outcomes,
            errors=self._errors.copy(),
            planned=None if self._planned is None else self._planned.copy(),
            begun=None if self._begun is None else self._begun.copy(),
        )


def timeline_of(
    intended_s: npt.ArrayLike,
    latency_s: npt.ArrayLike,
    outcome: npt.ArrayLike,
    outcomes: Sequence[str],
    *,
    start_s: float = 0.0,
    end_s: float,
) -> Timeline:
    """The timeline of requests in any order, as `TimelineBuilder` builds it. ValueError as its `add`."""
    times, latency, codes = np.asarray(intended_s, dtype=np.float64), np.asarray(latency_s), np.asarray(outcome)
    if times.ndim != 1 or not times.shape == latency.shape == codes.shape:
        raise ValueError(f"times {times.shape}, latencies {latency.shape}, outcomes {codes.shape} differ")
    order = np.argsort(times, kind="stable")
    builder = TimelineBuilder(start_s, end_s, outcomes)
    builder.add(times[order], latency[order], codes[order])
    return builder.finish()
