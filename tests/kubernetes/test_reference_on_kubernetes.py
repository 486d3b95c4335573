"""The memory service on a real cluster: up, known to every process, and gone without a trace."""

from __future__ import annotations

import json
import secrets
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from conftest import wait_until
from memoryref import NAME, READY_S, Up, up

from faultload import reference
from faultload.errors import Refused, TargetError
from faultload.host import state
from faultload.host.addresses import leads_here
from faultload.platforms import platform_of
from faultload.platforms.kubernetes.client import core, pods_of
from faultload.reference.host import kubernetes_ways
from faultload.reference.host.kubernetes import IMAGE_ENV, NAMESPACE_ENV
from faultload.reference.host.kubernetes_namespace import Namespace
from faultload.spec.target import read_target

pytestmark = pytest.mark.kubernetes
__all__ = ["up"]

ROOT = Path(__file__).parents[2]


def named() -> dict[str, Any]:
    found = state.read_json(state.target_dir("reference:memory:kubernetes") / "started.json")
    assert found is not None
    return dict(found)


def faultload(*argv: str, timeout_s: float = 300.0) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "faultload", *argv],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )


def test_it_is_up_with_a_synchronous_standby_and_three_ready_instances(up: Up) -> None:
    wait_until(up.whole, 60.0)
    assert up.ask("GET", "/health")[1]["healthy_instances"] == 3
    assert up.ask("GET", "/health/deep")[1]["status"] == "ok"
    code, answer = up.ask("POST", "/memories/", {"user_id": "u", "text": "first"})
    assert code == 201, answer


def test_its_target_file_declares_what_there_is_on_this_machines_loopback(up: Up) -> None:
    target = read_target(up.file)
    assert target.id == "reference:memory:kubernetes"
    assert target.namespace == named()["namespace"]
    assert up.file.stat().st_mode & 0o077 == 0  # it holds a password
    urls = [str(target.url), *(target.services["db"].patroni or [])]
    assert all(leads_here(url) for url in urls)
    platform = platform_of(target)
    counts = {service: len(platform.instances(service)) for service in target.services}
    assert counts == {"gateway": 1, "api": 3, "cloud": 1, "shortterm": 1, "db": 2}
    assert [problem for service in target.services for problem in platform.not_ready(service)] == []
    for pods in (pods_of(target, service) for service in target.services):
        assert all(pod.namespace == target.namespace for pod in pods)


def test_every_pod_has_probes_and_limits(up: Up) -> None:
    pods = core(up.target).list_namespaced_pod(up.target.namespace, label_selector="app.kubernetes.io/name=memory")
    assert len(pods.items) >= 8
    for pod in pods.items:
        for container in pod.spec.containers:
            assert container.readiness_probe is not None and container.resources.limits, pod.metadata.name
            if container.name != "forwarder":
                assert container.liveness_probe is not None, pod.metadata.name
        assert pod.spec.security_context.run_as_non_root


def test_another_process_knows_it_and_may_not_stop_what_is_owned(up: Up) -> None:
    done = faultload("target", "status", NAME, "--platform", "kubernetes")
    assert done.returncode == 0, done.stdout + done.stderr
    assert str(up.target.url) in done.stdout
    assert "pg-0" in done.stdout
    refused = faultload("target", "down", NAME, "--platform", "kubernetes")
    assert refused.returncode == 5, refused.stdout + refused.stderr
    with pytest.raises(Refused, match="has been up since"):
        reference.start(NAME, "kubernetes")
    found = reference.status(NAME, "kubernetes")
    assert found is not None and found.running and found.ready and found.owner_alive


def test_a_namespace_that_was_not_started_from_here_is_never_taken_or_removed(
    up: Up, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    with pytest.raises(Refused, match="not started from here"):
        reference.start(NAME, "kubernetes")
    assert reference.stop(NAME, "kubernetes") == []
    assert Namespace(str(up.target.namespace), up.target.context).read() is not None


def test_a_forwarder_leads_to_it_where_node_ports_do_not_answer_on_loopback(up: Up, tmp_path: Path) -> None:
    """As with a cluster whose nodes are other machines; the process is one to record and to end."""
    from faultload.host.processes import end

    namespace = Namespace(str(up.target.namespace), up.target.context)
    node = namespace.a_node()
    ports, process = kubernetes_ways.forwarded(
        node, {"gateway": namespace.node_port("gateway", 8080)}, tmp_path / "forwarder.log"
    )
    try:
        there = Up(up.file)
        there.target = up.target.model_copy(update={"url": f"http://127.0.0.1:{ports['gateway']}"})
        assert there.ask("GET", "/health/deep")[1]["status"] == "ok"
    finally:
        assert end([process]) == []
    assert not kubernetes_ways.connects("127.0.0.1", ports["gateway"])


def test_a_start_that_cannot_succeed_says_why_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = f"faultload-test-{secrets.token_hex(4)}"
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.setenv(NAMESPACE_ENV, name)
    monkeypatch.setenv(IMAGE_ENV, "faultload-memory:never-built")
    started = reference.start(NAME, "kubernetes")
    context = named()["context"]
    try:
        with pytest.raises(TargetError, match=r"ImagePull|ErrImage"):
            started.wait_ready(20.0)
        found = reference.status(NAME, "kubernetes")
        assert found is not None and found.running and not found.ready
    finally:
        assert reference.stop(NAME, "kubernetes") == []
    assert Namespace(name, context).read() is None
    assert reference.status(NAME, "kubernetes") is None
    assert reference.stop(NAME, "kubernetes") == []


@pytest.mark.long
def test_the_database_failover_scenario_passes_and_its_verdict_names_real_pods(up: Up, tmp_path: Path) -> None:
    run = tmp_path / "run"
    uids = {pod.uid for service in ("api", "db") for pod in pods_of(up.target, service)}
    scenario = "scenarios/memory/database_failover.yaml"
    done = faultload(
        "run", scenario, "--profile", "smoke", "--target", str(up.file), "--out", str(run), timeout_s=400.0
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr
    verdict = json.loads((run / "verdict.json").read_text())
    assert verdict["verdict"] == "PASS"
    named_pods = {instance["id"] for fault in verdict["faults"] for instance in fault["instances"]}
    assert len(verdict["faults"]) == 2 and named_pods and named_pods <= uids
    assert verdict["writes"]["lost"] == 0


def test_stopping_it_removes_the_namespace_and_keeps_the_logs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    name = f"faultload-test-{secrets.token_hex(4)}"
    monkeypatch.setenv(NAMESPACE_ENV, name)
    logs = tmp_path / "logs"
    try:
        file = reference.start(NAME, "kubernetes", logs=logs).wait_ready(READY_S)
        context = read_target(file).context
        by_hand = faultload("target", "down", NAME, "--platform", "kubernetes")
        assert by_hand.returncode == 0, by_hand.stdout + by_hand.stderr
    finally:
        assert reference.stop(NAME, "kubernetes") == []
    assert Namespace(name, context).read() is None
    assert not file.exists()
    assert {"pg-0.log", "pg-1.log"} <= {path.name for path in logs.iterdir()}
    assert "leader" in (logs / "pg-0.log").read_text()
