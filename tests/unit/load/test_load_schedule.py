"""The schedule: every slot at its moment, of its journey, whoever takes it."""

from __future__ import annotations

import numpy as np
import pytest

from faultload.load.schedule import Schedule, integer_mix
from faultload.spec.stages import Stage, area_between

RAMP_AND_HOLD = (Stage("ramp", 0, 10, 0, 100), Stage("hold", 10, 30, 100, 100), Stage("ramp", 30, 35, 100, 0))
MIX = {"Remember": 8.0, "Insights": 2.0}


def times(schedule: Schedule) -> np.ndarray:
    return np.array([slot.intended_ns for slot in schedule]) / 1e9


def test_an_even_hold_has_exactly_rate_times_length_slots_at_equal_distances() -> None:
    schedule = Schedule((Stage("hold", 0, 20, 50, 50),), "even", {"A": 1}, seed=1)
    found = times(schedule)
    assert len(found) == 1000
    assert found == pytest.approx((np.arange(1000) + 0.5) / 50, abs=1e-8)


def test_even_slots_follow_the_area_below_a_ramp() -> None:
    found = times(Schedule(RAMP_AND_HOLD, "even", MIX, seed=1))
    assert len(found) == 500 + 2000 + 250
    for moment in (1, 5, 9.99, 10, 20, 31, 35):
        assert np.count_nonzero(found < moment) == pytest.approx(area_between(RAMP_AND_HOLD, 0, moment), abs=1)


def test_a_step_of_no_length_and_a_pause_hold_no_slots() -> None:
    stages = (
        Stage("hold", 0, 1, 10, 10),
        Stage("ramp", 1, 1, 10, 0),
        Stage("hold", 1, 3, 0, 0),
        Stage("step", 3, 4, 5, 5),
    )
    found = times(Schedule(stages, "even", MIX, seed=1))
    assert len(found) == 15
    assert not np.any((found > 1) & (found < 3))


def test_poisson_arrivals_have_the_rate_and_the_spread_of_a_poisson_process() -> None:
    found = times(Schedule((Stage("hold", 0, 200, 100, 100),), "poisson", MIX, seed=7))
    assert len(found) == pytest.approx(20_000, abs=4 * 20_000**0.5)
    gaps = np.diff(found)
    assert gaps.mean() == pytest.approx(0.01, rel=0.03)
    assert gaps.std() == pytest.approx(0.01, rel=0.05)
    counts = np.histogram(found, bins=200, range=(0, 200))[0]
    assert counts.var() / counts.mean() == pytest.approx(1, abs=0.4)


@pytest.mark.parametrize("arrivals", ["even", "poisson"])
def test_the_mix_is_exact_in_every_block(arrivals: str) -> None:
    slots = list(Schedule(RAMP_AND_HOLD, arrivals, MIX, seed=3))  # type: ignore[arg-type]
    journeys = [slot.journey for slot in slots]
    for start in range(0, len(journeys) - 5, 5):
        assert journeys[start : start + 5].count("Insights") == 1
    orders = {tuple(journeys[start : start + 5]) for start in range(0, len(journeys) - 5, 5)}
    assert len(orders) == 5


@pytest.mark.parametrize("arrivals", ["even", "poisson"])
@pytest.mark.parametrize("workers", [2, 3])
def test_the_slots_of_all_workers_are_those_of_one(arrivals: str, workers: int) -> None:
    def of(worker: int, workers: int) -> list[tuple[int, int, str]]:
        return list(Schedule(RAMP_AND_HOLD, arrivals, MIX, 5, worker, workers))  # type: ignore[arg-type]

    together = sorted(slot for worker in range(workers) for slot in of(worker, workers))
    assert together == of(0, 1)
    assert [slot[0] for slot in together] == list(range(len(together)))


def test_a_seed_gives_the_same_schedule_and_another_seed_another() -> None:
    def of(seed: int) -> list[object]:
        return list(Schedule(RAMP_AND_HOLD, "poisson", MIX, seed, start_ns=5))

    assert of(1) == of(1)
    assert of(1) != of(2)


