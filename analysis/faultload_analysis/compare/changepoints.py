"""Where the level of a metric changed over a history of runs."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import scipy

from faultload_analysis.compare.ranks import least_p, median, rank_sum_p
from faultload_analysis.evidence.dependence import Array
from faultload_analysis.evidence.inputs import checked_runs

_MOST_RUNS = 1000
_MOST_ENDS = 32
_NEWEST_SHARE = 0.1
_NEWEST = (0.5, 0.25, 0.25)
"""The newest runs' share of the significance, and how the lengths tried divide it, from the shortest level on."""
_CHANCE = 0.1
"""How often noise alone may show a stretch of runs that lies apart from all others, and is named."""


@dataclass(frozen=True, slots=True)
class ChangePoint:
    """`index`: the first run of the new level. `before`, `after`: medians from the change before to the next.
    `change`: after / before - 1; None when that is not a number. `p`: of the permutation test."""

    index: int
    before: float
    after: float
    change: float | None
    p: float


@dataclass(frozen=True, slots=True)
class ChangePoints:
    """The changes of a history of `runs` runs, in order.

    `why` says what was found, or why nothing could be, and names the few runs that stand apart from all others of
    their level and yet cannot show a change.
    """

    points: tuple[ChangePoint, ...]
    runs: int
    why: str

    @property
    def since(self) -> int:
        """The first run of the present level: 0 when nothing changed."""
        return self.points[-1].index if self.points else 0


