"""Stress on Kubernetes: its helper pods run before the fault, and begin when they are told."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from faultload.agents.when_told import PREPARED
from faultload.errors import TargetError
from faultload.faults.base import FaultRequest
from faultload.faults.stress import kubernetes as module
from faultload.faults.stress.kubernetes import CpuStress
from faultload.platforms.base import Instance
from faultload.platforms.kubernetes.helper import Helper
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
PLAN = {"mark": "faultload:x", "containers": {"uid-1": {"id": "c1", "node": "n1"}}, "helpers": "shop"}


class Cluster:
    """What is done with helper pods, in order; a helper says `prepared`, and `ready` once it was told."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.done: list[str] = []
        self.argv: list[str] = []
        self.told = 0
        helpers: Any = SimpleNamespace(
            start=self._start,
            wait_running=lambda *_: None,
            execute_in=self._execute,
            helper_namespace=lambda *_: "shop",
            remove=lambda *_, **__: self.done.append("remove"),
        )
        monkeypatch.setattr(module, "helpers", helpers)
        monkeypatch.setattr(CpuStress, "undo_plan", lambda self, instances: PLAN)
        monkeypatch.setattr(CpuStress, "_measure", lambda *_: self.done.append("measure"))
        monkeypatch.setattr(
            CpuStress, "_log", lambda fault, helper: f"{PREPARED}\n{'ready' if self.told else ''}\n"
        )

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


def stress() -> CpuStress:
    return CpuStress(TARGET, FaultRequest("slow#1@run", "cpu_stress", {"service": "web"}, 8.0))


def test_helpers_start_before_the_fault_and_wait_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    cluster, fault = Cluster(monkeypatch), stress()
    fault.prepare([WEB])
    assert cluster.done == ["measure", "start"]
    assert "--when-told" in cluster.argv
    fault.inject([WEB], PLAN)
    assert cluster.done == ["measure", "start", "tell"]


def test_helpers_of_a_fault_that_does_not_come_are_removed(monkeypatch: pytest.MonkeyPatch) -> None:
    cluster, fault = Cluster(monkeypatch), stress()
    fault.prepare([WEB])
    fault.release()
    assert cluster.done == ["measure", "start", "remove"]


def test_a_helper_that_cannot_be_told_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    _, fault = Cluster(monkeypatch), stress()
    fault.prepare([WEB])
    monkeypatch.setattr(
        module.helpers, "execute_in", lambda *_: SimpleNamespace(code=1, out="", err="no such process")
    )
    with pytest.raises(TargetError, match="helper-1 could not be told to begin: no such process"):
        fault.inject([WEB], PLAN)
