"""A team's own compose project, which faultload did not start: faults work on what is declared, on nothing else."""

from __future__ import annotations

import json
import os
import secrets
import stat
import traceback
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet
import pytest
import yaml
from standin import Workspace, states
from standin_project import PORT, Project, born, life, now, processes_in, wait_until

from faultload.chaos.guard import check_fault
from faultload.errors import Refused
from faultload.faults import preflight
from faultload.platforms import platform_of
from faultload.platforms.docker import client as docker_client
from faultload.spec.target import TargetFile, read_target

pytestmark = pytest.mark.docker


@pytest.fixture
def neighbour(project: Project) -> Iterator[Project]:
    """Another project with services of the same names, declared nowhere."""
    found = Project(f"{project.name}next")
    try:
        yield found
    finally:
        found.end()


class Bystanders:
    """Containers that no target file declares, as they were before a test."""

    def __init__(self, project: Project, neighbour: Project) -> None:
        one_off = {docker_client.ONE_OFF: "True"}
        self.containers = [
            project.start("worker"),
            project.start("web", 9, labels=one_off, name=f"{project.name}-web-run-1"),
            neighbour.start("web"),
        ]
        self.before = self.now()

    def now(self) -> list[object]:
        return [(life(one), sorted(processes_in(one)), born(one)) for one in self.containers]


@pytest.fixture
def bystanders(project: Project, neighbour: Project) -> Bystanders:
    return Bystanders(project, neighbour)


@pytest.mark.parametrize(
    ("kind", "arguments"),
    [("kill", {"share": 1.0}), ("pause", {"share": 1.0}), ("scale", {"to": 0}), ("cpu_stress", {"share": 1.0})],
)
def test_an_undeclared_container_is_never_touched(
    project: Project, bystanders: Bystanders, kind: str, arguments: dict[str, object]
) -> None:
    web = [project.start("web", number, nano_cpus=300_000_000) for number in (1, 2)]
    target = project.target("web")
    fault = project.fault(target, kind, service="web", **arguments).planned()
    check_fault(target, fault.request, fault.instances)
    fault.here.inject(fault.instances, fault.plan)
    assert {one.id for one in fault.instances} == {one.id for one in web}
    sight = fault.witness()
    assert sight.seen, sight.what
    assert bystanders.now() == bystanders.before
    fault.undo()
    fault.wait_gone()
    assert bystanders.now() == bystanders.before


def test_a_service_found_by_labels_needs_no_project(project: Project, bystanders: Bystanders) -> None:
    mark = {"team.example/part": project.name}
    cache = project.start("cache", labels=mark, restart_policy={"Name": "no"})
    target = TargetFile.model_validate(
        {"name": "by-labels", "platform": "docker", "services": {"cache": {"labels": mark, "port": PORT}}}
    )
    identity = platform_of(target).identity()
    assert identity == platform_of(target).identity()
    assert identity.endswith(f":team.example/part={project.name}")
    fault = project.fault(target.model_copy(update={"id": identity}), "kill", service="cache").inject()
    assert [one.id for one in fault.instances] == [cache.id]
    assert fault.witness().seen
    fault.undo()
    fault.wait_gone()
    assert born(cache) is not None
    assert bystanders.now() == bystanders.before


def test_the_guard_counts_containers(project: Project) -> None:
    for number in (1, 2, 3):
        project.start("web", number)
    target = project.target("web", guard={"max_share": "50%"})
    fault = project.fault(target, "kill", service="web", count=2)
    with pytest.raises(Refused, match="at most 1"):
        check_fault(target, fault.request, fault.here.resolve())
    shrink = project.fault(target, "scale", service="web", to=1)
    with pytest.raises(Refused, match="would touch 2 of 3"):
        check_fault(target, shrink.request, shrink.here.resolve())


def test_readiness_is_the_containers_own_and_says_how_many(project: Project) -> None:
    web = [project.start("web", number) for number in (1, 2)]
    platform = platform_of(project.target("web"))
    assert platform.not_ready("web") == []
    now(web[0]).pause()
    assert platform.not_ready("web") == ["web: 1 of 2 containers are ready, 2 must be"]
    assert [one.id for one in platform.ready("web")] == [web[1].id]
    now(web[0]).unpause()
    now(web[1]).stop(timeout=1)
    assert platform.not_ready("web") == ["web: 1 of 2 containers are ready, 2 must be"]


def test_a_containers_own_health_check_counts_where_no_path_is_declared(project: Project) -> None:
    check = {"test": ["CMD", "test", "-e", "/tmp/well"], "interval": 200_000_000, "retries": 1, "timeout": 10**9}
    web = project.start("web", healthcheck=check)
    platform = platform_of(project.target("web", health=False))
    assert platform.not_ready("web") == ["web: 0 of 1 containers are ready, 1 must be"]
    web.exec_run(["touch", "/tmp/well"])
    wait_until(lambda: platform.not_ready("web") == [])


