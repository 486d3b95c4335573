"""A cluster named by KUBECONFIG, and in it a namespace of a test's own with web pods to disturb."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from http.client import HTTPException
from pathlib import Path
from typing import Any

import pytest
import yaml

from faultload.errors import FaultloadError
from faultload.faults import fault_for
from faultload.faults.base import FaultRequest, PlatformFault
from faultload.faults.process.kubernetes_scale import apps
from faultload.platforms import platform_of
from faultload.platforms.base import Instance
from faultload.platforms.kubernetes.client import core, pods_in
from faultload.platforms.kubernetes.helper import refused
from faultload.record.directory import RunDirectory
from faultload.spec.target import TargetFile

WEB_IMAGE = os.environ.get("FAULTLOAD_TEST_WEB_IMAGE", "busybox:local")
PYTHON_IMAGE = os.environ.get("FAULTLOAD_TEST_PYTHON_IMAGE", "faultload-base:bookworm")
SERVE = "mkdir -p /tmp/w; hostname > /tmp/w/index.html; trap 'exit 0' TERM; httpd -p 8080 -h /tmp/w; "
WEB = [WEB_IMAGE, "sh", "-c", f"{SERVE} while :; do sleep 1 & wait $!; done"]
_direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))


@cache
def no_cluster() -> str | None:
    if not os.environ.get("KUBECONFIG"):
        return "KUBECONFIG is not set"
    try:
        target = TargetFile(name="x", platform="kubernetes", namespace="default")
        platform_of(target).identity()
    except FaultloadError as error:
        return f"the cluster of KUBECONFIG does not answer: {error}"
    return None


@pytest.fixture(autouse=True)
def cluster() -> None:
    """Only where a cluster answers."""
    reason = no_cluster()
    if reason is not None:
        pytest.skip(reason)


@pytest.fixture(scope="session", autouse=True)
def helper_image() -> None:
    """The helper image, built where the cluster's node uses the Docker engine of this machine."""
    if no_cluster() is None and "FAULTLOAD_HELPER_IMAGE" not in os.environ:
        import docker

        from faultload.platforms.docker import image as helper_image

        helper_image.ensure(docker.from_env())


@dataclass
class Space:
    """A namespace of the test's own."""

    name: str
    opened: list[tuple[PlatformFault, list[Instance], dict[str, Any]]] = field(default_factory=list)

    def target(self, *services: str, **more: Any) -> TargetFile:
        """A target of this namespace: services named like the label `app` of their pods."""
        declared = {service: {"selector": f"app={service}", "port": 8080} for service in services}
        target = TargetFile.model_validate(
            {"name": self.name, "platform": "kubernetes", "namespace": self.name, "services": declared, **more}
        )
        return target.model_copy(update={"id": platform_of(target).identity()})

    def undo_all(self) -> None:
        """Undo what tests injected, last in first."""
        while self.opened:
            fault, instances, plan = self.opened.pop()
            fault.undo(instances, plan)

    @property
    def api(self) -> TargetFile:
        """For the API as whoever KUBECONFIG says."""
        return TargetFile(name=self.name, platform="kubernetes", namespace=self.name)

    def pods(self, app: str) -> dict[str, Any]:
        """The pods of an app by UID, as the API has them."""
        found = pods_in(self.api, self.name, f"app={app}")
        return {pod.uid: pod for pod in found if not pod.leaving}

    def deploy(
        self,
        app: str,
        replicas: int = 1,
        kind: str = "Deployment",
        command: Sequence[str] = WEB,
        ready_when: Sequence[str] = (),
        **pod: Any,
    ) -> str:
        """Start a Deployment or StatefulSet, and wait until its pods are ready, or run with a check of theirs.

        `pod` is what else their specification says.
        """
        image, *argv = command
        container: dict[str, Any] = {
            "name": "web",
            "image": image,
            "imagePullPolicy": "IfNotPresent",
            "command": argv,
        }
        if ready_when:
            container["readinessProbe"] = {"exec": {"command": list(ready_when)}, "periodSeconds": 1}
        template = {
            "metadata": {"labels": {"app": app}},
            "spec": {"containers": [container], "terminationGracePeriodSeconds": 5, **pod},
        }
        spec: dict[str, Any] = {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": app}},
            "template": template,
        }
        if kind == "StatefulSet":
            spec["serviceName"] = app
        body: Any = {"apiVersion": "apps/v1", "kind": kind, "metadata": {"name": app}, "spec": spec}
        api = apps(self.api)
        create = api.create_namespaced_deployment if kind == "Deployment" else api.create_namespaced_stateful_set
        uid = str(create(self.name, body).metadata.uid)
        if ready_when:
            wait_until(lambda: [pod.phase for pod in self.pods(app).values()] == ["Running"] * replicas)
        else:
            self.wait_ready(app, replicas)
        return uid

    def bare_pod(self, body: dict[str, Any]) -> None:
        """A pod without an owner; where service accounts have tokens, the API asks to wait for a new one's."""

        from kubernetes.client.exceptions import ApiException

        def taken() -> bool:
            try:
                core(self.api).create_namespaced_pod(self.name, body)
            except ApiException as error:
                if error.status != 500 or "retry after the token" not in str(error.body):
                    raise
                return False
            return True

        wait_until(taken)

    def wait_ready(self, app: str, count: int, timeout_s: float = 60.0) -> None:
        wait_until(
            lambda: sum(pod.ready for pod in self.pods(app).values()) == count == len(self.pods(app)), timeout_s
        )

    def fault(self, target: TargetFile, kind: str, duration_s: float = 5.0, **arguments: Any) -> Injected:
        """A fault on a target, undone after the test whatever happens to it."""
        request = FaultRequest(f"{kind}#1@{self.name}-{secrets.token_hex(3)}", kind, arguments, duration_s)
        return Injected(self, fault_for(target, request), target, request)


