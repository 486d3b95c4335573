"""Preflight on a real cluster: with exactly a fault's rights all works, with one less it is named, untouched."""

from __future__ import annotations

import base64
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import Space, core, wait_until
from dnsref import asking, name_server
from shopref import IDLE

from faultload.errors import TargetError
from faultload.faults import preflight
from faultload.faults.rbac import demands, objects
from faultload.platforms import identified, platform_of
from faultload.platforms.kubernetes.client import api_client
from faultload.platforms.kubernetes.rights import HELPER, Demands, Right
from faultload.spec.target import TargetFile

pytestmark = pytest.mark.kubernetes


@dataclass
class Account:
    """A service account, whose token is a context of KUBECONFIG beside the administrator's."""

    space: Space
    context: str

    def grant(self, name: str, demand: Demands) -> None:
        """Exactly the objects of a manifest, bound to this account."""
        from kubernetes.client import RbacAuthorizationV1Api

        rbac: Any = RbacAuthorizationV1Api(api_client(self.space.api))
        subject = {"kind": "ServiceAccount", "name": "faultload", "namespace": self.space.name}
        for one in objects(name, demand):
            wide = one["kind"] == "ClusterRole"
            # cluster roles are named for this test, and removed with it
            own = f"{self.space.name}-{one['metadata']['name']}" if wide else one["metadata"]["name"]
            body = {**one, "metadata": {"name": own}}
            binding = {
                "metadata": {"name": own},
                "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": one["kind"], "name": own},
                "subjects": [subject],
            }
            if wide:
                rbac.create_cluster_role(body)
                rbac.create_cluster_role_binding(binding)
            else:
                rbac.create_namespaced_role(self.space.name, body)
                rbac.create_namespaced_role_binding(self.space.name, binding)

    def target(self, *services: str, **more: Any) -> TargetFile:
        return identified(self.space.target(*services, **more).model_copy(update={"context": self.context}))


@pytest.fixture
def account(space: Space, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Account]:
    from kubernetes.client import RbacAuthorizationV1Api

    core(space.api).create_namespaced_service_account(space.name, {"metadata": {"name": "faultload"}})
    secret: Any = {
        "metadata": {"name": "token", "annotations": {"kubernetes.io/service-account.name": "faultload"}},
        "type": "kubernetes.io/service-account-token",
    }
    core(space.api).create_namespaced_secret(space.name, secret)
    data: dict[str, str] = {}

    def token_is_there() -> bool:
        data.update(core(space.api).read_namespaced_secret("token", space.name).data or {})
        return "token" in data

    wait_until(token_is_there)
    config = api_client(space.api).configuration
    name = f"account-{space.name}"
    cluster: dict[str, Any] = {"server": config.host, "certificate-authority": config.ssl_ca_cert}
    user = {"token": base64.b64decode(data["token"]).decode()}
    context = {"cluster": name, "user": name}
    file = tmp_path / "account.conf"
    content = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": name, "cluster": cluster}],
        "users": [{"name": name, "user": user}],
        "contexts": [{"name": name, "context": context}],
    }
    file.write_text(yaml.safe_dump(content))
    monkeypatch.setenv("KUBECONFIG", f"{os.environ['KUBECONFIG']}{os.pathsep}{file}")
    yield Account(space, name)
    space.undo_all()  # while its context is known
    rbac: Any = RbacAuthorizationV1Api(api_client(space.api))
    for listing, delete in (
        (rbac.list_cluster_role_binding, rbac.delete_cluster_role_binding),
        (rbac.list_cluster_role, rbac.delete_cluster_role),
    ):
        for one in listing().items:
            if one.metadata.name.startswith(space.name):
                delete(one.metadata.name)


FAULTS: dict[str, dict[str, Any]] = {
    "kill": {"service": "web"},
    "terminate": {"service": "web", "grace_s": 2},
    "restart": {"service": "web"},
    "scale": {"service": "web", "to": 1},
}


@pytest.mark.parametrize("word", FAULTS)
def test_exactly_the_rights_of_the_manifest_are_enough(account: Account, word: str) -> None:
    """Preflight, inject, witness and undo by a service account that has the fault's role and nothing else."""
    account.space.deploy("web", 2)
    account.grant(word, demands()[word])
    target = account.target("web")
    assert preflight(target, [word]) == []
    assert platform_of(target).not_ready("web") == []
    fault = account.space.fault(target, word, **FAULTS[word]).inject()
    assert fault.witness().seen
    fault.undo()
    fault.wait_gone(90.0)


