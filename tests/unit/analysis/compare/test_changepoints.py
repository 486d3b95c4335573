"""Changes over a history of runs: found where they are, and not where they are not."""

from __future__ import annotations

import math

import numpy as np
import pytest
from repeats import most, rounds

from faultload_analysis.compare.changepoints import change_points


def brute_force(x: np.ndarray, least: int) -> tuple[float, int]:
    """The definition (Matteson & James 2014, eq. 5 to 7), one pair of stretches after another."""
    best = (-math.inf, 0)
    for t in range(least, x.size - least + 1):
        for k in range(t + least, x.size + 1):
            a, b = x[:t], x[t:k]
            n, m = a.size, b.size
            between = np.abs(a[:, None] - b).sum() * 2 / (n * m)
            within = sum(np.abs(c[:, None] - c).sum() / (c.size * (c.size - 1)) for c in (a, b))
            best = max(best, (n * m / (n + m) * (between - within), t))
    return best


def test_the_search_is_the_definition() -> None:
    from faultload_analysis.compare.changepoints import _Search

    rng = np.random.default_rng(1)
    for n in (8, 15, 30):
        x = rng.normal(size=n) + 2.0 * (np.arange(n) > n // 2)
        value, at = _Search(n, 3, to_end=False).best(x)
        assert (value, at) == pytest.approx(brute_force(x, 3))


def test_noise_has_no_changes_whatever_its_distribution() -> None:
    rng = np.random.default_rng(2)
    repeats = rounds(120)
    for draw in (rng.normal, rng.standard_exponential, rng.standard_cauchy):
        found = sum(
            bool(change_points(draw(size=30), significance=0.05, permutations=99).points) for _ in range(repeats)
        )
        assert found <= most(repeats, 0.05, chance=0.01)  # measured at a significance of .01: .003 to .009


def test_a_shift_of_a_tenth_under_3_percent_noise_is_found_within_a_run() -> None:
    rng, near, repeats = np.random.default_rng(3), 0, rounds(40)
    for _ in range(repeats):
        found = change_points(100 * np.where(np.arange(40) < 20, 1.0, 1.1) * (1 + 0.03 * rng.normal(size=40)))
        assert any(abs(one.index - 20) <= 3 for one in found.points)
        near += any(abs(one.index - 20) <= 1 for one in found.points)
    assert near >= 0.9 * repeats  # measured: 99 %


def shifted(before: int, runs: int, *, after: int = 0) -> np.ndarray:
    x = 100.0 + np.random.default_rng(9).uniform(-3.0, 3.0, before + runs + after)
    x[before : before + runs] += 20.0
    x[before - 1] = 100.0  # no luck next to the shift
    x[before + runs : before + runs + 1] = 100.0
    return x


@pytest.mark.parametrize(("before", "runs"), [(27, 3), (40, 3), (19, 4), (30, 4), (30, 5)])
def test_a_new_level_is_found_from_three_runs_on(before: int, runs: int) -> None:
    found = change_points(shifted(before, runs))
    assert [one.index for one in found.points] == [before]
    assert found.points[0].change == pytest.approx(0.2, abs=0.05)
    assert found.points[0].p <= 0.01 and found.since == before


@pytest.mark.parametrize(("before", "runs", "needed"), [(8, 3, 27), (15, 3, 27), (26, 3, 27), (12, 4, 19)])
def test_a_new_level_that_is_too_young_is_named_with_what_it_needs(before: int, runs: int, needed: int) -> None:
    found = change_points(shifted(before, runs))
    assert found.points == ()
    assert f"runs {before} to {before + runs - 1} lie apart from the {before} others" in found.why
    assert f"{runs} runs can show a new level only after {needed} of the old one" in found.why


def test_three_runs_of_a_level_that_came_and_went_are_named() -> None:
    found = change_points(shifted(20, 3, after=20))
    assert found.points == ()
    assert "runs 20 to 22 lie apart from the 40 others of their level" in found.why


def test_a_short_history_without_a_change_says_what_it_could_not_show() -> None:
    assert "3 runs can show a new level only after 27 of the old one" in change_points([5.0] * 12).why


def test_a_bump_has_two_changes_and_says_how_large_they_are() -> None:
    x = np.where((np.arange(40) >= 15) & (np.arange(40) < 25), 120.0, 100.0) + np.random.default_rng(4).normal(
        size=40
    )
    found = change_points(x)
    assert [one.index for one in found.points] == [15, 25]
    up, down = found.points
    assert up.change == pytest.approx(0.2, abs=0.02) and down.change == pytest.approx(-1 / 6, abs=0.02)
    assert up.p <= 0.01 and found.since == 25
    assert found.why.startswith("at run 15 from ")


def test_one_wild_or_failed_run_is_no_change_and_hides_none() -> None:
    rng = np.random.default_rng(5)
    x = 100 + rng.normal(size=30)
    for wild in (1e6, math.inf):
        x[12] = wild
        assert change_points(x).points == ()
        shifted = x + np.where(np.arange(30) < 20, 0, 10)
        assert [one.index for one in change_points(shifted).points] == [20]


def test_runs_that_all_fail_from_some_day_on_are_a_change_without_a_size() -> None:
    found = change_points([1.0, 1.1, 0.9, 1.05, 1.0, 0.95, *[math.inf] * 8])
    assert [(one.index, one.after, one.change) for one in found.points] == [(6, math.inf, math.inf)]
    assert change_points([0.0, 0.0, 0.0, 0.0, 0.0, 0.0, *[1.0] * 8]).points[0].change is None


def test_short_constant_and_empty_histories_have_an_answer() -> None:
    for few in ([], [1.0], [1, 1, 1, 2, 2, 2], [1, 1, 1, 1, 2, 2, 2, 2]):
        found = change_points(few)
        assert found.points == () and "too few runs to say" in found.why, few
    assert change_points([5.0] * 30).why == "no change in 30 runs"
    assert change_points([5.0] * 30).since == 0


def test_a_small_change_can_be_left_unmentioned() -> None:
    rng = np.random.default_rng(6)
    x = 100 * np.where(np.arange(60) < 30, 1.0, 1.03) * (1 + 0.005 * rng.normal(size=60))
    assert change_points(x).points
    assert change_points(x, min_change=0.05).points == ()


def test_the_same_history_gives_the_same_answer() -> None:
    x = np.random.default_rng(8).normal(size=40) + (np.arange(40) > 25)
    assert change_points(x) == change_points(x)


@pytest.mark.parametrize(
    ("values", "options", "message"),
    [
        ([1.0, math.nan], {}, "NaN"),
        ([1.0, -math.inf], {}, "minus infinity"),
        ([[1.0]], {}, "one value a run"),
        (np.zeros(1001), {}, "at most 1000"),
        ([1.0], {"min_segment": 1}, "at least 2"),
        ([1.0], {"permutations": 50}, "cannot show"),
    ],
)
def test_what_is_no_history_is_refused(values: list[float], options: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        change_points(values, **options)
