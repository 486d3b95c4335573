"""Kill and stress on Kubernetes: their helper pods run before the fault, and begin when they are told."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from faultload.agents.when_told import PREPARED
from faultload.errors import TargetError
from faultload.faults.base import FaultRequest, PlatformFault
from faultload.faults.process.kubernetes import Kill
from faultload.faults.stress.kubernetes import CpuStress
from faultload.platforms.base import Instance
from faultload.platforms.kubernetes import helper as module
from faultload.platforms.kubernetes.helper import Ended, Helper
from faultload.spec.target import TargetFile

TARGET = TargetFile.model_validate(
    {
        "id": "shop",
        "name": "shop",
        "platform": "kubernetes",
        "context": "kind",
        "services": {"web": {"namespace": "shop", "selector": "app=web"}},
    }
)
WEB = Instance("web", "uid-1", 5.0, "web-1")
PLAN = {
    "mark": "faultload:x",
    "containers": {"uid-1": {"id": "c1", "node": "n1", "restarts": 0}},
    "helpers": "shop",
}


class Cluster:
    """What is done with helper pods, in order; a helper says `prepared`, and `ready` once it was told."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.done: list[str] = []
        self.argv: list[str] = []
        self.told = 0
        stand_ins: dict[str, Callable[..., Any]] = {
            "start": self._start,
            "wait_running": lambda *_: None,
            "wait_ended": lambda *_: Ended(0, ""),
            "execute_in": self._execute,
            "remove": lambda *_, **__: self.done.append("remove"),
            "_log": lambda *_: f"{PREPARED}\n{'ready' if self.told else ''}\n",
        }
        for name, stand_in in stand_ins.items():
            monkeypatch.setattr(module, name, stand_in)
        for kind in (CpuStress, Kill):
            monkeypatch.setattr(kind, "undo_plan", lambda self, instances: PLAN)
        monkeypatch.setattr(CpuStress, "_measure", lambda *_: None)
        pod = SimpleNamespace(uid="uid-1", node="n1")
        monkeypatch.setattr(Kill, "_the_very", lambda *_: [pod])

    def _start(
        self, target: object, namespace: str, node: str, argv: list[str], *_: object, **__: object
    ) -> Helper:
        self.done.append("start")
        self.argv = argv
        return Helper(namespace, "helper-1", "uid-h", node)

    def _execute(self, target: object, helper: Helper, argv: list[str], timeout_s: float) -> Any:
        self.done.append("tell")
        self.told += 1
        return SimpleNamespace(code=0 if "USR1" in argv[-1] else 1, out="", err="")


@pytest.fixture(params=["cpu_stress", "kill"])
def fault(request: pytest.FixtureRequest) -> PlatformFault:
    made_by = CpuStress if request.param == "cpu_stress" else Kill
    return made_by(TARGET, FaultRequest("slow#1@run", request.param, {"service": "web"}, 8.0))


def test_helpers_start_before_the_fault_and_wait_for_it(
    monkeypatch: pytest.MonkeyPatch, fault: PlatformFault
) -> None:
    cluster = Cluster(monkeypatch)
    fault.prepare([WEB])
    assert cluster.done == ["start"]
    assert {"--when-told", "when-told"}.intersection(cluster.argv)
    fault.inject([WEB], PLAN)
    assert cluster.done[:2] == ["start", "tell"]


def test_helpers_of_a_fault_that_does_not_come_are_removed(
    monkeypatch: pytest.MonkeyPatch, fault: PlatformFault
) -> None:
    cluster = Cluster(monkeypatch)
    fault.prepare([WEB])
    fault.release()
    assert cluster.done == ["start", "remove"]


def test_a_helper_that_cannot_be_told_is_named(monkeypatch: pytest.MonkeyPatch, fault: PlatformFault) -> None:
    Cluster(monkeypatch)
    fault.prepare([WEB])
    monkeypatch.setattr(module, "execute_in", lambda *_: SimpleNamespace(code=1, out="", err="no such process"))
    with pytest.raises(TargetError, match="helper-1 could not be told to begin: no such process"):
        fault.inject([WEB], PLAN)