def change_points(
    values: npt.ArrayLike,
    *,
    min_segment: int = 3,
    significance: float = 0.01,
    permutations: int = 499,
    min_change: float = 0.0,
    seed: int = 0,
) -> ChangePoints:
    """Change points of `values`, shape (n,), one value a run in the order of the runs, +inf allowed.

    E-divisive (Matteson & James 2014, arXiv 1306.4933) on ranks: the split and the end of what follows it that
    maximise nm/(n+m) times the energy distance of the two parts, tested by permuting the stretch, then the same
    in both parts. Ranks, taken anew in each stretch, keep one wild run from hiding a change, and let a failed
    run count as the worst. Then each change is placed and tested once more between its neighbours (the second
    pass of Hunter, arXiv 2301.03034) and dropped when it no longer holds. Seeded, so repeatable; a test stops
    early once its p is above `significance` for certain (Besag & Clifford 1991).

    The newest runs have a test of their own, for a level that is too young for the first: the rank sum of the last
    `min_segment` to `min_segment` + 2 runs against the rest of the last level. It has a tenth of `significance`,
    divided 2:1:1 among the lengths, so three runs that lie apart from all others are found after 27 of them (no
    three of 30 runs can show more than p = 2/4060). After fewer, or in the middle of a level, `why` names them, and
    what is needed.

    In a history of independent runs without a change one is found with probability `significance` at most,
    whatever the distribution, because both tests are exact: in 0 to .007 of 300 histories of 15, 20 and 40
    normal, exponential and Cauchy runs. A shift of 10 % under 3 % noise was found, and within one run of its place,
    with 3 runs after 27 in 62 and 57 of 100 histories, with 4 in 85 and 80, with 5 in 92 and 85, with 6 in 95 and
    87. Runs that drift or depend on each other have more changes than meant. `min_segment`: fewest runs of a level.
    `min_change`: changes smaller than this share of the level before are not reported. At most 1000 runs: O(n^2)
    time a permutation. ValueError on NaN, -inf, min_segment < 2, significance outside (0, 1) or out of reach of
    `permutations`.
    """
    x = checked_runs(values, "values")
    _check(x.size, min_segment, significance, permutations, min_change)
    n = x.size
    if n < 2 * min_segment or 2.0 / math.comb(n, n // 2) > significance:
        return ChangePoints((), n, f"too few runs to say: {n} cannot show a change at {significance:g}")
    young = _NEWEST_SHARE * significance
    test = _Test(min_segment, significance - young, permutations, np.random.default_rng(seed))
    kept, p_values = _placed(x, _split(x, 0, n, test), test)
    newest = _newest(x[kept[-1] if kept else 0 :], min_segment, young)
    if newest is not None:
        kept, p_values = [*kept, n - newest[0]], [*p_values, newest[1]]
    points = _points(x, kept, p_values)
    shown = [one for one in points if one.change is None or abs(one.change) >= min_change]
    texts = [f"at run {one.index} from {one.before:.4g} to {one.after:.4g}, p {one.p:.2g}" for one in shown]
    apart = _apart(x, kept, min_segment, young)
    return ChangePoints(tuple(shown), n, "; ".join([*(texts or [f"no change in {n} runs"]), *apart]))


@dataclass(frozen=True, slots=True)
class _Test:
    min_segment: int
    significance: float
    permutations: int
    rng: np.random.Generator


def _check(runs: int, min_segment: int, significance: float, permutations: int, min_change: float) -> None:
    if runs > _MOST_RUNS:
        raise ValueError(f"{runs} runs: at most {_MOST_RUNS} are possible")
    if not min_change >= 0.0:
        raise ValueError(f"a change is at least a share from 0, not {min_change}")
    if min_segment < 2:
        raise ValueError(f"a level needs at least 2 runs, not {min_segment}")
    if not 0.0 < significance < 1.0 or 1.0 / (permutations + 1) > (1.0 - _NEWEST_SHARE) * significance:
        raise ValueError(f"{permutations} permutations cannot show a significance of {significance}")


def _split(x: Array, start: int, stop: int, test: _Test) -> list[int]:
    """The changes between start and stop, by splitting in two as long as a split is significant."""
    found = _tested(x[start:stop], test, to_end=False)
    if found is None:
        return []
    middle = start + found[0]
    return [*_split(x, start, middle, test), middle, *_split(x, middle, stop, test)]


def _placed(x: Array, changes: list[int], test: _Test) -> tuple[list[int], list[float]]:
    """Each change placed and tested again between its neighbours; one that fails is dropped and all is redone."""
    kept = list(changes)
    while True:
        p_values: list[float] = []
        for i in range(len(kept)):
            start, stop = (kept[i - 1] if i else 0), (kept[i + 1] if i + 1 < len(kept) else x.size)
            again = _tested(x[start:stop], test, to_end=True)
            if again is None:
                break
            kept[i] = start + again[0]
            p_values.append(again[1])
        if len(p_values) == len(kept):
            return kept, p_values
        del kept[len(p_values)]


def _points(x: Array, changes: list[int], p_values: list[float]) -> list[ChangePoint]:
    levels = [median(x[a:b]) for a, b in itertools.pairwise([0, *changes, x.size])]
    return [
        ChangePoint(at, levels[i], levels[i + 1], _change(levels[i], levels[i + 1]), p)
        for i, (at, p) in enumerate(zip(changes, p_values, strict=True))
    ]


def _newest(level: Array, min_segment: int, significance: float) -> tuple[int, float] | None:
    """How many runs at the end of a level are a new one, and p over all lengths tried; None: they are not."""
    found = [
        (_two_sided(level[:-m], level[-m:]) / share, m)
        for m, share in enumerate(_NEWEST, start=min_segment)
        if level.size - m >= min_segment
    ]
    p, runs = min(found, default=(1.0, 0))
    return (runs, p) if p <= significance * (1.0 + 1e-12) else None


def _two_sided(a: Array, b: Array) -> float:
    return min(1.0, 2.0 * min(rank_sum_p(a, b), rank_sum_p(b, a)))


def _apart(x: Array, changes: list[int], min_segment: int, significance: float) -> list[str]:
    """What names the runs in a row, too few to show a change, that lie above or below all others of their level."""
    texts: list[str] = []
    shares = dict(enumerate(_NEWEST, start=min_segment))
    for start, stop in itertools.pairwise([0, *changes, x.size]):
        level = x[start:stop]
        found = [(*window, m) for m in shares if (window := _window(level, m)) is not None]
        if not found:
            continue
        _, at, m = max(found)
        newest = stop == x.size and at + m == level.size
        places = 1 if newest else level.size - m + 1
        if places * least_p(level.size - m, m) > _CHANCE:
            continue
        where = f"runs {start + at} to {start + at + m - 1} lie apart from the {level.size - m} others"
        if newest:
            return [*texts, f"{where}, but {_too_young(m, significance * shares[m])}"]
        texts.append(f"{where} of their level, but {m} in a row cannot show one of their own")
    if not changes and x.size - min_segment < _before(min_segment, significance * _NEWEST[0]):
        texts.append(_too_young(min_segment, significance * _NEWEST[0]))
    return texts


def _too_young(runs: int, significance: float) -> str:
    return f"{runs} runs can show a new level only after {_before(runs, significance)} of the old one"


def _window(level: Array, runs: int) -> tuple[float, int] | None:
    """By how much so many runs in a row lie above or below all others, and where; None where none do."""
    if level.size <= 2 * runs:
        return None
    for values in (level, -level):
        highest = np.sort(np.argsort(values, kind="stable")[-runs:])
        least, others = float(values[highest].min()), float(np.delete(values, highest).max())
        if highest[-1] - highest[0] == runs - 1 and least > others:
            return least - others, int(highest[0])
    return None


def _before(runs: int, significance: float) -> int:
    """After how many runs of the old level as many of a new one can show it."""
    before = runs
    while least_p(before, runs) > significance * (1.0 + 1e-12):
        before += 1
    return before


def _change(before: float, after: float) -> float | None:
    if before == 0.0 or not math.isfinite(before):
        return None
    return (after - before) / abs(before)


def _tested(x: Array, test: _Test, *, to_end: bool) -> tuple[int, float] | None:
    """The best split of a stretch and its p; None when it is too short or the split is not significant."""
    if x.size < 2 * test.min_segment:
        return None
    ranks = np.asarray(scipy.stats.rankdata(x), dtype=np.float64)
    search = _Search(x.size, test.min_segment, to_end=to_end)
    seen, at = search.best(ranks)
    if seen <= 0.0:
        return None
    allowed = math.floor(test.significance * (test.permutations + 1) + 1e-9) - 1
    as_large = 0
    for _ in range(test.permutations):
        as_large += search.best(test.rng.permutation(ranks))[0] >= seen * (1.0 - 1e-12)
        if as_large > allowed:
            return None
    return at, (1 + as_large) / (test.permutations + 1)


class _Search:
    """The largest scaled energy distance of x[:t] and x[t:k] over all t and k; k = n when `to_end`, else at most
    32 ends. A cut-down choice of ends is the same for every permutation, so the test stays exact.

    Q = nm/(n+m) (2/(nm) S_between - S_left / C(n,2) - S_right / C(m,2)), S the sums of |x_i - x_j| over pairs
    (Matteson & James 2014, eq. 5 to 7), here with weights made once for all permutations of one length.
    """

    def __init__(self, n: int, min_segment: int, *, to_end: bool) -> None:
        ends = [n] if to_end else np.linspace(2 * min_segment, n, min(_MOST_ENDS, n - 2 * min_segment + 1))
        self.ends = np.unique(np.asarray(ends, dtype=np.int64))
        self.splits = np.arange(min_segment, n - min_segment + 1)
        self.earlier = np.tri(n, k=-1)
        t, k = self.splits[:, None].astype(np.float64), self.ends[None, :].astype(np.float64)
        self.invalid = k - t < min_segment
        m = np.where(self.invalid, 2.0, k - t)
        self.between = 2.0 / (t + m)
        self.left = self.between * m / (t - 1.0)
        self.right = self.between * t / (m - 1.0)

    def best(self, x: Array) -> tuple[float, int]:
        """Q and t of the best split of x, shape (n,)."""
        distance = np.abs(x[:, None] - x[None, :])
        within = np.cumsum(np.einsum("ij,ij->i", distance, self.earlier))  # pairs among x[:i + 1]
        starts = np.concatenate(([0], self.ends[:-1]))
        cut = distance[:, : self.ends[-1]]
        to_ends = np.cumsum(np.add.reduceat(cut, starts, axis=1), axis=1)  # of each x_i to all of x[:k]
        left = within[self.splits - 1][:, None]
        between = np.cumsum(to_ends, axis=0)[self.splits - 1] - 2.0 * left
        right = within[self.ends - 1][None, :] - left - between
        q = self.between * between - self.left * left - self.right * right
        q[self.invalid] = -math.inf
        best = int(np.argmax(q))
        return float(q.flat[best]), int(self.splits[best // self.ends.size])
