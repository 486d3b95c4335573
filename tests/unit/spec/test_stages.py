"""The shape of a load: its level at every moment, the iterations below it, and where it warms up and cools down."""

from __future__ import annotations

import pytest

from faultload.spec.stages import (
    Stage,
    area_between,
    cooldown_start,
    end_of,
    level_at,
    steady_until,
    warmup_end,
)

UP, FLAT, SURGE, DOWN = (
    Stage("ramp", 0, 10, 0, 20),
    Stage("hold", 10, 30, 20, 20, "rush"),
    Stage("surge", 30, 35, 60, 60),
    Stage("ramp", 35, 45, 20, 0),
)
SHAPE = (UP, FLAT, SURGE, DOWN)
AT_ONCE = Stage("ramp", 10, 10, 20, 50)


def test_a_level_goes_linearly_from_low_to_high() -> None:
    slope = Stage("ramp", 5, 15, 10, 30)
    assert [slope.level(t) for t in (5, 7.5, 10, 15)] == [10, 15, 20, 30]
    assert [DOWN.level(t) for t in (35, 40, 45)] == [20, 10, 0]


def test_a_stage_of_no_length_has_reached_its_end() -> None:
    assert (AT_ONCE.level(10), AT_ONCE.duration_s, AT_ONCE.area) == (50, 0, 0)


def test_the_iterations_of_a_stage_are_the_area_below_it() -> None:
    assert [stage.area for stage in SHAPE] == [100, 400, 300, 100]


@pytest.mark.parametrize(
    "stage",
    [UP, FLAT, SURGE, DOWN, Stage("ramp", 3, 9, 2, 5), Stage("ramp", 3, 9, 5, 2), Stage("ramp", 0, 1000, 10, 10.1)],
)
@pytest.mark.parametrize("share", [0.001, 0.2, 0.5, 0.9, 1.0])
def test_the_moment_of_an_area_is_where_so_much_lies_before_it(stage: Stage, share: float) -> None:
    moment = stage.time_of(share * stage.area)
    assert stage.start_s < moment <= stage.end_s + 1e-9
    assert area_between([stage], stage.start_s, moment) == pytest.approx(share * stage.area, rel=1e-6)


def test_a_ramp_down_to_nothing_has_a_last_moment_however_it_is_rounded() -> None:
    for length, level in ((3, 33), (7, 0.1), (0.7, 7.7), (13, 1 / 3)):
        stage = Stage("ramp", 0, length, level, 0)
        assert stage.time_of(stage.area * (1 + 1e-15)) == pytest.approx(length, rel=1e-6)


def test_the_level_of_a_load_is_that_of_the_stage_that_began_last_and_nothing_outside() -> None:
    moments = (-0.1, 0, 5, 10, 29.9, 30, 34.9, 35, 40, 44.9, 45, 99)
    levels = [level_at(SHAPE, t) for t in moments]
    assert levels == pytest.approx([0, 0, 10, 20, 20, 60, 60, 20, 10, 0.2, 0, 0])
    assert level_at((), 1) == 0


def test_a_pause_between_stages_has_no_load() -> None:
    apart = (Stage("hold", 0, 1, 5, 5), Stage("hold", 3, 4, 5, 5))
    assert (level_at(apart, 2), area_between(apart, 0, 4), area_between(apart, 0.5, 3.5)) == (0, 10, 5)


@pytest.mark.parametrize(
    ("start", "end", "area"),
    [(0, 45, 900), (-9, 99, 900), (0, 5, 25), (5, 10, 75), (8, 12, 76), (30, 35, 300), (12, 12, 0), (20, 12, 0),
     (45, 99, 0)],
)  # fmt: skip
def test_the_iterations_between_two_moments(start: float, end: float, area: float) -> None:
    assert area_between(SHAPE, start, end) == pytest.approx(area)


def test_warm_up_is_the_ramps_before_the_first_hold() -> None:
    assert warmup_end(SHAPE) == 10
    assert warmup_end((UP, Stage("ramp", 10, 15, 20, 30), Stage("hold", 15, 20, 30, 30))) == 15
    assert warmup_end((FLAT,)) == FLAT.start_s
    assert warmup_end((UP,)) == 10
    assert warmup_end(()) == 0


def test_a_load_is_steady_until_its_level_changes_after_the_warm_up() -> None:
    assert steady_until(SHAPE) == 30
    hold = Stage("hold", 30, 40, 20, 20)
    assert steady_until((UP, FLAT, hold)) == 40
    assert steady_until((UP, FLAT, Stage("step", 30, 40, 21, 21))) == 30
    assert steady_until((FLAT, Stage("surge", 30, 40, 20, 20))) == 30, "by one, and it is still a surge"
    assert steady_until((FLAT, Stage("ramp", 30, 40, 20, 0))) == 30
    assert steady_until((UP,)) == 10
    assert steady_until(()) == 0


def test_cool_down_is_where_the_level_goes_down_for_the_last_time() -> None:
    assert cooldown_start(SHAPE) == 35
    two = (FLAT, Stage("ramp", 30, 40, 20, 10), Stage("ramp", 40, 50, 10, 0))
    assert cooldown_start(two) == 30
    assert cooldown_start((*two, Stage("ramp", 50, 60, 0, 10))) == 60, "it goes up again"
    assert cooldown_start((FLAT, Stage("ramp", 30, 40, 20, 20))) == 40, "it stays"
    assert cooldown_start((UP, FLAT)) == 30
    assert cooldown_start((FLAT, Stage("hold", 30, 40, 20, 10))) == 40, "only a ramp cools down"
    assert cooldown_start(()) == 0


def test_a_load_ends_with_its_last_stage() -> None:
    assert (end_of(SHAPE), end_of((UP,)), end_of(())) == (45, 10, 0)


def test_a_stage_is_the_same_after_json() -> None:
    for stage in SHAPE:
        assert Stage.from_json(stage.to_json()) == stage
    assert FLAT.to_json() == {
        "kind": "hold", "start_s": 10, "end_s": 30, "low": 20, "high": 20, "phase": "rush"
    }  # fmt: skip
