"""Failover and switchover of a CloudNativePG cluster against recorded answers of the API."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from recorded_api import Answer, RecordedApi, _merged, recorded, status

from faultload.errors import Refused, TargetError
from faultload.faults import fault_for
from faultload.faults.base import FaultRequest, PlatformFault
from faultload.faults.database import kubernetes_primary
from faultload.faults.database.kubernetes import Failover, Switchover, keeper_of
from faultload.platforms.kubernetes.client import Executed
from faultload.spec.target import TargetFile

PODS = "/api/v1/namespaces/shop/pods"
CLUSTERS = "/apis/postgresql.cnpg.io/v1/namespaces/shop/clusters"
TARGET = TargetFile.model_validate(
    {
        "id": "k",
        "name": "shop",
        "platform": "kubernetes",
        "namespace": "shop",
        "services": {"db": {"selector": "cnpg.io/cluster=pg", "container": "postgres", "port": 5432}},
    }
)


def pod(name: str, uid: str, role: str, container: str = "aa") -> dict[str, Any]:
    """An instance's pod, as the operator labels it."""
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": name,
            "namespace": "shop",
            "uid": uid,
            "labels": {"cnpg.io/cluster": "pg", "cnpg.io/instanceName": name, "cnpg.io/instanceRole": role},
            "ownerReferences": [
                {
                    "apiVersion": "postgresql.cnpg.io/v1",
                    "kind": "Cluster",
                    "name": "pg",
                    "uid": "c",
                    "controller": True,
                }
            ],
        },
        "spec": {"nodeName": "n1", "containers": [{"name": "postgres", "image": "postgresql:16"}]},
        "status": {
            "phase": "Running",
            "podIP": "10.0.0.9",
            "conditions": [{"type": "Ready", "status": "True"}],
            "containerStatuses": [
                {
                    "name": "postgres",
                    "ready": True,
                    "restartCount": 0,
                    "image": "postgresql:16",
                    "imageID": "",
                    "containerID": f"containerd://{container * 32}",
                    "state": {"running": {"startedAt": "2026-11-20T10:00:00Z"}},
                }
            ],
        },
    }


class Operator(RecordedApi):
    """A cluster of three, whose operator does at once what its status is told, or what a dead primary asks for."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        for number in (1, 2, 3):
            role = "primary" if number == 1 else "replica"
            self.put(PODS, pod(f"pg-{number}", f"uid-of-pg-{number}", role))
        self.put(CLUSTERS, recorded("cloudnativepg_cluster"))
        self.special.append(self.patch_status)
        self.obeys = True
        self.ran: list[tuple[str, str]] = []
        self.postmaster = "31 1000"

    @property
    def status(self) -> dict[str, Any]:
        return dict(self.objects[CLUSTERS]["pg"]["status"])

    def change(self, **fields: Any) -> None:
        cluster = self.objects[CLUSTERS]["pg"]
        self.put(CLUSTERS, {**cluster, "status": {**cluster["status"], **fields}})

    def patch_status(self, method: str, path: str, body: Any) -> Answer | None:
        if (method, path) != ("PATCH", f"{CLUSTERS}/pg/status"):
            return None
        cluster = self.objects[CLUSTERS]["pg"]
        if body["metadata"]["resourceVersion"] != cluster["metadata"]["resourceVersion"]:
            return status(409, "Conflict", "the object has been modified")
        found = self.put(CLUSTERS, _merged(cluster, body))
        if self.obeys:
            self.lead(found["status"]["targetPrimary"])
        return 200, found

    def lead(self, name: str) -> None:
        self.change(
            currentPrimary=name,
            targetPrimary=name,
            phase="Cluster in healthy state",
            timelineID=self.status["timelineID"] + 1,
        )

    def execute(self, _: Any, __: str, name: str, container: str, argv: list[str], *___: Any) -> Executed:
        """What the shell in an instance's container answers."""
        script = argv[2]
        self.ran.append((name, script))
        if script == kubernetes_primary._FIND:
            return Executed(0, f"{self.postmaster}\n", "")
        if script == kubernetes_primary._KILL:
            same = " ".join(argv[4:]) == self.postmaster
            self.postmaster = "99 2000"
            self.lead("pg-2")
            return Executed(0, "killed\n" if same else "gone\n", "")
        if script == kubernetes_primary._LOOK:
            return Executed(0, "alive\n" if " ".join(argv[4:]) == self.postmaster else "gone\n", "")
        return Executed(137, "", "")


@pytest.fixture
def operator(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Operator]:
    found = Operator(tmp_path)
    monkeypatch.setenv("KUBECONFIG", str(found.kubeconfig))
    monkeypatch.setattr(kubernetes_primary, "execute", found.execute)
    yield found
    found.close()


def fault(kind: str, **arguments: Any) -> PlatformFault:
    return fault_for(TARGET, FaultRequest(f"{kind}#1@run", kind, {"service": "db", **arguments}))


def test_a_cluster_is_known_by_the_operators_label(operator: Operator) -> None:
    assert keeper_of(TARGET, "db") == "cloudnativepg"
    assert isinstance(fault("failover_database"), Failover)
    assert isinstance(fault("switchover_database"), Switchover)