@pytest.mark.parametrize("word", ["loss", "dns_failure"])
def test_exactly_the_rights_of_the_manifest_are_enough_in_a_pods_network(account: Account, word: str) -> None:
    """Of the faults made there, loss stands for those of a link, and dns_failure needs less."""
    demand = demands()
    links = ("loss", "bandwidth", "reset_connections", "http_error", "isolate")
    assert len({demand[other] for other in links}) == 1
    account.space.deploy("web")
    account.space.deploy("front", command=IDLE, **asking(name_server(account.space)))
    account.grant(word, demand[word])
    target = account.target("web", "front", links={"front -> web": {"protocol": "http"}})
    assert preflight(target, [word]) == []
    given = {"link": "front -> web", "share": 1.0} if word == "loss" else {"service": "front"}
    fault = account.space.fault(target, word, duration_s=60.0, **given).inject()
    sight = fault.witness()
    assert sight.seen, sight.what
    fault.undo()
    fault.wait_gone()


@pytest.mark.parametrize("word", FAULTS)
def test_one_right_less_is_named_and_nothing_is_touched(account: Account, word: str) -> None:
    account.space.deploy("web", 2)
    before = set(account.space.pods("web"))
    whole = demands()[word]
    lacking = whole.rights[-1]
    account.grant(word, Demands(whole.rights[:-1], whole.served, helper=False))
    target = account.target("web")
    problems = preflight(target, [word])
    assert any(str(lacking) in problem and f"deploy/rbac/{word}.yaml" in problem for problem in problems), problems
    assert set(account.space.pods("web")) == before
    assert all(pod.containers["web"].restarts == 0 for pod in account.space.pods("web").values())


def test_every_right_of_a_fault_is_asked_for_one_by_one(account: Account) -> None:
    """The right to undo is asked for as well as the right to inject."""
    account.grant("nothing", Demands())
    target = account.target("web")
    for word, demand in demands().items():
        if word == "look" or word.endswith("-policy"):
            continue
        problems = " ".join(preflight(target, [word]))
        known = {str(right) for right in (*demand.rights, *(HELPER if demand.helper else ()))}
        known -= {str(Right("list", "pods"))}
        assert {right for right in known if right in problems} == known, word


def test_without_any_right_the_cluster_cannot_even_be_named(account: Account) -> None:
    target = account.space.target("web").model_copy(update={"context": account.context})
    with pytest.raises(TargetError, match="forbidden"):
        platform_of(target).identity()


def test_trap_drain_is_refused_by_name_where_evictions_are_of_an_older_version(space: Space) -> None:
    """policy/v1 evictions came with Kubernetes 1.22; clients of today speak nothing older."""
    served = {(one.name, one.version) for one in core(space.api).get_api_resources().resources}
    if ("pods/eviction", "v1") in served:
        pytest.skip("this cluster's API has evictions in policy/v1")
    (problem,) = preflight(space.target("web"), ["drain_node"])
    assert problem == "drain_node: this cluster's API has no v1 pods/eviction policy/v1"


def test_trap_a_kubeconfig_of_several_files_reaches_the_cluster_they_name(
    space: Space, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """chaostoolkit-kubernetes takes http://localhost where KUBECONFIG names several files."""
    space.deploy("web", 2)
    monkeypatch.setenv("KUBECONFIG", f"{tmp_path / 'none'}:{os.environ['KUBECONFIG']}:{tmp_path / 'neither'}")
    fault = space.fault(space.target("web"), "scale", service="web", to=1).inject()
    assert fault.witness().seen
    fault.undo()
    fault.wait_gone(90.0)


def test_a_cluster_that_does_not_answer_is_said_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "x",
        "clusters": [{"name": "x", "cluster": {"server": "http://127.0.0.1:9"}}],
        "users": [{"name": "x", "user": {}}],
        "contexts": [{"name": "x", "context": {"cluster": "x", "user": "x"}}],
    }
    file = tmp_path / "config"
    file.write_text(yaml.safe_dump(content))
    monkeypatch.setenv("KUBECONFIG", str(file))
    target = TargetFile(name="x", platform="kubernetes", namespace="x")
    with pytest.raises(TargetError, match=r"does not answer .*refused"):
        platform_of(target).identity()


def test_no_kubeconfig_at_all_is_said_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    with pytest.raises(TargetError, match="no cluster is configured"):
        platform_of(TargetFile(name="x", platform="kubernetes", namespace="x")).identity()


def test_an_unknown_context_is_said_so(space: Space) -> None:
    target = space.api.model_copy(update={"context": "nowhere"})
    with pytest.raises(TargetError, match="nowhere"):
        platform_of(target).identity()
