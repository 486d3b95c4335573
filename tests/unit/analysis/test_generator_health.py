"""Which seconds the load generator spoiled, and what it owes of the schedule."""

from __future__ import annotations

import numpy as np
import pytest

from faultload_analysis.generator import Spoiled, limit_for, offered_achieved, spoiled_seconds, union


def judged(
    *, slip: dict[float, float] | None = None, lag: dict[int, float] | None = None,
    cpu: dict[int, float] | None = None, missing: tuple[int, ...] = (), phase: float = 0.5,
) -> Spoiled:  # fmt: skip
    times = np.arange(0, 10, 0.01) + 1e-6
    slips = np.zeros(times.size)
    for at, value in (slip or {}).items():
        slips[(times >= at) & (times < at + 0.05)] = value
    seconds = [s for s in range(10) if s not in missing]
    return spoiled_seconds(
        times, slips, [s + phase for s in seconds], [(lag or {}).get(s, 0.001) for s in seconds],
        [(cpu or {}).get(s, 40.0) for s in seconds], start_s=0, end_s=10, limit_s=0.01,
    )  # fmt: skip


def test_the_limit_is_ten_milliseconds_or_five_percent() -> None:
    assert limit_for(None) == limit_for(0.1) == 0.01
    assert limit_for(0.5) == 0.025


@pytest.mark.parametrize("phase", [0.0, 0.5, 0.95])
def test_a_healthy_generator_spoils_nothing(phase: float) -> None:
    health = judged(phase=phase)
    assert health.seconds == 0 and health.reasons == ()
    assert health.loop_lag_p99_s == 0.001 and health.cpu_percent_max == 40.0


def test_slip_lag_and_cpu_spoil_their_second() -> None:
    health = judged(slip={3.2: 0.02}, lag={5: 0.3}, cpu={7: 99.0})
    assert np.flatnonzero(health.mask).tolist() == [3, 5, 7]
    assert [r.split(" over")[0] for r in health.reasons] == ["slip P99", "loop lag", "CPU"]
    assert health.at([3.5, 4.5, -1.0, 99.0]).tolist() == [True, False, False, False]
    assert health.share(0, 10) == pytest.approx(0.3) and health.share(3, 4) == 1.0
    assert health.any_in(7.2, 7.3) and not health.any_in(8, 10)


def test_one_late_slot_in_a_hundred_is_within_p99() -> None:
    times = np.arange(0, 1, 0.01)
    slips = np.zeros(100)
    slips[5] = 1.0
    assert spoiled_seconds(times, slips, [0.5], [0], [0], start_s=0, end_s=1, limit_s=0.01).seconds == 0
    slips[6] = 1.0
    assert spoiled_seconds(times, slips, [0.5], [0], [0], start_s=0, end_s=1, limit_s=0.01).seconds == 1


def test_a_stall_reaches_back_over_its_length() -> None:
    assert np.flatnonzero(judged(lag={6: 2.8}).mask).tolist() == [3, 4, 5, 6]


def test_missing_health_is_spoiled() -> None:
    health = judged(missing=(4, 5, 6))
    assert health.mask[5] and not health.mask[2] and not health.mask[8]
    assert "health not measured" in health.reasons[0]
    nothing = spoiled_seconds([], [], [], [], [], start_s=0, end_s=5, limit_s=0.01)
    assert nothing.seconds == 5 and nothing.slip_p99_s is None


def test_nan_health_is_missing_and_nan_slip_refused() -> None:
    assert judged(lag={5: float("nan"), 4: float("nan"), 6: float("nan")}).mask[5]
    with pytest.raises(ValueError, match="NaN"):
        spoiled_seconds([0.5], [float("nan")], [], [], [], start_s=0, end_s=1, limit_s=0.01)


def test_one_bad_worker_spoils_the_second() -> None:
    both = union([judged(lag={5: 0.3}), judged(cpu={7: 99.0})])
    assert np.flatnonzero(both.mask).tolist() == [5, 7] and both.cpu_percent_max == 99.0
    with pytest.raises(ValueError, match="no load process"):
        union([])


def test_only_what_the_generator_owes_counts_against_it() -> None:
    fine = offered_achieved(1000, np.zeros(900), 100, duration_s=10, limit_s=0.01)
    assert fine.share == 1.0 and fine.offered_per_s == 100 and fine.achieved_per_s == 90
    unsent = offered_achieved(1000, np.zeros(900), 0, duration_s=10, limit_s=0.01)
    assert unsent.share == pytest.approx(0.9) and unsent.unsent == 100
    late = offered_achieved(1000, np.repeat([0.0, 1.0], [950, 50]), 0, duration_s=10, limit_s=0.01)
    assert late.share == pytest.approx(0.95) and late.late == 50
    assert offered_achieved(0, [], 0, duration_s=10, limit_s=0.01).share is None
