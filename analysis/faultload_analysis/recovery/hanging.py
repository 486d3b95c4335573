"""Users of the closed model who wait for an answer and send nothing meanwhile, while others go on."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from faultload_analysis.evidence.dependence import Array
from faultload_analysis.latency.slices import Slices
from faultload_analysis.recovery.gaps import Gaps
from faultload_analysis.recovery.noise import noise_of

_SLOW = 0.01
_TIMES_THE_BASELINE = 2.0


class Waits:
    """How long users waited in each slice for answers that took longer than a slice, and than `limit_s`."""

    def __init__(self, start_s: float, end_s: float, width_s: float, limit_s: float) -> None:
        self._start_s, self._end_s, self._width_s = start_s, end_s, width_s
        self._least_s = max(limit_s, width_s)
        self._since: list[Array] = []
        self._until: list[Array] = []

    def add(self, intended_s: npt.ArrayLike, ended_s: npt.ArrayLike) -> None:
        """The next requests, whatever became of them, shape (m,) each."""
        since, until = np.asarray(intended_s, dtype=np.float64), np.asarray(ended_s, dtype=np.float64)
        long = until - since > self._least_s
        if long.any():
            self._since.append(np.maximum(since[long], self._start_s))
            self._until.append(np.minimum(until[long], self._end_s))

    def by_slice(self, size: int) -> tuple[Array, Array]:
        """Shape (size,) each: seconds that users waited in each slice, and the last moment of it at which one did.

        The slice in which a request began counts it already. -inf where nobody waited.
        """
        waited, last = np.zeros(size + 1), np.full(size, -np.inf)
        if not self._since:
            return waited[:size], last
        since, until = np.concatenate(self._since), np.concatenate(self._until)
        first = np.floor((since - self._start_s) / self._width_s).astype(np.int64) + 1
        final = np.minimum(np.floor((until - self._start_s) / self._width_s + 1e-9).astype(np.int64), size)
        some = final >= first
        first, final, until = first[some], final[some], until[some]
        np.add.at(waited, first, self._width_s)
        np.add.at(waited, final, -self._width_s)
        waited = np.cumsum(waited)[:size]
        inside = final < size
        np.add.at(waited, final[inside], until[inside] - (self._start_s + self._width_s * final[inside]))
        np.maximum.at(last, final[inside], until[inside])
        ends = self._start_s + self._width_s * np.arange(1, size + 1)
        return waited, np.where(waited >= self._width_s - 1e-9, np.maximum(last, ends), last)


def with_waits(gaps: Gaps, cut: Slices, waits: Waits, per_user: float, baseline: slice) -> Gaps:
    """The gaps, and the slices in which users who waited should have made more requests than noise explains.

    `per_user`: how many a user makes in a second. Such a slice needs twice as many missing requests as any of the
    `baseline` slices has.
    """
    waited, last = waits.by_slice(cut.total.size)
    missing = per_user * waited
    due = cut.total + np.ceil(missing).astype(np.int64)
    usual = _TIMES_THE_BASELINE * float(missing[baseline].max(initial=0.0))
    hung = ~gaps.bad & (missing > noise_of(due, _SLOW)) & (missing > usual)
    return replace(
        gaps,
        bad=gaps.bad | hung,
        share=np.where(hung, missing / np.maximum(due, 1), gaps.share),
        ends_s=np.where(hung, last, gaps.ends_s),
    )