def test_the_postmaster_of_the_primary_dies_and_another_instance_leads(operator: Operator) -> None:
    one = fault("failover_database")
    assert one.gate() == []
    instances = one.resolve()
    assert [(found.name, found.id) for found in instances] == [("pg-1", "uid-of-pg-1")]
    plan = one.undo_plan(instances)
    assert (plan["keeper"], plan["primary"], plan["postmaster"]) == ("cloudnativepg", "pg-1", ["31", "1000"])
    one.inject(instances, plan)
    assert one.witness(instances).seen
    assert {name for name, _ in operator.ran} == {"pg-1"}
    elsewhere = fault("failover_database")
    sight = elsewhere.gone(instances, plan)
    assert sight.seen, sight.what
    asked = len(operator.asked)
    elsewhere.undo(instances, plan)
    elsewhere.undo(instances, plan)
    assert all(method == "GET" for method, _, _ in operator.asked[asked:])


def test_a_member_dies_with_its_pod_and_no_other(operator: Operator) -> None:
    one = fault("failover_database", mode="member")
    instances = one.resolve()
    plan = one.undo_plan(instances)
    one.inject(instances, plan)
    assert sorted(operator.objects[PODS]) == ["pg-2", "pg-3"]
    assert one.witness(instances).seen
    operator.change(phase="Failing over", readyInstances=2, targetPrimary="pg-2")
    assert not one.gone(instances, plan).seen
    operator.lead("pg-2")
    assert not one.gone(instances, plan).seen  # two of three are ready
    operator.change(readyInstances=3)
    assert one.gone(instances, plan).seen


def test_a_pod_that_was_replaced_meanwhile_is_not_killed(operator: Operator) -> None:
    one = fault("failover_database", mode="member")
    instances = one.resolve()
    plan = one.undo_plan(instances)
    operator.put(PODS, pod("pg-1", "another-uid", "primary"))
    operator.ran.clear()
    with pytest.raises(TargetError, match="nothing was touched"):
        one.inject(instances, plan)
    assert "pg-1" in operator.objects[PODS]
    assert operator.ran == []


def test_a_switchover_names_the_target_primary_as_the_operators_own_plugin_does(operator: Operator) -> None:
    one = fault("switchover_database", candidate="pg-3")
    assert one.gate() == []
    instances = one.resolve()
    assert [found.id for found in instances] == ["uid-of-pg-1"]
    plan = one.undo_plan(instances)
    one.inject(instances, plan)
    ((_, path, body),) = [asked for asked in operator.asked if asked[0] == "PATCH"]
    assert path == f"{CLUSTERS}/pg/status"
    assert body["status"]["targetPrimary"] == "pg-3"
    assert body["status"]["phase"] == "Switchover in progress"
    assert body["metadata"]["resourceVersion"]
    sight = one.witness(instances)
    assert sight.seen and sight.what == "pg-3 leads now, pg-1 led before"
    elsewhere = fault("switchover_database", candidate="pg-3")
    assert elsewhere.gone(instances, plan).seen
    before = operator.status
    elsewhere.undo(instances, plan)
    assert operator.status == before


def test_without_a_candidate_the_first_ready_standby_takes_over(operator: Operator) -> None:
    operator.objects[PODS]["pg-2"]["status"]["conditions"][0]["status"] = "False"
    one = fault("switchover_database")
    instances = one.resolve()
    assert one.undo_plan(instances)["candidate"] == "pg-3"


def test_a_switchover_that_the_operator_does_not_do_is_not_witnessed(
    operator: Operator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("faultload.faults.database.cloudnativepg._MOVED_S", 0.3)
    operator.obeys = False
    one = fault("switchover_database")
    instances = one.resolve()
    plan = one.undo_plan(instances)
    one.inject(instances, plan)
    assert not one.witness(instances).seen
    assert not one.gone(instances, plan).seen


def test_a_switchover_after_the_primary_changed_touches_nothing(operator: Operator) -> None:
    one = fault("switchover_database", candidate="pg-3")
    instances = one.resolve()
    plan = one.undo_plan(instances)
    operator.lead("pg-2")
    with pytest.raises(TargetError, match="no longer leads"):
        one.inject(instances, plan)
    assert operator.status["targetPrimary"] == "pg-2"


@pytest.mark.parametrize("candidate", ["pg-1", "pg-9"])
def test_a_candidate_that_cannot_lead_is_refused(operator: Operator, candidate: str) -> None:
    with pytest.raises(Refused, match="cannot switch over"):
        fault("switchover_database", candidate=candidate).resolve()


def test_fenced_instances_are_never_candidates(operator: Operator) -> None:
    operator.objects[CLUSTERS]["pg"]["metadata"]["annotations"] = {"cnpg.io/fencedInstances": '["pg-2"]'}
    one = fault("switchover_database")
    assert one.undo_plan(one.resolve())["candidate"] == "pg-3"
    with pytest.raises(Refused, match="fenced"):
        fault("switchover_database", candidate="pg-2").resolve()


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"phase": "Failing over"}, "not healthy"),
        ({"readyInstances": 1}, "nobody could take over"),
        ({"targetPrimary": "pg-2"}, "just taking over"),
    ],
)
def test_the_gate_holds_while_the_cluster_is_not_whole(
    operator: Operator, fields: dict[str, Any], why: str
) -> None:
    operator.change(**fields)
    assert any(why in problem for problem in fault("failover_database").gate())


def test_preflight_asks_for_the_operators_rights_only_where_its_label_is_selected() -> None:
    def wanted(selector: str) -> set[str]:
        target = TARGET.model_copy(
            update={"services": {"db": TARGET.services["db"].model_copy(update={"selector": selector})}}
        )
        return {str(right) for right in Switchover.demands(target).rights}

    assert "patch clusters/status.postgresql.cnpg.io" in wanted("cnpg.io/cluster=pg")
    assert not any("cnpg" in right for right in wanted("app=db"))
