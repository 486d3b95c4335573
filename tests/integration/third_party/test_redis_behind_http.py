"""Redis, which writes a title over its arguments, behind a service that keeps orders in it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from other_programs import System

from faultload.errors import Refused
from faultload.faults import fault_for
from faultload.faults.base import FaultRequest

WHOLE = {"front": 1, "redis": 1}


@pytest.fixture
def orders(started: Callable[[str], System]) -> System:
    system = started("redis")
    system.is_as_before(WHOLE)
    return system


def arguments_of(system: System) -> bytes:
    [redis] = system.roots("redis")
    return Path(f"/proc/{redis.pid}/cmdline").read_bytes()


def test_a_title_hides_how_redis_was_started_so_it_is_killed_only_if_the_target_file_says_how(
    orders: System,
) -> None:
    [redis] = orders.roots("redis")
    assert arguments_of(orders).startswith(f"redis-server 127.0.0.1:{orders.port_of('redis')}".encode())
    kill = fault_for(orders.target, FaultRequest("kill#1@1", "kill", {"service": "redis"}, 5.0, 1))
    [instance] = kill.resolve()
    [restore] = kill.undo_plan([instance])["restores"]
    assert "--appendfsync" in restore["argv"] and int(instance.id) == redis.pid
    silent = orders.without("redis", "start")
    kill = fault_for(silent, FaultRequest("kill#1@1", "kill", {"service": "redis"}, 5.0, 1))
    with pytest.raises(Refused, match="title 'redis-server 127"):
        kill.undo_plan(kill.resolve())
    assert orders.roots("redis") == {redis}


@pytest.mark.long
def test_a_killed_redis_loses_no_order_because_undo_starts_the_same_one_again(orders: System) -> None:
    title = arguments_of(orders)
    played = orders.play("kill_redis")
    assert played.exit_code == 0, played.output
    [before] = played.before["redis"]
    assert f"gone: redis:{orders.port_of('redis')} (pid {before.pid})" in played.fault.witness_what
    assert played.most_failed_with(503, least=30)
    assert played.hurts_nobody_else()
    writes = played.run.verdict["writes"]
    assert writes["acknowledged"] > 200 and writes["lost"] == 0
    orders.is_as_before(WHOLE)
    assert before not in orders.roots("redis") and arguments_of(orders) == title


@pytest.mark.long
def test_a_frozen_redis_keeps_its_callers_waiting_and_goes_on(orders: System) -> None:
    played = orders.play("pause_redis")
    assert played.exit_code == 0, played.output
    assert f"frozen, no CPU time in 0.5 s: redis:{orders.port_of('redis')}" in played.fault.witness_what
    assert played.most_failed_with(503, least=20), "each order waits a second, and is refused"
    assert played.hurts_nobody_else()
    assert played.run.verdict["writes"]["lost"] == 0
    orders.is_as_before(WHOLE)
    assert orders.roots("redis") == played.before["redis"]
