"""kill, terminate, restart and pause of light processes: there, gone after an undo elsewhere, and only once."""

from __future__ import annotations

import time

import pytest
from light_system import Fault, LightSystem, injected, prepared, wait_for

from faultload.errors import Refused, TargetError
from faultload.faults import fault_for
from faultload.faults.base import FaultRequest
from faultload.host.processes import ProcessId
from faultload.platforms.base import Instance
from faultload.platforms.local.processes import http_status, instances_of, process_of, stopped


def of_web(light: LightSystem) -> set[ProcessId]:
    return {process_of(instance) for instance in instances_of(light.target, "web")}


@pytest.mark.parametrize("word", ["kill", "terminate"])
def test_a_process_dies_comes_back_once_and_no_other_is_touched(light: LightSystem, word: str) -> None:
    before, web = light.running(), of_web(light)
    with injected(light, word, service="web") as fault:
        [victim] = fault.instances
        assert of_web(light) == web - {process_of(victim)}
        assert http_status(f"http://127.0.0.1:{victim.port}/health", 0.5) is None
        assert fault.undo_elsewhere().seen
        after = light.running()
        assert len(after) == len(before) and len(after - before) == 1
        assert http_status(f"http://127.0.0.1:{victim.port}/health", 2) == 200
        assert fault.undo_elsewhere().seen
        assert light.running() == after, "a second undo changes nothing"


def test_undo_does_not_start_what_a_supervisor_has_brought_back(light: LightSystem) -> None:
    with injected(light, "kill", service="web") as fault:
        [victim] = fault.instances
        assert victim.port is not None
        light.start(victim.port)
        wait_for(lambda: fault.gone().seen, 10, "the process is back")
        running = light.running()
        assert fault.undo_elsewhere().seen and light.running() == running


def test_a_restart_leaves_another_process_in_the_same_place(light: LightSystem) -> None:
    before = light.running()
    with injected(light, "restart", service="web") as fault:
        [victim] = fault.instances
        wait_for(lambda: http_status(f"http://127.0.0.1:{victim.port}/health", 1) == 200, 10, "it answers again")
        after = light.running()
        assert len(after) == len(before) and before - after == {(victim.id, victim.started)}
        assert fault.undo_elsewhere().seen and light.running() == after
        assert fault.undo_elsewhere().seen and light.running() == after


def test_a_paused_process_answers_nothing_until_it_is_undone(light: LightSystem) -> None:
    before = light.running()
    with injected(light, "pause", service="web") as fault:
        [victim] = fault.instances
        assert stopped(process_of(victim))
        assert http_status(f"http://127.0.0.1:{victim.port}/health", 0.5) is None
        others = of_web(light) - {process_of(victim)}
        assert not any(stopped(process) for process in others)
        assert fault.undo_elsewhere().seen
        assert http_status(f"http://127.0.0.1:{victim.port}/health", 2) == 200
        assert fault.undo_elsewhere().seen
        assert light.running() == before and not stopped(process_of(victim))


def test_what_somebody_else_had_stopped_is_not_paused(light: LightSystem) -> None:
    with injected(light, "pause", service="store"), pytest.raises(TargetError, match="already stopped"):
        Fault(light, "pause", {"service": "store"}, 10.0)


def test_a_pid_that_is_used_again_is_never_signalled(light: LightSystem) -> None:
    with prepared(light, "pause", service="web") as fault:
        [victim] = fault.instances
        other = ProcessId(int(victim.id), victim.started - 1.0)
        assert other.signal(19) is False
        time.sleep(0.1)
        assert not stopped(process_of(victim))


SELECTING = {
    "kill": {},
    "terminate": {},
    "restart": {},
    "pause": {},
    "isolate": {},
    "cpu_stress": {},
    "memory_stress": {"bytes": "64MB"},
    "io_stress": {},
    "fill_disk": {"floor": "1GB"},
}


@pytest.mark.parametrize("word", SELECTING)
def test_an_empty_selection_is_refused_and_never_a_silent_success(light: LightSystem, word: str) -> None:
    services = dict(light.target.services)
    services["web"] = services["web"].model_copy(update={"command": ["/no/such/program", "{port}"]})
    empty = light.target.model_copy(update={"services": services})
    handler = fault_for(empty, FaultRequest(f"{word}#1@x", word, {"service": "web", **SELECTING[word]}))
    with pytest.raises(Refused, match="service 'web' has no running instance"):
        handler.resolve()
    too_many = {"service": "web", "count": 3, **SELECTING[word]}
    with pytest.raises(Refused, match="has 2 running instances, 3 were asked for"):
        fault_for(light.target, FaultRequest(f"{word}#1@x", word, too_many)).resolve()


@pytest.mark.parametrize("word", SELECTING)
def test_the_same_seed_chooses_the_same_instance(light: LightSystem, word: str) -> None:
    def chosen(seed: int, run: str) -> list[Instance]:
        arguments = {"service": "web", **SELECTING[word]}
        return fault_for(light.target, FaultRequest(f"{word}#1@{run}", word, arguments, 10.0, seed)).resolve()

    assert chosen(5, "one") == chosen(5, "two")
    assert {chosen(seed, "one")[0].id for seed in range(12)} == {
        one.id for one in instances_of(light.target, "web")
    }
