"""A team's own Deployment, declared by hand: what is declared is disturbed, and nothing else is ever touched."""

from __future__ import annotations

import secrets
from typing import Any

import pytest
from conftest import Space, Workspace, apps, core

from faultload.record.events import Note, Witness

pytestmark = pytest.mark.kubernetes


def untouched(space: Space, app: str) -> dict[str, tuple[str, int]]:
    return {uid: (pod.containers["web"].id, pod.containers["web"].restarts) for uid, pod in space.pods(app).items()}


def declared(space: Space, *services: str) -> dict[str, Any]:
    found = {service: {"selector": f"app={service}", "port": 8080} for service in services}
    return {"name": "shop", "platform": "kubernetes", "namespace": space.name, "services": found}


def test_faults_work_on_what_is_declared_and_an_undeclared_pod_is_never_touched(
    space: Space, workspace: Workspace
) -> None:
    """Each word in turn by `chaos run`, with a neighbour in the same namespace that nobody declared."""
    space.deploy("web", 2)
    space.deploy("neighbour", 2)
    before = untouched(space, "neighbour")
    workspace.write("target.yaml", declared(space, "web"))
    # a kubelet may take 10 s to tell that a container ended: longer than that, or the pod is back before it is seen
    words: list[tuple[str, float, dict[str, Any]]] = [
        ("kill", 5.0, {"service": "web"}),
        ("terminate", 20.0, {"service": "web", "grace_s": 2}),
        ("restart", 20.0, {"service": "web"}),
        ("scale", 3.0, {"service": "web", "to": 1}),
    ]
    for word, duration_s, arguments in words:
        space.wait_ready("web", 2)
        run = workspace.chaos(workspace.experiment(word, duration_s, **arguments))
        states = [line.state for line in run.faults()]
        assert states == ["PLANNED", "INJECTING", "ACTIVE", "UNDOING", "UNDONE"], (word, run.events_of(Note))
        assert [(one.of, one.seen) for one in run.events_of(Witness)] == [("there", True), ("gone", True)]
        assert untouched(space, "neighbour") == before, word
    assert workspace.run("faultload", "undo", "--list").stdout.strip() in ("", "nothing is open")


def test_a_word_on_an_undeclared_service_is_refused(space: Space, workspace: Workspace) -> None:
    space.deploy("web", 1)
    space.deploy("neighbour", 1)
    before = untouched(space, "neighbour")
    workspace.write("target.yaml", declared(space, "web"))
    done = workspace.run("faultload", "validate", workspace.experiment("kill", 2.0, service="neighbour"))
    run = workspace.chaos(workspace.experiment("kill", 2.0, service="neighbour"))
    assert run.faults() == [], done.stdout
    assert untouched(space, "neighbour") == before


@pytest.mark.parametrize("word", ["kill", "terminate", "restart", "scale"])
def test_kube_system_and_namespaces_of_production_are_refused(
    space: Space, workspace: Workspace, word: str
) -> None:
    """Also where the target file declares them: protected by default."""
    production = Space(f"prod-faultload-test-{secrets.token_hex(4)}")
    core(space.api).create_namespace({"metadata": {"name": production.name}})
    try:
        production.deploy("web", 2)
        before = untouched(production, "web")
        workspace.write("target.yaml", declared(production, "web"))
        arguments = {"service": "web", **({"to": 1} if word == "scale" else {})}
        run = workspace.chaos(workspace.experiment(word, 2.0, **arguments))
        assert run.faults() == []
        assert "protected" in run.events_of(Note)[-1].text
        assert untouched(production, "web") == before
    finally:
        core(space.api).delete_namespace(production.name, grace_period_seconds=0)


def test_kube_system_is_refused(space: Space, workspace: Workspace) -> None:
    name = f"faultload-test-{secrets.token_hex(4)}"
    system = Space("kube-system")
    try:
        system.deploy(name, 1)
        before = untouched(system, name)
        workspace.write("target.yaml", declared(system, name))
        run = workspace.chaos(workspace.experiment("kill", 2.0, service=name))
        assert run.faults() == []
        assert "'kube-system' is protected" in run.events_of(Note)[-1].text
        assert untouched(system, name) == before
    finally:
        apps(system.api).delete_namespaced_deployment(name, "kube-system")
