"""Faults overlap only where the scenario says so, never on one layer of the same place, and never by a race."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

import pytest
from quiet_fault import Quiet
from small_workspace import SmallWorkspace, experiment

from faultload.chaos import gate
from faultload.chaos.gate import problems, shared_instances
from faultload.chaos.journal import OpenFault, open_faults, plan_fault
from faultload.chaos.session import Session
from faultload.errors import InvalidInput
from faultload.faults import words
from faultload.faults.base import FaultRequest
from faultload.host import locks
from faultload.platforms.base import Instance
from faultload.record.directory import RunDirectory
from faultload.run.injections import injections_of
from faultload.run.prepare import RunOptions, prepare
from faultload.spec.target import TargetFile
from faultload.spec.vocabulary import collide

WEB = {"service": "web"}
TO_STORE, TO_CACHE = {"link": "web -> store"}, {"link": "web -> cache"}
TARGET = TargetFile.model_validate(
    {"id": "shop", "name": "shop", "platform": "local", "services": {"web": {"port": 9}}}
)


@pytest.mark.parametrize(
    ("one", "given", "other", "other_given", "together"),
    [
        ("pause", WEB, "kill", WEB, False),
        ("pause", WEB, "kill", {"service": "store"}, True),
        ("pause", WEB, "cpu_stress", WEB, True),
        ("io_stress", WEB, "fill_disk", WEB, False),
        ("cpu_stress", WEB, "memory_stress", WEB, True),
        ("latency", TO_STORE, "partition", TO_STORE, False),
        ("latency", TO_STORE, "partition", TO_CACHE, True),
        ("latency", TO_STORE, "http_error", TO_STORE, True),
        ("isolate", WEB, "latency", TO_STORE, False),
        ("isolate", {"service": "store"}, "latency", TO_STORE, False),
        ("isolate", {"service": "cache"}, "latency", TO_STORE, True),
        ("isolate", WEB, "isolate", {"service": "store"}, True),
        ("isolate", WEB, "pause", WEB, True),
        ("failover_database", {}, "switchover_database", {"service": "db"}, False),
        ("failover_database", {}, "pause_replication", {"service": "ledger"}, True),
    ],
)
def test_same_place_and_layer_never_meet(
    one: str, given: dict[str, str], other: str, other_given: dict[str, str], together: bool
) -> None:
    assert collide(words()[one], given, words()[other], other_given) is not together
    assert collide(words()[other], other_given, words()[one], given) is not together


# -- when it is written


def overlapping(workspace: SmallWorkspace, func: str, arguments: str, *, at: str, overlap: bool) -> str:
    """The second fault of the workspace replaced; returns the mistakes, empty when there are none."""
    workspace.slow.write_text(experiment(func, arguments))
    said = f"at: {at}\n    overlap: true" if overlap else f"at: {at}"
    workspace.replace(workspace.scenario, "at: 45s", said)
    try:
        prepare(workspace.scenario, RunOptions())
    except InvalidInput as error:
        return str(error)
    return ""


def test_two_at_once_are_a_mistake_unless_the_scenario_says_so(workspace: SmallWorkspace) -> None:
    found = overlapping(workspace, "pause", "{service: web}", at="22s", overlap=False)
    assert "the next fault comes after 2 s" in found


def test_where_the_scenario_says_so_they_may(workspace: SmallWorkspace) -> None:
    assert overlapping(workspace, "pause", "{service: web}", at="22s", overlap=True) == ""


def test_the_same_place_and_layer_is_a_mistake_even_then(workspace: SmallWorkspace) -> None:
    found = overlapping(workspace, "kill", "{service: store}", at="22s", overlap=True)
    assert "at the same time on the same place and layer (process)" in found


def test_a_one_shot_fault_is_open_as_long_as_its_bound_allows(workspace: SmallWorkspace) -> None:
    workspace.pause.write_text(experiment("kill", "{service: store}"))
    # killed at 20 s for 5 s, with 10 s to come back
    assert "same place and layer" in overlapping(workspace, "pause", "{service: store}", at="27s", overlap=True)


def test_a_one_shot_fault_is_closed_when_its_bound_is_over_though_its_hold_is_not(
    workspace: SmallWorkspace,
) -> None:
    workspace.pause.write_text(experiment("kill", "{service: store}"))
    assert overlapping(workspace, "pause", "{service: store}", at="31s", overlap=True) == ""


def test_an_injection_may_overlap_where_its_fault_says_so_and_no_other(workspace: SmallWorkspace) -> None:
    workspace.replace(workspace.scenario, "at: 45s", "at: 45s\n    overlap: true")
    of = prepare(workspace.scenario, RunOptions())
    found = injections_of(of.scenario, of.profile, of.experiments, 1)
    assert {one.fault: one.overlap for one in found} == {"freeze": False, "slow": True}


# -- when it happens


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunDirectory:
    monkeypatch.setattr(gate, "platform_of", lambda target: type("P", (), {"not_ready": lambda self, name: []})())
    return made(tmp_path / "run")


def made(path: Path) -> RunDirectory:
    run = RunDirectory.create(path)
    run.begin({})
    return run


def asked(kind: str, fault: str = "new", **arguments: Any) -> FaultRequest:
    return FaultRequest(f"{fault}#1@run", kind, arguments or WEB)


def opened(run: RunDirectory, request: FaultRequest, *instances: Instance) -> OpenFault:
    name = request.fault_id.partition("#")[0]
    return plan_fault(
        run, TARGET, request, instances or [Instance("web", "1", 2.0)], {}, fault=name, k=1, one_shot=False,
        max_duration_s=60.0,
    )  # fmt: skip


def held(run: RunDirectory, request: FaultRequest, *, overlap: bool) -> list[str]:
    return problems(run, TARGET, Quiet(TARGET, request), request, overlap=overlap)


def test_the_gate_holds_while_another_fault_is_open(run: RunDirectory) -> None:
    opened(run, asked("pause", "first"))
    assert held(run, asked("cpu_stress"), overlap=False) == ["fault first#1 is still open"]
    assert held(run, asked("cpu_stress"), overlap=True) == []


def test_the_gate_holds_on_the_same_layer_even_where_overlap_is_allowed(run: RunDirectory) -> None:
    opened(run, asked("pause", "first"))
    assert held(run, asked("kill"), overlap=True) == ["fault first#1 is open on the same place and layer (process)"]


def test_a_scenario_allows_overlap_with_its_own_faults_only(run: RunDirectory, tmp_path: Path) -> None:
    opened(made(tmp_path / "other"), asked("pause", "first"))
    assert held(run, asked("cpu_stress"), overlap=True) == ["fault first#1 of another run is still open"]


def test_one_instance_under_two_service_names_is_one_place(run: RunDirectory) -> None:
    one, two = Instance("web", "1", 2.0, "web:1"), Instance("site", "1", 2.0, "site:1")
    opened(run, asked("pause", "first"), one)
    request = asked("kill", service="site")
    assert held(run, request, overlap=True) == []
    assert shared_instances(TARGET, request, [two]) == [
        "fault first#1 is open on web:1 (pid 1) and the same layer (process)"
    ]
    assert shared_instances(TARGET, asked("cpu_stress", service="site"), [two]) == []
    assert shared_instances(TARGET, request, [Instance("site", "1", 3.0)]) == [], "a pid used again is another one"


def test_two_links_of_one_client_are_two_places(run: RunDirectory) -> None:
    client = Instance("web", "c1", 2.0)
    opened(run, asked("latency", "first", delay_ms=5, **TO_STORE), client)
    assert shared_instances(TARGET, asked("latency", delay_ms=5, **TO_CACHE), [client]) == []


# -- the race


def session_in(folder: Path) -> Session:
    """A session of the run in a folder, as far as planning needs it."""
    session = Session.__new__(Session)
    session.target, session.run, session.stopping, session.vigils = TARGET, RunDirectory(folder / "run"), None, {}
    return session


def plan_one(name: str, folder: Path, start: Barrier) -> None:
    """What a chaos process does from the gate to PLANNED, with a slow look; leaves when the gate holds."""
    os.environ["FAULTLOAD_RUN"] = str(folder / "run")
    gate.platform_of = lambda target: type("P", (), {"not_ready": lambda self, name: []})()  # type: ignore[assignment]
    run = RunDirectory(folder / "run")
    start.wait(20)
    with session_in(folder).planning():
        request = asked("pause", name)
        if not held(run, request, overlap=True):
            time.sleep(0.2)
            opened(run, request)


def test_of_two_processes_that_look_at_the_same_moment_one_is_held(run: RunDirectory, tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    start = context.Barrier(4)
    names = ["a", "b", "c", "d"]
    processes = [context.Process(target=plan_one, args=(name, tmp_path, start)) for name in names]
    for process in processes:
        process.start()
    for process in processes:
        process.join(30)
        assert process.exitcode == 0
    assert len(open_faults()) == 1


def test_a_process_that_dies_while_it_plans_gives_the_target_free(run: RunDirectory, tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    inside = context.Event()

    def hang() -> None:
        with session_in(tmp_path).planning():
            inside.set()
            time.sleep(60)

    process = context.Process(target=hang)
    process.start()
    assert inside.wait(20)
    process.kill()
    process.join(10)
    with session_in(tmp_path).planning():
        pass


def hold_the_lock(folder: Path, inside: Any, go_on: Any, left: Any) -> None:
    """Plans until it is told to go on; says whether it had to leave in the end."""
    try:
        with session_in(folder).planning():
            inside.set()
            go_on.wait(60)
    except SystemExit:
        left.set()


def test_who_is_stopped_while_it_plans_is_passed_by_and_leaves_when_it_goes_on(
    run: RunDirectory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(locks, "STOPPED_S", 0.0)
    monkeypatch.setattr(locks, "_ROUND_S", 0.02)
    context = multiprocessing.get_context("fork")
    inside, go_on, left = context.Event(), context.Event(), context.Event()
    process = context.Process(target=hold_the_lock, args=(tmp_path, inside, go_on, left))
    process.start()
    assert inside.wait(20)
    assert process.pid is not None
    os.kill(process.pid, signal.SIGSTOP)
    try:
        with session_in(tmp_path).planning():
            pass
    finally:
        os.kill(process.pid, signal.SIGCONT)
        go_on.set()
        process.join(20)
    assert left.is_set()
    with session_in(tmp_path).planning():
        pass


def test_who_waits_to_plan_leaves_when_asked_to_stop(run: RunDirectory, tmp_path: Path) -> None:
    waiting = session_in(tmp_path)
    with session_in(tmp_path).planning():
        waiting.stopping = "SIGTERM"
        with pytest.raises(SystemExit), waiting.planning():
            pass
