"""The Kubernetes platform against recorded answers: pods as instances, the client, the extension, the manifests."""

from __future__ import annotations

import copy
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from recorded_api import Answer, RecordedApi, recorded, status

from faultload.chaos.guard import check_before_asking, check_here
from faultload.errors import Refused, TargetError
from faultload.faults.rbac import FOLDER, demands, main
from faultload.faults.rbac import manifest as rbac_manifest
from faultload.platforms.kubernetes.client import api_client, container_of, core, pods_of, server_url
from faultload.platforms.kubernetes.extension import actions
from faultload.platforms.kubernetes.helper import labels_of, manifest
from faultload.platforms.kubernetes.platform import Kubernetes
from faultload.spec.target import TargetFile

PODS = "/api/v1/namespaces/shop/pods"


def target(**service: Any) -> TargetFile:
    services = {"web": {"selector": "app=web", **service}}
    found = {"id": "k", "name": "shop", "platform": "kubernetes", "namespace": "shop", "services": services}
    return TargetFile.model_validate(found)


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[RecordedApi]:
    cluster = RecordedApi(tmp_path)
    for pod in recorded("pods")["items"]:
        cluster.put(PODS, pod)
    monkeypatch.setenv("KUBECONFIG", str(cluster.kubeconfig))
    yield cluster
    cluster.close()


def change(cluster: RecordedApi, index: int = 0) -> Any:
    return cluster.objects[PODS][recorded("pods")["items"][index]["metadata"]["name"]]


def test_instances_are_pods_by_uid_since_their_container_started(cluster: RecordedApi) -> None:
    first, second = Kubernetes(target(port=80)).instances("web")
    assert first.id == recorded("pods")["items"][0]["metadata"]["uid"] and first.port == 80
    assert first.started == pytest.approx(1795251009.0, abs=3.0)
    assert first.name < second.name


def test_a_pod_that_leaves_or_whose_container_waits_is_no_instance(cluster: RecordedApi) -> None:
    change(cluster, 0)["metadata"]["deletionTimestamp"] = "2026-11-21T08:50:30Z"
    waiting = {"waiting": {"reason": "CrashLoopBackOff"}}
    change(cluster, 1)["status"]["containerStatuses"][0]["state"] = waiting
    assert Kubernetes(target()).instances("web") == []
    assert Kubernetes(target()).ready("web") == []


@pytest.mark.parametrize(
    ("service", "problems"),
    [
        ({}, ["web: 1 of 2 pods are ready, 2 must be"]),
        ({"min_ready": 1}, []),
        ({"count": 3, "min_ready": 2}, ["web: 1 of 3 pods are ready, 2 must be"]),
    ],
)
def test_readiness_is_the_pods_ready_condition(
    cluster: RecordedApi, service: dict[str, Any], problems: list[str]
) -> None:
    for condition in change(cluster)["status"]["conditions"]:
        if condition["type"] == "Ready":
            condition["status"] = "False"
    assert Kubernetes(target(**service)).not_ready("web") == problems
    assert len(Kubernetes(target()).ready("web")) == 1
    assert len(Kubernetes(target()).instances("web")) == 2


def test_a_service_without_pods_is_not_ready(cluster: RecordedApi) -> None:
    cluster.objects[PODS].clear()
    assert Kubernetes(target()).not_ready("web") == ["web: 0 of 1 pods are ready, 1 must be"]


def test_trap_a_service_without_a_selector_selects_nothing_at_all(cluster: RecordedApi) -> None:
    """terminate_pods without a selector kills the first pod of the namespace."""
    bare = TargetFile.model_validate(
        {"id": "k", "name": "shop", "platform": "kubernetes", "namespace": "shop", "services": {"web": {}}}
    )
    with pytest.raises(TargetError, match="has no selector"):
        pods_of(bare, "web")


def test_trap_a_command_always_names_its_container(cluster: RecordedApi) -> None:
    """exec_in_pods without a container's name runs nothing and succeeds."""
    pod = pods_of(target(), "web")[0]
    assert container_of(target(), "web", pod) == "web"
    with pytest.raises(TargetError, match=r"has no container 'sidecar' .it has: web."):
        container_of(target(container="sidecar"), "web", pod)


def test_trap_two_activities_never_share_a_client(cluster: RecordedApi) -> None:
    """stream() replaces a client's transport while it runs (kubernetes-client/python#928)."""
    assert core(target()).api_client is not core(target()).api_client


