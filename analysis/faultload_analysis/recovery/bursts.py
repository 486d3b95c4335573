"""How high a baseline's natural bursts rise, so they are not mistaken for a fault's impact."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from faultload_analysis.evidence.dependence import Array, Counts, Mask
from faultload_analysis.latency.quantiles import quantile
from faultload_analysis.latency.slices import Slices
from faultload_analysis.recovery.noise import noise_of

FALSE_IMPACTS = 0.04
OUTLYING = 1e-3
_FEW_PEAKS = 3
_TIMES_THE_LARGEST = 3.0
TYPICAL = 0.95
_RISING = 0.01


def onset_levels(parts: list[Array], counts: list[int], alone: list[int]) -> Array:
    """The latency limit below which each slice would begin an incident, shape (k,).

    An incident begins in a slice that is bad together with one of the next two, or bad alone
    (`Incidents.begins_at`). `parts`: the latencies of each slice that holds requests; slice i is bad when
    `counts[i]` of its requests are over the limit, and bad alone when `alone[i]` are.
    """
    bad = np.append(levels_with(parts, counts), [-np.inf, -np.inf])
    together = np.minimum(bad[:-2], np.maximum(bad[1:-1], bad[2:]))
    return np.asarray(np.maximum(levels_with(parts, alone), together), dtype=np.float64)


def levels_with(parts: list[Array], counts: list[int]) -> Array:
    """The latency that `counts[i]` requests of slice i reach, shape (k,); -inf where it has not as many."""
    return np.array(
        [
            np.sort(part)[-count] if 1 <= count <= part.size else -np.inf
            for part, count in zip(parts, counts, strict=True)
        ],
        dtype=np.float64,
    )


def burst_level(levels: npt.ArrayLike, watched: float, *, probability: float = FALSE_IMPACTS) -> float:
    """The level that natural bursts pass in at most `probability` of watches of `watched` more slices.

    `levels`: shape (k,), the onset level of each baseline slice, in time order. Peaks over threshold: the
    excesses of cluster peaks over the median level are taken as exponential (the tail of waiting times in
    queues with light-tailed service, Cramer-Lundberg), clusters are the runs over it. With c clusters of
    mean excess b, the excess of a future peak over b has the F distribution with 2 and 2c degrees of
    freedom, so P(excess > x) = (1 + x / (c b))^-c; k / c slices pass between peaks. A short baseline has
    few clusters and so a high level: what it cannot tell from a burst is not called impact. (The mean over
    all excesses instead of peaks is lower, and passed in 7 to 9 % of watches at utilisation 0.8.) Davison & Smith
    1990 (declustered peaks); Lawless 1982, 3.2 (prediction for the exponential). Fewer than 3 slices, or
    levels that never vary: the largest level.
    """
    z = np.asarray(levels, dtype=np.float64)
    if z.size < 3:
        return float(z.max(initial=0.0))
    threshold = float(np.median(z))
    above = z > threshold
    peaks = np.array([z[run].max() for run in _runs(above)])
    if not peaks.size:
        return threshold
    c, mean = peaks.size, float(peaks.mean()) - threshold
    expected = watched * c / z.size
    factor = math.pow(expected / probability, 1.0 / c) - 1.0
    return threshold + c * mean * max(factor, 0.0)


def bursts_of(bad: Mask, held: Mask) -> list[Counts]:
    """The bad slices of each burst, as indices: bad ones with at most one other between that holds requests.

    `bad`, `held` (whether it holds requests): shape (k,), in time order.
    """
    at = np.flatnonzero(bad)
    if not at.size:
        return []
    place = np.cumsum(held)[at]
    return np.split(at, np.flatnonzero(np.diff(place) > 2) + 1)


@dataclass(frozen=True, slots=True)
class Bursts:
    """What a baseline's natural bursts reach in all but 4 % of watches.

    `rises_s`: their latency (`burst_level`). `over`: how many requests beyond noise failed or took longer than
    `typical_s`, the baseline's P95, in one burst; `failed`: how many failed.
    """

    typical_s: float
    rises_s: float
    over: float
    failed: float

    @classmethod
    def of(
        cls, parts: list[Array], beyond: Counts, failing: Counts, apart: Mask, *, rises_s: float, watched: float
    ) -> Bursts | None:
        """From the latencies of the slices of a baseline and their bad and failed requests beyond noise, shape (k,).

        `apart`, `watched`: as in `burst_size`. None where there are no bursts.
        """
        every = np.concatenate(parts)
        ok = every[np.isfinite(every)]
        typical_s = quantile(ok, TYPICAL) if ok.size else math.inf
        total = np.array([part.size for part in parts], dtype=np.int64)
        over = np.array([np.count_nonzero(part > typical_s) for part in parts], dtype=np.int64)
        sizes = np.maximum(beyond, over - noise_of(total, 1.0 - TYPICAL))
        if not (sizes > 0).any():
            return None
        return cls(
            typical_s, rises_s, burst_size(sizes, apart, watched), burst_size(failing, apart, watched)
        )

    def explain(self, cut: Slices, beyond: Counts, failing: Counts) -> Mask:
        """Shape (k,): the slices of bursts as the baseline has them.

        `beyond`, `failing`: their bad and failed requests beyond noise, shape (k,).
        """
        typical = cut.over(self.typical_s) - noise_of(cut.total, 1.0 - TYPICAL)
        rising = cut.over(self.rises_s) > noise_of(cut.total, _RISING)
        sizes = np.maximum(beyond, typical).clip(0)
        found = np.zeros(sizes.size, dtype=np.bool_)
        for burst in bursts_of(sizes > 0, cut.total > 0):
            found[burst] = (
                sizes[burst].sum() <= self.over
                and failing[burst].sum() <= self.failed
                and not rising[burst].any()
            )
        return found


def burst_size(
    sizes: npt.ArrayLike, apart: Mask, watched: float, *, probability: float = FALSE_IMPACTS
) -> float:
    """The size that natural bursts pass in at most `probability` of watches of `watched` more slices.

    `sizes`: shape (k,), what each baseline slice that holds requests adds to a burst, in time order. `apart`: shape
    (k,), those of outages that stand apart. The c other bursts are taken as exponential, of mean m, which gives
    m c ((e / probability)^(1/c) - 1) as in `burst_level`, e being the bursts to expect; twice that, since the busy
    periods of queues are long more often. Of an outage that stands apart nobody can tell how much it
    varies: three times its size. 0 without bursts.
    """
    s = np.asarray(sizes, dtype=np.float64).clip(0)
    found = bursts_of(s > 0, np.ones(s.size, dtype=np.bool_))
    usual = np.array([s[one].sum() for one in found if not apart[one].any()])
    largest = max((float(s[one].sum()) for one in found), default=0.0)
    c = usual.size
    if not c:
        return _TIMES_THE_LARGEST * largest
    mean, expected = float(usual.mean()), watched * c / s.size
    extreme = 2.0 * c * mean * max(math.pow(expected / probability, 1.0 / c) - 1.0, 0.0)
    return max(extreme, largest if c == len(found) else _TIMES_THE_LARGEST * largest)


def outages(levels: npt.ArrayLike) -> Mask:
    """Shape (k,): the slices of peaks that are no bursts, but outages that stand apart from the rest.

    `levels`: shape (k,), the latency that half of the requests of each slice reach: where few of them are slow it
    is a burst. A peak as in `burst_level` that the others make less likely than 0.001 under that model; of fewer
    than 3 others the mean excess counts as the median level at least. One for every 300 slices or part of them.
    """
    z = np.asarray(levels, dtype=np.float64)
    found = np.zeros(z.size, dtype=np.bool_)
    threshold = float(np.median(z)) if z.size else 0.0
    for _ in range(1 + z.size // 300):
        left = np.where(found, -np.inf, z)
        peaks = [left[run].max() - threshold for run in _runs(left > threshold)]
        if not peaks:
            break
        others = np.sort(peaks)[:-1]
        mean, c = float(others.mean()) if others.size else 0.0, others.size
        if c < _FEW_PEAKS:
            mean, c = max(mean, threshold), _FEW_PEAKS
        beyond = (1.0 + max(peaks) / (c * mean)) ** -c if mean > 0 else 0.0
        if 1.0 - (1.0 - beyond) ** (c + 1) >= OUTLYING:
            break
        found[_runs(left > threshold)[int(np.argmax(peaks))]] = True
    return found


def _runs(above: Mask) -> list[slice]:
    edges = np.flatnonzero(np.diff(np.concatenate(([False], above, [False])).astype(np.int8)))
    return [slice(a, b) for a, b in zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True)]
