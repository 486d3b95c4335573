"""etcd of three members behind HAProxy, each behind the link proxy: one is killed, one frozen, and all are slow."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import pytest
from other_programs import Played, System

pytestmark = pytest.mark.long

WHOLE = {"lb": 1, "etcd": 3}
HEALTH_S = 2.5
"""While the leader is frozen no member is healthy: HAProxy serves again after its next check, of 1 s at most."""


@pytest.fixture
def settings(started: Callable[[str], System]) -> System:
    system = started("etcd")
    system.is_as_before(WHOLE)
    return system


def loses_nothing(played: Played) -> bool:
    writes = played.run.verdict["writes"]
    return writes["acknowledged"] > 100 and writes["lost"] == 0


def test_a_killed_member_is_brought_back_by_its_supervisor_and_no_write_is_lost(settings: System) -> None:
    played = settings.play("kill_member")
    assert played.exit_code == 0, played.output
    before = played.before["etcd"]
    [killed] = [one for one in before if f"(pid {one.pid})" in played.fault.witness_what]
    assert played.hurts_nobody_else() and loses_nothing(played)
    settings.is_as_before(WHOLE)
    assert before - settings.roots("etcd") == {killed}, "the others are the same processes"


def test_requests_to_a_frozen_member_wait_until_haproxy_takes_it_out(settings: System) -> None:
    played = settings.play("pause_member")
    assert played.exit_code == 0, played.output
    assert "frozen, no answer and no CPU time in 0.5 s: etcd:" in played.fault.witness_what
    waited = Counter(one.during for one in played.requests if one.seconds > 1)
    assert waited[True] > 3 and waited[True] > 5 * waited[False]
    assert played.hurts_nobody_else(back_s=HEALTH_S) and loses_nothing(played)
    settings.is_as_before(WHOLE)
    assert settings.roots("etcd") == played.before["etcd"]


def test_a_slow_link_makes_every_request_slow_and_no_other(settings: System) -> None:
    played = settings.play("slow_members")
    assert played.exit_code == 0, played.output
    assert len(played.fault.instances) == 3
    during = [one.seconds for one in played.requests if one.during]
    others = [one.seconds for one in played.requests if not one.during]
    assert sum(one > 0.29 for one in during) > 60
    assert sum(one < 0.29 for one in others) > 0.9 * len(others)
    assert played.hurts_nobody_else() and loses_nothing(played)
    settings.is_as_before(WHOLE)
    assert settings.roots("etcd") == played.before["etcd"]