def test_trap_the_extension_neither_finds_another_cluster_nor_changes_every_client(
    cluster: RecordedApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It takes http://localhost where KUBECONFIG names several files, and sets `verify_ssl` for every client."""
    from kubernetes.client import Configuration

    monkeypatch.setenv("KUBECONFIG", f"/nowhere:{cluster.kubeconfig}")
    with actions(target(), "pod.actions", "delete") as pods:
        deleted = pods.terminate_pods(label_selector="app=web", name_pattern="^none$", all=True, ns="shop")
    assert deleted == []
    assert ("GET", PODS, None) in cluster.asked
    assert "verify_ssl" not in vars(Configuration)
    assert api_client(target()).configuration.verify_ssl is True


def test_what_the_extension_raises_is_said_in_words(cluster: RecordedApi) -> None:
    with (
        pytest.raises(TargetError, match=r"could not scale web: failed to scale 'web'"),
        actions(target(), "deployment.actions", "scale web") as deployments,
    ):
        deployments.scale_deployment("web", 3, "shop")


def test_a_refusal_by_the_cluster_is_one_line(cluster: RecordedApi) -> None:
    def forbid(method: str, path: str, body: Any) -> Answer:
        return status(403, "Forbidden", 'pods is forbidden: User "x" cannot list resource\n"pods"')

    cluster.special.append(forbid)
    with pytest.raises(TargetError) as caught:
        pods_of(target(), "web")
    said = 'pods is forbidden: User "x" cannot list resource "pods" (403)'
    assert str(caught.value) == f"could not list the pods of namespace 'shop': {said}"


def test_the_identity_is_that_of_the_cluster_and_the_namespace(cluster: RecordedApi) -> None:
    cluster.put("/api/v1/namespaces", {"metadata": {"name": "kube-system", "uid": "abc"}})
    assert Kubernetes(target()).identity() == "kubernetes:abc:shop"


def elsewhere(cluster: RecordedApi) -> None:
    content = yaml.safe_load(cluster.kubeconfig.read_text())
    content["clusters"][0]["cluster"]["server"] = "https://cluster.example.org:6443"
    cluster.kubeconfig.write_text(yaml.safe_dump(content))


def test_a_cluster_elsewhere_is_approved_before_it_is_asked(cluster: RecordedApi) -> None:
    elsewhere(cluster)
    for check in (check_before_asking, check_here):
        with pytest.raises(Refused, match=r"its cluster is https://cluster.example.org:6443"):
            check(target(), ["k"])
    allowed = target().model_copy(update={"allow": ["k"]})
    check_here(allowed, ["k"])
    by_address = target().model_copy(update={"id": "", "allow": ["kubernetes:https://cluster.example.org:6443"]})
    check_before_asking(by_address, by_address.allow)
    assert cluster.asked == []


def test_a_context_that_is_not_there_is_said(cluster: RecordedApi) -> None:
    with pytest.raises(TargetError, match="the kubeconfig has no context 'prod'"):
        server_url(target().model_copy(update={"context": "prod"}))


def test_a_credential_plugin_is_not_run_to_see_where_the_cluster_is(cluster: RecordedApi, tmp_path: Path) -> None:
    content = yaml.safe_load(cluster.kubeconfig.read_text())
    plugin = {"apiVersion": "client.authentication.k8s.io/v1", "command": "touch", "args": [str(tmp_path / "ran")]}
    content["users"][0]["user"] = {"exec": plugin}
    cluster.kubeconfig.write_text(yaml.safe_dump(content))
    assert server_url(target()).startswith("http")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("node", ["this kernel", "another kernel", "may not be asked"])
def test_a_cluster_at_a_loopback_address_is_here_by_the_kernel_of_a_node(cluster: RecordedApi, node: str) -> None:
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip() if node == "this kernel" else "another"
    cluster.put("/api/v1/nodes", {"metadata": {"name": "n"}, "status": {"nodeInfo": node_info(boot)}})
    if node == "may not be asked":
        cluster.special.append(
            lambda method, path, body: status(403, "Forbidden", "no") if "nodes" in path else None
        )
    if node == "this kernel":
        check_here(target(), [])
    else:
        with pytest.raises(Refused, match="nothing shows that the cluster"):
            check_here(target(), [])


def node_info(boot_id: str) -> dict[str, str]:
    keys = (
        "architecture containerRuntimeVersion kernelVersion kubeProxyVersion kubeletVersion machineID "
        "operatingSystem osImage systemUUID"
    )
    return {"bootID": boot_id, **dict.fromkeys(keys.split(), "x")}


def test_a_cluster_is_here_by_a_container_that_is_a_process_of_this_machine(
    cluster: RecordedApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def here(containers: list[str]) -> bool:
        asked.extend(containers)
        return True

    monkeypatch.setattr("faultload.platforms.kubernetes.platform.in_a_control_group_here", here)
    check_here(target(), [])
    assert [len(one) for one in asked] == [64, 64]


def test_what_a_helper_is_given_arrives_as_it_is() -> None:
    said = ["sh", "-c", "echo $$ > /tmp/helper.pid; exec $(cat program) $HOME"]
    made = manifest("node1", said, "slow#1@run", 10.0, environment={"SPEC": "$(PATH) $$"})
    (container,) = made["spec"]["containers"]
    assert [as_kubernetes_reads(one) for one in container["command"]] == said
    assert as_kubernetes_reads(container["env"][0]["value"]) == "$(PATH) $$"


def as_kubernetes_reads(text: str) -> str:
    """By the rules of the API reference of `command`: `$(NAME)` becomes a value, and `$$` becomes `$`."""
    return re.sub(r"\$\$|\$\(\w+\)", lambda found: "$" if found[0] == "$$" else "VALUE", text)


def test_a_helper_carries_no_label_that_a_service_could_have(cluster: RecordedApi) -> None:
    """Its fault's id may hold what a label must not; the label is a hash, the id an annotation."""
    made = manifest("node1", ["true"], "api slow#1@run-2026", 12.3, capabilities=["KILL"])
    assert made["metadata"]["labels"] == labels_of("api slow#1@run-2026")
    assert set(made["metadata"]["labels"]) == {"app.kubernetes.io/managed-by", "faultload.io/fault"}
    assert made["spec"]["activeDeadlineSeconds"] == 14
    assert made["spec"]["automountServiceAccountToken"] is False
    (container,) = made["spec"]["containers"]
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"], "add": ["KILL"]}


def test_our_own_pods_are_nobodys_instances(cluster: RecordedApi) -> None:
    helper = copy.deepcopy(recorded("pods")["items"][0])
    helper["metadata"] = {**helper["metadata"], "name": "helper", "uid": "h"}
    helper["metadata"]["labels"] = {"app": "web", **labels_of("f#1@run")}
    cluster.put(PODS, helper)
    assert len(Kubernetes(target()).instances("web")) == 2


def test_the_manifests_in_the_tree_are_those_of_the_code() -> None:
    """`python -m faultload.faults.rbac` writes them."""
    known = demands()
    assert {file.stem for file in FOLDER.glob("*.yaml")} == set(known)
    for name, demand in known.items():
        assert (FOLDER / f"{name}.yaml").read_text() == rbac_manifest(name, demand), name


def test_a_manifest_grants_nothing_but_what_is_asked_for() -> None:
    """No wildcards, no secrets, and cluster roles only for what is the cluster's."""
    for name, demand in demands().items():
        for one in yaml.safe_load_all(rbac_manifest(name, demand)):
            for rule in one["rules"]:
                assert "*" not in (*rule["verbs"], *rule["resources"], *rule["apiGroups"]), name
                assert not {"secrets", "roles", "rolebindings"} & set(rule["resources"]), name
                if one["kind"] == "ClusterRole":
                    assert set(rule["resources"]) <= {"namespaces", "nodes", "pods"}, name


def test_a_manifest_is_printed_by_its_name(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["kill"]) == 0
    assert "name: faultload-kill\n" in capsys.readouterr().out
    assert main(["flood"]) == 2
    assert "there is no fault 'flood'" in capsys.readouterr().err


def test_the_words_are_known_without_the_kubernetes_client_installed() -> None:
    program = (
        "import sys\n"
        "for name in ('kubernetes', 'chaosk8s', 'docker', 'psycopg'): sys.modules[name] = None\n"
        "from faultload.faults import faults_of\n"
        "print(*faults_of('kubernetes'))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert {"kill", "terminate", "restart", "scale", "drain_node"} <= set(done.stdout.split()), done.stderr