def test_preflight_finds_nothing_missing_and_names_what_cannot_be_asked(project: Project) -> None:
    project.start("web")
    assert preflight(project.target("web"), ["kill", "pause", "cpu_stress"]) == []
    nowhere = {"compose": "web", "health": "/health"}
    found = preflight(project.target(services={"web": nowhere}), [])
    assert found == ["service 'web' declares a health path but no port to ask it on: add port"]


def test_a_whole_run_kills_a_real_container_and_names_it(
    project: Project, bystanders: Bystanders, tmp_path: Path
) -> None:
    front = project.start("front", ports={f"{PORT}/tcp": ("127.0.0.1", None)})
    web = [project.start("web", number) for number in (1, 2, 3)]
    before = {one.id: (life(one), born(one)) for one in (front, *web)}
    port = now(front).attrs["NetworkSettings"]["Ports"][f"{PORT}/tcp"][0]["HostPort"]
    service = {"port": PORT, "health": "/health"}
    target_file = tmp_path / "target.yaml"
    target_file.write_text(
        yaml.safe_dump(
            {
                "name": "own",
                "platform": "docker",
                "project": project.name,
                "url": f"http://127.0.0.1:{port}",
                "services": {"front": {"compose": "front", **service}, "web": {"compose": "web", **service}},
            }
        )
    )
    workspace = Workspace(tmp_path)
    try:
        file = workspace.scenario(
            str(target_file),
            load={
                "journeys": "journeys.py",
                "rate": [{"step": "10/s", "for": "48s"}],
                "arrivals": "even",
                "max_users": 20,
                "timeout": "2s",
            },
            faults=[
                {
                    "name": "crash",
                    "experiment": workspace.experiment("crash", "kill", {"service": "web"}, 12),
                    "at": "14s",
                }
            ],
            objectives=["error_rate <= 99%"],
        )
        plan = workspace.faultload("plan", file)
        assert plan.returncode == 0, plan.stderr
        assert any(str(one.id)[:12] in plan.stdout for one in web), plan.stdout
        assert not any(str(one.id)[:12] in plan.stdout for one in bystanders.containers)
        run = tmp_path / "out"
        done = workspace.faultload("run", file, "--out", run, timeout_s=240)
        assert states(run).get("crash") == ["PLANNED", "INJECTING", "ACTIVE", "UNDOING", "UNDONE"], (
            done.stdout + done.stderr
        )
        assert done.returncode in (0, 3), done.stdout
        (crash,) = json.loads((run / "verdict.json").read_text())["faults"]
        assert crash["witnessed"] is True
        (killed,) = [one for one in web if str(one.id) in json.dumps(crash["instances"])]
        assert born(killed) not in (None, before[killed.id][1])
        assert now(killed).attrs["RestartCount"] == 1
        untouched = [one for one in (front, *web) if one.id != killed.id]
        assert [(life(one), born(one)) for one in untouched] == [before[one.id] for one in untouched]
        assert bystanders.now() == bystanders.before
        metrics = pyarrow.parquet.read_table(run / "metrics.parquet").to_pydict()
        seen = set(zip(metrics["instance"], metrics["name"], strict=True))
        for one in (front, *web):
            label = f"{one.name} ({str(one.id)[:12]})"
            assert {(label, "rss_bytes"), (label, "cpu_percent"), (label, "threads")} <= seen
        assert not any(str(one.name) in instance for one in bystanders.containers for instance, _ in seen)
    finally:
        workspace.end()


def test_an_ordinary_user_of_the_docker_group_can_do_it_all(project: Project) -> None:
    """A child process without root, with the group that the engine's socket belongs to."""
    path = docker_client.engine_url().removeprefix("unix://")
    if os.geteuid() != 0 or not Path(path).exists():
        pytest.skip("only root can become another user, beside an engine behind a socket")
    socket = Path(path).stat()
    if not socket.st_mode & stat.S_IWGRP or socket.st_gid == 0:
        pytest.skip(f"{path} belongs to no group of its own")
    api = project.start("api", restart_policy={"Name": "no"}, nano_cpus=500_000_000)
    target = project.target("api")
    kinds = ("pause", "cpu_stress", "kill")

    def all_of_it() -> None:
        for kind in kinds:
            fault = project.fault(target, kind, service="api").inject()
            sight = fault.witness()
            assert sight.seen, sight.what
            fault.undo()
            fault.wait_gone()

    all_of_it()  # whatever is imported late is imported now: the other user may be unable to read it
    child = os.fork()
    if child == 0:
        code = 1
        try:
            os.setgroups([socket.st_gid])
            os.setgid(65534)
            os.setuid(65534)
            project.client = docker_client.client()
            all_of_it()
            code = 0
        except BaseException:  # noqa: BLE001 - a forked child never returns into the test
            traceback.print_exc()
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    assert born(api) is not None


def test_a_target_file_by_hand_reads_as_it_is_declared(tmp_path: Path) -> None:
    file = tmp_path / "target.yaml"
    name = f"shop{secrets.token_hex(2)}"
    file.write_text(
        f"name: shop\nplatform: docker\nproject: {name}\nservices:\n  web: {{compose: web, port: 80}}\n"
    )
    assert docker_client.labels_of(read_target(file), "web")[docker_client.PROJECT] == name
