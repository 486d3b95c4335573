"""What became of acknowledged writes."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from faultload_analysis.evidence.verdict import Verdict, decide
from faultload_analysis.recovery.durability import recovery_point, write_fates

NAN = math.nan


def test_the_recovery_point_is_the_age_of_the_oldest_lost_write() -> None:
    acked = [1.0, 2.0, 3.0, 4.0, 5.0]
    fates = write_fates(acked, [True, True, False, True, False], read_s=20.0)
    e = recovery_point(fates, fault_s=5.5)
    assert (e.value, e.low, e.high, e.n) == (2.5, 2.5, 3.5, 5)
    assert fates.lost_writes.value == 2
    assert decide("==", 0, fates.lost_writes, fmt=str).verdict is Verdict.FAIL


def test_nothing_lost_is_a_recovery_point_of_zero_up_to_the_last_stable_write() -> None:
    fates = write_fates([1.0, 2.0, 9.0], [True, True, True], read_s=20.0)
    e = recovery_point(fates, fault_s=5.0)
    assert (e.value, e.low, e.high) == (0.0, 0.0, 3.0)
    assert decide("==", 0, fates.lost_writes, fmt=str).verdict is Verdict.PASS


def test_no_stable_write_is_unknown_and_never_zero() -> None:
    for fates in (
        write_fates([], [], read_s=1.0),
        write_fates([1.0, 2.0], [True, True], read_s=None),
        write_fates([NAN, NAN], [True, False], read_s=9.0),
        write_fates([5.0], [False], read_s=4.0),
    ):
        assert fates.lost_writes.value is None and recovery_point(fates, 3.0).value is None
        assert decide("==", 0, fates.lost_writes, fmt=str).verdict is Verdict.INCONCLUSIVE


def test_all_writes_lost_is_a_loss_without_an_end() -> None:
    fates = write_fates([1.0, 2.0], [False, False], read_s=9.0)
    e = recovery_point(fates, 3.0)
    assert fates.lost_writes.value == 2 and (e.value, e.high) == (2.0, None)


def test_unacknowledged_writes_count_neither_way() -> None:
    fates = write_fates([1.0, NAN, NAN], [True, False, True], read_s=9.0)
    assert fates.indeterminate.tolist() == [False, True, True]
    assert fates.lost_writes.value == 0 and "2 indeterminate left out" in fates.lost_writes.why


def test_a_write_acknowledged_during_the_read_and_not_found_was_never_read() -> None:
    fates = write_fates([1.0, 5.0, 5.0], [True, False, True], read_s=4.0)
    assert fates.never_read.tolist() == [False, True, False] and fates.stable.tolist() == [True, False, True]
    assert fates.lost_writes.value == 0 and "1 never read" in fates.lost_writes.why


def test_what_the_fault_lost_of_later_writes_is_said() -> None:
    fates = write_fates([1.0, 6.0, 7.0], [True, False, False], read_s=20.0)
    e = recovery_point(fates, 5.0)
    assert e.value == 0.0 and "2 acknowledged after the fault are lost as well" in e.why
    assert recovery_point(write_fates([6.0], [False], read_s=20.0), 5.0).value is None


@settings(max_examples=100)
@given(
    st.lists(
        st.tuples(
            st.one_of(st.just(NAN), st.floats(0, 10)), st.booleans(), st.one_of(st.just(NAN), st.floats(0, 12))
        ),
        max_size=30,
    ),
    st.floats(0, 10),
)
def test_every_write_has_exactly_one_fate(writes: list[tuple[float, bool, float]], fault_s: float) -> None:
    acked, found, read = (np.array(column) for column in zip(*writes, strict=True)) if writes else ([], [], [])
    fates = write_fates(acked, found, read_s=read)
    masks = np.array([fates.stable, fates.lost, fates.never_read, fates.indeterminate])
    assert (masks.sum(axis=0) == 1).all()
    e = recovery_point(fates, fault_s)
    if e.value is not None:
        assert 0 <= e.value <= 10 and (e.high is None or e.high >= e.value)


def test_what_is_no_ledger_is_refused() -> None:
    with pytest.raises(ValueError, match="one shape"):
        write_fates([1.0], [True, False], read_s=2.0)
    with pytest.raises(ValueError, match="finite"):
        write_fates([math.inf], [True], read_s=2.0)
    with pytest.raises(ValueError, match="needs a time"):
        recovery_point(write_fates([1.0], [True], read_s=2.0), NAN)
