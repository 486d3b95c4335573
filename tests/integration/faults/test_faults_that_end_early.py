"""Each fault that lasts is seen to last, and seen to be over when somebody else ends it."""

from __future__ import annotations

import signal
from collections.abc import Callable
from typing import Any

import pytest
from light_system import Fault, LightSystem, injected, wait_for

from faultload.errors import TargetError
from faultload.faults.base import WitnessReport
from faultload.faults.stress import stressors
from faultload.host.trees import stopped
from faultload.platforms.local.links import LinkProxy
from faultload.platforms.local.processes import process_of

LINK = "edge -> web"


def look(fault: Fault) -> WitnessReport:
    found = fault.handler.lasts(fault.instances, fault.plan)
    assert found is not None
    return found


def is_over(fault: Fault) -> bool:
    """Whether a look shows that it is over; one at what is just going away may fail, and tells nothing."""
    try:
        return not look(fault).seen
    except TargetError:
        return False


def thaw(light: LightSystem, fault: Fault) -> None:
    process_of(fault.instances[0]).signal(signal.SIGCONT)


def replace(light: LightSystem, fault: Fault) -> None:
    """Kill what is frozen, and start another in its place, as a supervisor does."""
    [victim] = fault.instances
    process_of(victim).signal(signal.SIGKILL)
    assert victim.port is not None
    wait_for(lambda: not process_of(victim).alive(), 10, "it is gone")
    light.start(victim.port)
    wait_for(light.all_well, 20, "another answers in its place")


def remove_from_proxy(light: LightSystem, fault: Fault) -> None:
    for link in ("edge -> web", "web -> store"):
        LinkProxy(f"http://127.0.0.1:{light.control}", "a-token-of-the-tests").remove(
            link, fault.handler.request.fault_id
        )


def end_stressors(light: LightSystem, fault: Fault) -> None:
    """As the kernel does when memory runs short: one process is enough."""
    worker = stressors.running(fault.plan["mark"])[-1]
    worker.signal(signal.SIGKILL)
    wait_for(lambda: not stressors.running(fault.plan["mark"]), 10, "the others end with it")


def stop_stressors(light: LightSystem, fault: Fault) -> None:
    for one in stressors.running(fault.plan["mark"]):
        one.signal(signal.SIGSTOP)
        wait_for(lambda one=one: stopped(one), 10, "it is stopped")


ENDINGS: list[Any] = [
    ("pause", {"service": "store"}, thaw, "runs again"),
    ("pause", {"service": "store"}, replace, "ended"),
    pytest.param("partition", {"link": LINK}, remove_from_proxy, "somebody ended it", marks=pytest.mark.long),
    pytest.param("isolate", {"service": "store"}, remove_from_proxy, "somebody ended it", marks=pytest.mark.long),
    ("latency", {"link": LINK, "delay_ms": 100}, remove_from_proxy, "somebody ended it"),
    ("bandwidth", {"link": LINK, "bytes_per_s": 10_000}, remove_from_proxy, "somebody ended it"),
    ("http_error", {"link": LINK}, remove_from_proxy, "somebody ended it"),
    ("cpu_stress", {"service": "store", "workers": 1}, end_stressors, "ended early"),
    ("memory_stress", {"service": "store", "bytes": "8MB"}, end_stressors, "ended early"),
    ("memory_stress", {"service": "store", "bytes": "8MB"}, stop_stressors, "were stopped"),
]


@pytest.mark.parametrize(
    ("word", "arguments", "end", "what"), ENDINGS, ids=lambda one: getattr(one, "__name__", None)
)
def test_a_fault_that_somebody_ended_is_seen_to_be_over(
    light: LightSystem, word: str, arguments: dict[str, Any], end: Callable[[LightSystem, Fault], None], what: str
) -> None:
    with injected(light, word, **arguments) as fault:
        assert look(fault).seen, look(fault).what
        end(light, fault)
        wait_for(lambda: is_over(fault), 10, "it is seen to be over")
        assert what in look(fault).what
        assert fault.undo_elsewhere().seen and light.all_well()


def test_a_link_proxy_that_died_took_its_faults_along(light: LightSystem) -> None:
    with injected(light, "latency", link=LINK, delay_ms=50) as fault:
        light.proxy.signal(signal.SIGKILL)
        wait_for(lambda: not light.proxy.alive(), 10, "the proxy is gone")
        wait_for(lambda: is_over(fault), 10, "it is seen to be over")
        assert "the link proxy" in look(fault).what