class Injected:
    """A fault's way from resolve to gone, as the actions go it, with undo from the JSON alone."""

    def __init__(self, space: Space, fault: PlatformFault, target: TargetFile, request: FaultRequest) -> None:
        self.space, self.here, self.target, self.request = space, fault, target, request
        self.instances: list[Instance] = []
        self.plan: dict[str, Any] = {}

    def prepare(self) -> Injected:
        """All but the fault itself: a witness that is asked now looks at a healthy system."""
        self.instances = self.here.resolve()
        try:
            self.here.prepare(self.instances)
        except BaseException:
            self.here.release()
            raise
        self.plan = json.loads(json.dumps(self.here.undo_plan(self.instances)))
        self.space.opened.append((self.elsewhere(), self.instances, self.plan))
        return self

    def inject(self) -> Injected:
        self.prepare()
        self.here.inject(self.instances, self.plan)
        return self

    def elsewhere(self) -> PlatformFault:
        """The fault as another process makes it from what was written down."""
        target = TargetFile.model_validate(self.target.to_json())
        return fault_for(target, FaultRequest.from_json(self.request.to_json()))

    def witness(self) -> Any:
        return self.here.witness(self.instances)

    def undo(self) -> None:
        self.elsewhere().undo(self.instances, self.plan)

    def gone(self) -> Any:
        return self.elsewhere().gone(self.instances, self.plan)

    def wait_gone(self, timeout_s: float = 60.0) -> Any:
        wait_until(lambda: self.gone().seen, timeout_s, lambda: self.gone().what)
        return self.gone()


@contextmanager
def own_space() -> Iterator[Space]:
    """A new namespace, with all that is in it gone afterwards."""
    space = Space(f"faultload-test-{secrets.token_hex(4)}")
    core(space.api).create_namespace({"metadata": {"name": space.name, "labels": {"faultload-test": "yes"}}})
    try:
        # until its service account is there, a namespace lets no pod in
        wait_until(lambda: refused(space.api, space.name) is None)
        yield space
    finally:
        try:
            space.undo_all()
        finally:
            core(space.api).delete_namespace(space.name, grace_period_seconds=0)


@pytest.fixture
def space() -> Iterator[Space]:
    """A namespace of the test's own."""
    with own_space() as space:
        yield space


def wait_until(condition: Callable[[], Any], timeout_s: float = 30.0, what: Callable[[], str] = str) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"not within {timeout_s:g} s {what()}"
        time.sleep(0.1)


def http_status(ip: str, port: int = 8080) -> int | None:
    """The status that a pod answers with by its IP, or None when it does not answer."""
    try:
        with _direct.open(f"http://{ip}:{port}/", timeout=1.0) as response:
            return int(response.status)
    except (OSError, HTTPException):
        return None


class Workspace:
    """A folder with a state folder of its own, a target declared by hand, and an experiment for each fault."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.env = {**os.environ, "XDG_STATE_HOME": str(folder / "state")}

    def write(self, name: str, content: Any) -> Path:
        file = self.folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content if isinstance(content, str) else yaml.safe_dump(content, sort_keys=False))
        return file

    def experiment(self, word: str, duration_s: float, **arguments: Any) -> Path:
        provider = {"type": "python", "module": "faultload.chaos.actions"}
        inject = {**provider, "func": word, "arguments": arguments}
        hold = {**provider, "func": "hold", "arguments": {"duration_s": "${duration_s}"}}
        undo = {**provider, "func": "undo", "arguments": {"fault": word}}
        content = {
            "title": word,
            "description": word,
            "configuration": {
                "target": {"type": "env", "key": "FAULTLOAD_TARGET", "default": "target.yaml"},
                "duration_s": duration_s,
                "seed": 1,
            },
            "method": [
                {"type": "action", "name": "inject", "provider": inject},
                {"type": "action", "name": "hold", "provider": hold},
            ],
            "rollbacks": [{"type": "action", "name": "undo", "provider": undo}],
            "runtime": {"rollbacks": {"strategy": "always"}},
        }
        return self.write(f"experiments/{word}.yaml", content)

    def run(self, *argv: str | Path, timeout_s: float = 240.0) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", *map(str, argv)],
            cwd=self.folder,
            env=self.env,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )

    def chaos(self, experiment: Path) -> RunDirectory:
        """`chaos run` of an experiment alone; gives its journal."""
        done = self.run("chaostoolkit", "--no-version-check", "--no-log-file", "run", experiment)
        journals = sorted((self.folder / "state" / "faultload" / "chaos").iterdir())
        assert journals, done.stdout + done.stderr
        return RunDirectory(journals[-1])


@pytest.fixture
def workspace(tmp_path: Path) -> Iterator[Workspace]:
    workspace = Workspace(tmp_path)
    yield workspace
    done = workspace.run("faultload", "undo", "--all", "--yes")
    assert done.returncode in (0, 5), done.stdout + done.stderr
