"""Kill, terminate, restart, pause and scale on real containers: there, gone after undo, and undone only once."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path

import pytest
from standin_project import Project, born, life, now, processes_in, wait_until

from faultload.errors import Refused, TargetError
from faultload.faults.base import FaultRequest
from faultload.host.processes import identify
from faultload.platforms.docker import client as docker_client
from faultload.platforms.docker import helper as docker_helper

pytestmark = pytest.mark.docker


def undone_twice(fault, containers) -> None:
    """Undo, see it gone, and undo again: the second time nothing is touched."""
    fault.undo()
    assert fault.wait_gone().seen
    before = [life(one) for one in containers]
    fault.undo()
    assert fault.gone().seen
    assert [life(one) for one in containers] == before
    assert fault.left() == []


@pytest.mark.parametrize("init", [True, False], ids=["with an init", "without an init"])
def test_a_killed_container_crashes_and_its_restart_policy_brings_it_back(project: Project, init: bool) -> None:
    api = [project.start("api", number, init=init) for number in (1, 2)]
    before = {one.id: (born(one), set(processes_in(one))) for one in api}
    fault = project.fault(project.target("api"), "kill", service="api").inject()
    sight = fault.witness()
    assert sight.seen, sight.what
    (chosen,) = fault.instances
    hit, other = sorted(api, key=lambda one: one.id != chosen.id)
    wait_until(lambda: born(hit) not in (None, before[hit.id][0]))
    assert not before[hit.id][1] & set(processes_in(hit))
    assert now(hit).attrs["RestartCount"] == 1, "the engine brought it back, not we"
    assert (born(other), set(processes_in(other))) == before[other.id]
    undone_twice(fault, api)


def test_a_kill_is_seen_by_the_exit_code_of_a_crash(project: Project) -> None:
    api = project.start("api", restart_policy={"Name": "no"})
    fault = project.fault(project.target("api"), "kill", service="api").inject()
    wait_until(lambda: now(api).attrs["State"]["Status"] == "exited")
    assert now(api).attrs["State"]["ExitCode"] == 137
    assert b"asked to end" not in api.logs()
    assert born(api) is None
    assert fault.witness().seen
    assert not fault.gone().seen
    undone_twice(fault, [api])
    assert born(api) is not None
    assert now(api).id == api.id, "the very container was started"


def test_trap_the_engines_own_kill_cancels_the_restart_policy(project: Project) -> None:
    """moby sets HasBeenManuallyStopped and cancels the restart manager on a kill through its API."""
    by_engine, by_fault = project.start("one"), project.start("two")
    by_engine.kill()
    project.fault(project.target("two"), "kill", service="two").inject()
    wait_until(lambda: now(by_fault).attrs["RestartCount"] == 1 and born(by_fault) is not None)
    assert now(by_engine).attrs["State"]["Status"] == "exited"


def test_kill_undo_from_a_process_that_has_only_the_json(project: Project) -> None:
    api = project.start("api", restart_policy={"Name": "no"})
    fault = project.fault(project.target("api"), "kill", service="api").inject()
    known = {
        "target": fault.target.to_json(),
        "request": fault.request.to_json(),
        "instances": [one.to_json() for one in fault.instances],
        "plan": fault.plan,
    }
    script = Path(__file__).parents[1] / "integration" / "faults" / "undo_elsewhere.py"
    done = subprocess.run(
        [sys.executable, script], input=json.dumps(known), capture_output=True, text=True, timeout=60, check=True
    )
    assert json.loads(done.stdout)["seen"], done.stdout
    assert born(api) is not None


def test_a_container_that_was_started_again_is_not_the_one_that_was_chosen(project: Project) -> None:
    api = project.start("api")
    fault = project.fault(project.target("api"), "kill", service="api").planned()
    api.restart(timeout=1)
    again = life(api)
    with pytest.raises(TargetError, match="restarted before the fault"):
        fault.here.inject(fault.instances, fault.plan)
    assert life(api) == again


def test_what_the_engine_removes_at_its_end_is_not_killed(project: Project) -> None:
    api = project.start("api", restart_policy={"Name": "no"}, auto_remove=True)
    before = life(api)
    with pytest.raises(Refused, match="--rm"):
        project.fault(project.target("api"), "kill", service="api").inject()
    assert life(api) == before


def test_trap_a_selection_that_finds_nothing_is_refused(project: Project) -> None:
    """chaostoolkit-kubernetes succeeds where it found nothing to do."""
    project.start("api")
    with pytest.raises(Refused, match="1 running instances, 2 were asked for"):
        project.fault(project.target("api"), "kill", service="api", count=2).inject()
    with pytest.raises(Refused, match="no running instance"):
        project.fault(project.target("db"), "kill", service="db").inject()


def test_terminate_asks_first_and_the_restart_policy_brings_it_back(project: Project) -> None:
    api = project.start("api", init=False)
    before = born(api)
    fault = project.fault(project.target("api"), "terminate", service="api", grace_s=10.0).inject()
    assert fault.witness().seen
    wait_until(lambda: born(api) not in (None, before))
    assert api.logs().count(b"asked to end") == 1
    assert now(api).attrs["RestartCount"] == 1
    undone_twice(fault, [api])


def test_terminate_kills_after_the_grace_what_does_not_end(project: Project) -> None:
    api = project.start("api", argv=["stubborn"], restart_policy={"Name": "no"})
    started = time.monotonic()
    fault = project.fault(project.target("api"), "terminate", service="api", grace_s=1.0).inject()
    assert time.monotonic() - started >= 1.0
    assert fault.witness().seen
    wait_until(lambda: now(api).attrs["State"]["Status"] == "exited")
    assert now(api).attrs["State"]["ExitCode"] == 137
    assert b"asked to end" in api.logs()
    undone_twice(fault, [api])
    assert born(api) is not None


def test_a_restarted_container_ended_in_order_and_runs_again(project: Project) -> None:
    api = project.start("api", restart_policy={"Name": "no"})
    before, pids = born(api), set(processes_in(api))
    fault = project.fault(project.target("api"), "restart", service="api").inject()
    sight = fault.witness()
    assert sight.seen, sight.what
    wait_until(lambda: born(api) not in (None, before))
    assert not pids & set(processes_in(api))
    assert b"asked to end" in api.logs()
    undone_twice(fault, [api])


def test_a_restart_that_never_came_back_is_started_by_undo(project: Project) -> None:
    api = project.start("api", restart_policy={"Name": "no"})
    fault = project.fault(project.target("api"), "restart", service="api").inject()
    now(api).stop(timeout=1)
    assert not fault.gone().seen
    undone_twice(fault, [api])
    assert born(api) is not None


def _ticks(pids: set[int]) -> int:
    """User and system time of processes in clock ticks."""
    total = 0
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        total += int(fields[11]) + int(fields[12])
    return total


def test_a_paused_container_answers_nothing_and_goes_on_after_undo(project: Project) -> None:
    api = project.start("api")
    before, pids = born(api), set(processes_in(api))
    fault = project.fault(project.target("api"), "pause", service="api").inject()
    ticks = _ticks(pids)
    sight = fault.witness()
    assert sight.seen, sight.what
    assert born(api) is None
    assert _ticks(pids) == ticks
    assert not fault.gone().seen
    undone_twice(fault, [api])
    assert born(api) == before, "the same process goes on"


def test_a_pause_is_witnessed_as_not_there_once_the_container_runs(project: Project) -> None:
    api = project.start("api")
    fault = project.fault(project.target("api"), "pause", service="api").inject()
    now(api).unpause()
    assert not fault.witness().seen
    assert fault.gone().seen is False, "the helper that would end it is still there"
    undone_twice(fault, [api])


def test_a_pause_ends_by_itself_where_nobody_undoes_it(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("faultload.faults.containers.EXPIRY_MARGIN_S", 0.5)
    api = project.start("api")
    fault = project.fault(project.target("api"), "pause", duration_s=1.5, service="api").inject()
    assert born(api, 0.3) is None
    wait_until(lambda: not now(api).attrs["State"]["Paused"], 10.0)
    wait_until(lambda: born(api) is not None)
    wait_until(lambda: fault.left() == [], 10.0, lambda: str(fault.left()))
    undone_twice(fault, [api])


def test_a_container_that_a_person_paused_is_left_alone(project: Project) -> None:
    api = project.start("api")
    now(api).pause()
    with pytest.raises(TargetError, match="was paused before the fault"):
        project.fault(project.target("api"), "pause", service="api").inject()
    assert now(api).attrs["State"]["Paused"]


def test_fewer_stops_the_surplus_and_undo_starts_exactly_those(project: Project) -> None:
    api = [project.start("api", number) for number in (1, 2, 3)]
    before = {one.id: born(one) for one in api}
    fault = project.fault(project.target("api"), "scale", service="api", to=1).inject()
    sight = fault.witness()
    assert sight.seen, sight.what
    answering = [one for one in api if born(one) is not None]
    assert len(answering) == 1
    assert {one.id for one in fault.instances} == {one.id for one in api} - {answering[0].id}
    assert not fault.gone().seen
    undone_twice(fault, api)
    assert all(born(one) is not None for one in api)
    assert born(answering[0]) == before[answering[0].id]


def test_a_person_who_removed_a_stopped_container_meanwhile_is_not_overruled(project: Project) -> None:
    api = [project.start("api", number) for number in (1, 2)]
    fault = project.fault(project.target("api"), "scale", service="api", to=1).inject()
    (stopped,) = [one for one in api if one.id == fault.instances[0].id]
    stopped.remove()
    fault.undo()
    assert docker_client.container(str(stopped.id)) is None
    assert len(docker_client.containers_of(fault.target, "api", stopped=True)) == 1


def test_more_are_made_like_one_that_runs_and_undo_removes_exactly_those(project: Project) -> None:
    network = project.network()
    alias = {"networking_config": {network.name: project.client.api.create_endpoint_config(aliases=["api"])}}
    api = project.start(
        "api",
        1,
        network=network.name,
        environment={"COLOUR": "blue"},
        ports={"8000/tcp": ("127.0.0.1", None)},
        **alias,
    )
    before = life(api)
    fault = project.fault(project.target("api"), "scale", service="api", to=3).inject()
    sight = fault.witness()
    assert sight.seen, sight.what
    found = docker_client.containers_of(fault.target, "api")
    added = [one for one in found if one.id != api.id]
    assert [one.labels[docker_client.NUMBER] for one in found] == ["1", "2", "3"]
    assert len({born(one) for one in found} - {None}) == 3
    for one in added:
        assert "COLOUR=blue" in one.attrs["Config"]["Env"]
        assert not one.attrs["HostConfig"]["PortBindings"]
        assert "api" in one.attrs["NetworkSettings"]["Networks"][network.name]["Aliases"]
    lookup = "import socket; print(len({one[4][0] for one in socket.getaddrinfo('api', 8000)}))"
    assert now(api).exec_run(["python3", "-c", lookup]).output.split() == [b"3"]
    assert life(api) == before
    undone_twice(fault, [api])
    assert [docker_client.container(str(one.id)) for one in added] == [None, None]
    assert life(api) == before


def test_scaling_ends_by_itself_where_nobody_undoes_it(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("faultload.faults.containers.EXPIRY_MARGIN_S", 0.5)
    target = project.target("api", "web")
    api, web = [project.start("api", number) for number in (1, 2)], project.start("web")
    fewer = project.fault(target, "scale", duration_s=2.0, service="api", to=1).inject()
    more = project.fault(target, "scale", duration_s=2.0, service="web", to=2).inject()
    wait_until(lambda: all(born(one) is not None for one in api), 20.0)
    wait_until(lambda: (fewer.left(), more.left()) == ([], []), 20.0)
    assert born(web) is not None
    undone_twice(fewer, api)
    undone_twice(more, [web])


def test_a_copy_beside_the_only_writer_of_a_volume_is_refused(project: Project) -> None:
    volume = f"{project.name}_data"
    try:
        project.start("db", volumes={volume: {"bind": "/data", "mode": "rw"}})
        with pytest.raises(Refused, match=f"writes to {volume}"):
            project.fault(project.target("db"), "scale", service="db", to=2).inject()
        assert len(docker_client.containers_of(project.target("db"), "db", stopped=True)) == 1
    finally:
        project.end()
        project.client.volumes.get(volume).remove()


def test_scaling_to_what_there_is_is_refused(project: Project) -> None:
    project.start("api")
    with pytest.raises(Refused, match="has 1 running containers already"):
        project.fault(project.target("api"), "scale", service="api", to=1).inject()


def test_trap_a_timer_killed_hard_leaves_nothing(project: Project) -> None:
    api = project.start("api")
    fault = project.fault(project.target("api"), "pause", service="api").inject()
    (helper,) = docker_helper.helpers_of(fault.request.fault_id)
    process = identify(int(helper.attrs["State"]["Pid"]))
    assert process is not None
    helper.kill()
    wait_until(lambda: fault.left() == [])
    assert not process.alive()
    undone_twice(fault, [api])


def test_the_same_seed_chooses_the_same_containers(project: Project) -> None:
    for number in (1, 2, 3):
        project.start("api", number)
    fault = project.fault(project.target("api"), "kill", service="api", count=2)
    request = FaultRequest.from_json(fault.request.to_json())
    assert [one.id for one in fault.here.resolve()] == [one.id for one in fault.elsewhere().resolve()]
    assert request.seed == fault.request.seed


def _look(fault) -> tuple[bool, str]:
    sight = fault.here.lasts(fault.instances, fault.plan)
    return sight.seen, sight.what


def test_a_pause_that_somebody_ended_is_seen_to_be_over(project: Project) -> None:
    api = project.start("api")
    fault = project.fault(project.target("api"), "pause", service="api").inject()
    assert _look(fault)[0]
    now(api).unpause()
    assert _look(fault) == (False, f"{api.name} runs again")
    now(api).pause()
    now(api).kill()
    now(api).start()
    wait_until(lambda: born(api) is not None)
    assert _look(fault) == (False, f"{api.name} ended or was started again")
    undone_twice(fault, [api])


def test_a_surplus_that_somebody_started_again_is_seen_to_be_over(project: Project) -> None:
    containers = [project.start("api", number) for number in (1, 2)]
    fault = project.fault(project.target("api"), "scale", service="api", to=1).inject()
    assert _look(fault)[0]
    (stopped,) = fault.instances
    next(one for one in containers if str(one.id) == stopped.id).start()
    assert _look(fault) == (False, f"{stopped.name} runs again")
    undone_twice(fault, containers)


def test_a_helper_that_is_prepared_for_nothing_is_taken_away(project: Project) -> None:
    project.start("api")
    fault = project.fault(project.target("api"), "pause", service="api").planned()
    assert len(docker_helper.helpers_of(fault.request.fault_id)) == 1
    fault.here.release()
    assert docker_helper.helpers_of(fault.request.fault_id) == []


def test_a_helper_that_nobody_started_is_taken_away_by_the_next(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The engine makes it for a client that was killed while it asked."""
    faults = [f"{project.name}-{name}" for name in ("forgotten", "fresh", "next")]
    made_at = docker_helper._made_at
    try:
        forgotten, fresh = (docker_helper.create(["true"], fault) for fault in faults[:2])
        earlier = {forgotten.id: timedelta(minutes=6)}
        monkeypatch.setattr(docker_helper, "_made_at", lambda one: made_at(one) - earlier.get(one.id, timedelta()))
        made = docker_helper.create(["true"], faults[2])
        assert {one.id for fault in faults for one in docker_helper.helpers_of(fault)} == {fresh.id, made.id}
    finally:
        for fault in faults:
            docker_helper.remove(fault)
