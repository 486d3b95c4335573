"""Room for every fault: after the warm-up, before the end of the load, and before the next one."""

from __future__ import annotations

import re

import pytest
from small_workspace import SmallWorkspace

from faultload.errors import InvalidInput
from faultload.run.scenarios import RunOptions, prepare

END_S, WARM_S = 70, 10
"""The load of the workspace; its faults are `freeze` (10 s of its `ttr` bound) and `slow` (5 s); a hold is 5 s."""


def mistakes(workspace: SmallWorkspace, freeze: str, slow: str) -> list[str]:
    """What is wrong when the two faults start at these moments, without the places in the file."""
    workspace.replace(workspace.scenario, "at: 20s", f"at: {freeze}")
    workspace.replace(workspace.scenario, "at: 45s", f"at: {slow}")
    try:
        prepare(workspace.scenario, RunOptions())
    except InvalidInput as error:
        return re.findall(r"('(?:freeze|slow)'.*) in profile full", str(error))
    return []


@pytest.mark.parametrize(
    ("freeze", "slow"), [("20s", "60s"), ("15s", "30s"), ("55s", "45s"), ("55s", "15s"), ("30s", "20s")]
)
def test_faults_in_any_order_with_room_for_each_are_in_order(
    workspace: SmallWorkspace, freeze: str, slow: str
) -> None:
    assert mistakes(workspace, freeze, slow) == []


def test_a_fault_starts_before_the_load_ends(workspace: SmallWorkspace) -> None:
    assert mistakes(workspace, "20s", "70s") == ["'slow' starts at 70 s, the load ends at 70 s"]


def test_a_fault_has_its_time_and_the_hold_before_the_load_ends(workspace: SmallWorkspace) -> None:
    (said,) = mistakes(workspace, "20s", "61s")
    assert said.startswith("'slow' at 61 s needs 10 s")
    assert said.endswith("but the end of the load comes after 9 s")


def test_a_fault_that_is_written_later_but_comes_first_must_leave_room(workspace: SmallWorkspace) -> None:
    (said,) = mistakes(workspace, "50s", "42s")
    assert said.startswith("'slow' at 42 s needs 10 s")
    assert said.endswith("but the next fault comes after 8 s")


def test_a_next_fault_that_never_starts_is_not_in_the_way(workspace: SmallWorkspace) -> None:
    room, never = sorted(mistakes(workspace, "60s", "75s"))
    assert room.endswith("but the end of the load comes after 10 s")
    assert never == "'slow' starts at 75 s, the load ends at 70 s"


def test_a_fault_has_baseline_before_it(workspace: SmallWorkspace) -> None:
    (said,) = mistakes(workspace, "14.9s", "45s")
    assert said.startswith("'freeze' starts at 14.9 s: it needs 5 s of baseline")
    assert "which ends at 10 s" in said
    with pytest.raises(InvalidInput, match="at: 15s or later"):
        prepare(workspace.scenario, RunOptions())


def test_a_fault_whose_experiment_is_missing_is_not_blamed_for_its_room_as_well(workspace: SmallWorkspace) -> None:
    workspace.slow.unlink()
    workspace.replace(workspace.scenario, "at: 45s", "at: 65s")
    with pytest.raises(InvalidInput, match="no such file") as said:
        prepare(workspace.scenario, RunOptions())
    assert "needs" not in str(said.value)
