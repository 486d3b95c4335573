"""Which seconds the load generator spoiled, and what it owes of the schedule."""

from __future__ import annotations

import numpy as np
import pytest

from faultload_analysis.latency.generator import (
    SlipBuilder,
    Spoiled,
    limit_for,
    offered_achieved,
    slips,
    spoiled_seconds,
    union,
)


def judged(
    *, slip: dict[float, float] | None = None, lag: dict[int, float] | None = None,
    cpu: dict[int, float] | None = None, missing: tuple[int, ...] = (), phase: float = 0.5,
) -> Spoiled:  # fmt: skip
    times = np.arange(0, 10, 0.01) + 1e-6
    late = np.zeros(times.size)
    for at, value in (slip or {}).items():
        late[(times >= at) & (times < at + 0.05)] = value
    seconds = [s for s in range(10) if s not in missing]
    return spoiled_seconds(
        slips(times, late, start_s=0, end_s=10), [s + phase for s in seconds],
        [(lag or {}).get(s, 0.001) for s in seconds], [(cpu or {}).get(s, 40.0) for s in seconds], limit_s=0.01,
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
    late = np.zeros(100)
    for hit, spoiled in ((5, 0), (6, 1)):
        late[hit] = 1.0
        seen = slips(times, late, start_s=0, end_s=1)
        assert spoiled_seconds(seen, [0.5], [0], [0], limit_s=0.01).seconds == spoiled


def test_slips_in_chunks_are_the_slips_at_once() -> None:
    rng = np.random.default_rng(1)
    times, late = np.sort(rng.uniform(-1, 21, 5000)), rng.exponential(0.001, 5000)
    whole = slips(times[::-1], late[::-1], start_s=0, end_s=20)
    builder = SlipBuilder(0, 20)
    for part in np.array_split(np.arange(5000), 37):
        builder.add(times[part], late[part])
    chunked = builder.finish()
    inside = (times >= 0) & (times < 20)
    assert chunked.all_p99_s == whole.all_p99_s == np.quantile(late[inside], 0.99, method="inverted_cdf")
    assert chunked.p99_s.tolist() == whole.p99_s.tolist()
    assert whole.p99_s[7] == np.quantile(late[np.floor(times) == 7], 0.99, method="inverted_cdf")
    with pytest.raises(ValueError, match="goes back"):
        builder.add([3.0], [0.0])


def test_a_stall_reaches_back_over_its_length() -> None:
    assert np.flatnonzero(judged(lag={6: 2.8}).mask).tolist() == [3, 4, 5, 6]


def test_missing_health_is_spoiled() -> None:
    health = judged(missing=(4, 5, 6))
    assert health.mask[5] and not health.mask[2] and not health.mask[8]
    assert "health not measured" in health.reasons[0]
    nothing = spoiled_seconds(slips([], [], start_s=0, end_s=5), [], [], [], limit_s=0.01)
    assert nothing.seconds == 5 and nothing.slip_p99_s is None


def test_nan_health_is_missing_and_nan_slip_refused() -> None:
    assert judged(lag={5: float("nan"), 4: float("nan"), 6: float("nan")}).mask[5]
    with pytest.raises(ValueError, match="NaN"):
        slips([0.5], [float("nan")], start_s=0, end_s=1)


def test_one_bad_worker_spoils_the_second() -> None:
    both = union([judged(lag={5: 0.3}), judged(cpu={7: 99.0})])
    assert np.flatnonzero(both.mask).tolist() == [5, 7] and both.cpu_percent_max == 99.0
    with pytest.raises(ValueError, match="no load process"):
        union([])


def test_only_what_the_generator_owes_counts_against_it() -> None:
    fine = offered_achieved(1000, 900, 0, 100, duration_s=10)
    assert fine.share == 1.0 and fine.offered_per_s == 100 and fine.achieved_per_s == 90
    unsent = offered_achieved(1000, 900, 0, 0, duration_s=10)
    assert unsent.share == pytest.approx(0.9) and unsent.unsent == 100
    late = offered_achieved(1000, 1000, 50, 0, duration_s=10)
    assert late.share == pytest.approx(0.95) and late.late == 50
    assert offered_achieved(0, 0, 0, 0, duration_s=10).share is None
    with pytest.raises(ValueError, match="not counts"):
        offered_achieved(10, 5, 6, 0, duration_s=10)


def test_a_stretch_is_unfit_when_more_than_a_twentieth_of_it_is_spoiled() -> None:
    health = judged(lag={5: 0.3})
    assert health.unfit(np.arange(10) + 0.5).startswith("the load generator was the limit in 10% of this phase")
    assert health.unfit([0.5, 1.5]) == health.unfit([]) == ""
