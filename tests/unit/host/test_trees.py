"""Process trees: parents before children, orphans of a known member, stopped and continued whole."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from faultload.host import trees
from faultload.host.processes import ProcessId, identify, wait_gone
from faultload.host.trees import Family, freeze, kill, stopped, thaw, tree

NESTED = """
import os, time
if os.fork() == 0 and os.fork() == 0:
    print("all", flush=True)
time.sleep(60)
"""
FORKING = """
import os, sys, time
print("all", flush=True)
while True:
    if os.fork() == 0:
        time.sleep(60)
        os._exit(0)
    time.sleep(0.02)
"""


def started(code: str) -> tuple[subprocess.Popen[bytes], ProcessId]:
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    assert process.stdout is not None and process.stdout.readline() == b"all\n"
    found = identify(process.pid)
    assert found is not None
    return process, found


@pytest.fixture
def nested() -> Iterator[ProcessId]:
    """A process with a child, which has one too."""
    process, root = started(NESTED)
    members = tree([root])
    yield root
    kill(members)
    process.wait()
    assert process.stdout is not None
    process.stdout.close()


def test_a_family_knows_who_is_above_and_below_and_who_is_on_top() -> None:
    known = Family({1: 0, 2: 1, 3: 2, 4: 2, 5: 4, 9: 1}, {pid: float(pid) for pid in (1, 2, 3, 4, 5, 9)})
    assert list(known.above(5)) == [4, 2, 1]
    assert list(known.below(2)) == [2, 3, 4, 5]
    assert known.tops([5, 4, 9, 3]) == [3, 4, 9]
    assert list(known.children(7)) == [] and list(known.above(7)) == []


def test_a_tree_is_its_root_with_all_below_and_empty_when_the_root_is_another_process(nested: ProcessId) -> None:
    found = tree([nested])
    assert found[0] == nested and len(found) == 3
    assert tree([ProcessId(nested.pid, nested.started - 1)]) == []


def test_what_a_dead_root_left_behind_is_found_by_the_members_known_before(nested: ProcessId) -> None:
    members = tree([nested])
    nested.signal(9)
    wait_gone([nested], 5)
    assert tree([nested]) == [] and set(tree(members)) == set(members[1:])


def test_a_tree_freezes_and_thaws_whole(nested: ProcessId) -> None:
    assert len(freeze([nested])) == 3 and all(map(stopped, tree([nested])))
    thaw([nested])
    assert not any(map(stopped, tree([nested])))


def test_children_that_are_forked_while_a_tree_is_stopped_or_killed_do_not_escape() -> None:
    process, root = started(FORKING)
    try:
        members = freeze([root])
        frozen = tree([root])
        assert all(map(stopped, frozen)) and set(frozen) <= set(members)
        time.sleep(0.1)
        assert tree([root]) == frozen, "nobody is left who could fork"
        thaw([root])
        time.sleep(0.1)
        members = kill([root])
        assert len(members) > len(frozen)
        assert wait_gone(members, 5) == [] and tree(members) == []
    finally:
        kill([root])
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


def test_a_single_process_is_killed_without_being_stopped_first(monkeypatch: pytest.MonkeyPatch) -> None:
    process = subprocess.Popen(["/bin/sleep", "60"])
    root = identify(process.pid)
    assert root is not None
    monkeypatch.setattr(trees, "freeze", lambda roots: pytest.fail("stopped"))
    assert kill([root]) == [root] and process.wait() == -9
    assert tree([root]) == [] and not root.signal(9)