def test_slots_count_from_the_start_of_the_load() -> None:
    slot = next(iter(Schedule((Stage("hold", 0, 1, 10, 10),), "even", MIX, 1, start_ns=3_000_000_000)))
    assert slot.intended_ns == 3_050_000_000


def test_weights_become_the_smallest_integers_of_their_proportion() -> None:
    assert integer_mix([8, 2]) == [4, 1]
    assert integer_mix([0.5, 0.25, 0.25]) == [2, 1, 1]
    assert integer_mix([3, 0]) == [1, 0]
    with pytest.raises(ValueError, match="above 0"):
        integer_mix([0, 0])


def test_no_slot_starts_when_the_load_is_over() -> None:
    assert times(Schedule((Stage("hold", 0, 2.5, 1, 1),), "even", MIX, 1)).tolist() == [0.5, 1.5]


def test_a_slot_on_the_border_of_two_stages_starts_with_the_later_one() -> None:
    stages = (Stage("hold", 0, 1, 0.5, 0.5), Stage("hold", 1, 4, 0, 0), Stage("hold", 4, 6, 1, 1))
    assert times(Schedule(stages, "even", MIX, 1)).tolist() == [4.0, 5.0]


def test_the_last_slots_of_a_ramp_down_come_late_but_before_its_end() -> None:
    found = times(Schedule((Stage("ramp", 0, 8, 8, 0),), "even", MIX, 1))
    assert len(found) == 32
    assert found[-1] == pytest.approx(7), "half an iteration lies behind it"


def test_a_long_load_has_no_seam_between_the_chunks_that_it_is_made_of() -> None:
    even = times(Schedule((Stage("hold", 0, 30, 100, 100),), "even", MIX, 1))
    assert np.diff(even) == pytest.approx(np.full(2999, 0.01), abs=1e-8)
    poisson = times(Schedule((Stage("hold", 0, 100, 100, 100),), "poisson", MIX, 1))
    assert (np.diff(poisson) > 0).all()
    assert np.diff(poisson).max() < 0.2


def test_a_rare_journey_comes_as_often_as_its_weight_says() -> None:
    slots = Schedule((Stage("hold", 0, 30, 100, 100),), "even", {"Visit": 0.999, "Buy": 0.001}, 1)
    journeys = [slot.journey for slot in slots]
    assert [journeys[at : at + 1000].count("Buy") for at in (0, 1000, 2000)] == [1, 1, 1]


def test_the_order_of_journeys_is_drawn_apart_from_the_arrivals() -> None:
    """Another mix moves no slot, and other arrivals change no order."""
    hold = (Stage("hold", 0, 20, 50, 50),)
    poisson, other_mix = Schedule(hold, "poisson", MIX, 3), Schedule(hold, "poisson", {"A": 1.0}, 3)
    assert times(poisson).tolist() == times(other_mix).tolist()
    ordered = [[slot.journey for slot in Schedule(hold, kind, MIX, 3)][:900] for kind in ("even", "poisson")]
    assert ordered[0] == ordered[1]


def test_weights_are_told_apart_to_a_thousandth_and_none_is_negative() -> None:
    assert integer_mix([1, 0.001]) == [1000, 1]
    assert integer_mix([1, 1 / 1001]) == [1000, 1]
    assert integer_mix([1 / 3, 2 / 3]) == [1, 2]
    assert integer_mix([0.75]) == [1]
    with pytest.raises(ValueError, match="0 or more"):
        integer_mix([-1, 2])


def test_a_stage_of_less_than_an_iteration_may_hold_one() -> None:
    stages = (Stage("hold", 0, 0.8, 1, 1), Stage("hold", 0.8, 2, 0, 0), Stage("hold", 2, 2.9, 1, 1))
    assert times(Schedule(stages, "even", MIX, 1)).tolist() == [0.5, 2.7]
