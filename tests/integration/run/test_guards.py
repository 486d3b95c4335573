"""Every rule of the guard on real processes: refused with its exit code, and nothing was touched."""

from __future__ import annotations

import os
import pty
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from standin import StandIn, Workspace, experiment, start_chaos, states, wait_for

from faultload.chaos.journal import open_faults
from faultload.host.processes import state_of
from faultload.platforms.local.links import LinkProxy
from faultload.record.directory import RunDirectory
from faultload.record.events import Gate, Note

pytestmark = pytest.mark.long

ELSEWHERE = "http://shop.invalid:80"
PAUSE_STORE = ("pause", {"service": "store"})
CUT = ("partition", {"link": "web -> store"})


def untouched(target: StandIn, workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Every server lives and runs, no link has a fault, and no fault is open."""
    monkeypatch.setenv("XDG_STATE_HOME", str(workspace.state))
    links = LinkProxy(f"http://127.0.0.1:{target.control}").links()
    return (
        all(state_of(one) not in (None, "T", "Z") for one in target.servers.values())
        and not any(entry["faults"] for entry in links.values())
        and open_faults() == []
    )


def scenario(workspace: Workspace, target: StandIn, func: str, arguments: dict[str, Any], **changes: Any) -> Path:
    faults = [{"name": "f", "experiment": workspace.experiment("f", func, arguments, 3), "at": "5s"}]
    load = {
        "journeys": "journeys.py",
        "rate": [{"step": "10/s", "for": "12s"}],
        "arrivals": "even",
        "max_users": 20,
        "timeout": "1s",
    }
    return workspace.scenario(target, faults=faults, load=load, **changes)


# -- before a run begins


def test_a_target_elsewhere_is_refused_unless_it_is_listed(
    workspace: Workspace, target: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    target.write_target(url=ELSEWHERE)
    file = scenario(workspace, target, *PAUSE_STORE)
    done = workspace.faultload("run", file, "--approve", ELSEWHERE, "--out", workspace.folder / "out")
    assert done.returncode == 5, done.stderr
    assert "list it under `allow`" in done.stderr
    assert not (workspace.folder / "out").exists()
    assert untouched(target, workspace, monkeypatch)


def test_nothing_is_asked_at_an_address_elsewhere_before_it_is_approved(
    workspace: Workspace, target: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    """0.0.0.0 is no loopback address, and yet this listener would notice."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0.5)
        far = f"http://0.0.0.0:{listener.getsockname()[1]}"
        target.write_target(links={"web -> store": {"proxy": far}})
        file = scenario(workspace, target, *CUT)
        planned = workspace.faultload("plan", file)
        done = workspace.faultload("run", file, "--out", workspace.folder / "out")
        alone = start_chaos(workspace, target, workspace.folder / workspace.experiment("f", *CUT, 3))
        told = alone.communicate(timeout=60)[0].decode()
        with pytest.raises(TimeoutError):
            listener.accept()
    assert (planned.returncode, done.returncode, alone.returncode != 0) == (0, 5, True)
    for said in (planned.stdout, done.stderr, told):
        assert f"is not on this machine (the proxy of web -> store is {far}): list it under `allow`" in said
    assert not (workspace.folder / "out").exists()
    assert untouched(target, workspace, monkeypatch)


@pytest.mark.parametrize("approve", [(), ("--approve", "http://other.invalid:80")])
def test_a_listed_target_elsewhere_is_refused_unless_it_is_confirmed(
    workspace: Workspace, target: StandIn, monkeypatch: pytest.MonkeyPatch, approve: tuple[str, ...]
) -> None:
    target.write_target(url=ELSEWHERE)
    file = scenario(workspace, target, *PAUSE_STORE, allow=[ELSEWHERE])
    done = workspace.faultload("run", file, *approve, "--out", workspace.folder / "out")
    assert done.returncode == 5, done.stderr
    assert f"confirm it with --approve {ELSEWHERE}" in done.stderr
    assert not (workspace.folder / "out").exists()
    assert untouched(target, workspace, monkeypatch)


def typed(workspace: Workspace, file: Path, answer: str) -> tuple[int | None, str, bool]:
    """Run on a terminal and answer its question: exit code (None: it went on), what it said, whether it began."""
    out = workspace.folder / "out"
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "faultload", "run", str(file), "--out", str(out)],
        cwd=workspace.folder,
        env={**os.environ, **workspace.env},
        stdin=theirs,
        stdout=subprocess.DEVNULL,
        stderr=theirs,
        start_new_session=True,
    )
    os.close(theirs)
    said = b""
    try:
        while b"Type its id to continue: " not in said:
            said += os.read(ours, 4096)
        os.write(ours, answer.encode() + b"\n")
        deadline = time.monotonic() + 40
        while process.poll() is None and not (out / "run.json").exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        began = (out / "run.json").exists()
        code = process.poll()
        if code is not None:
            said += os.read(ours, 4096)
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
            process.send_signal(signal.SIGINT)
            try:
                process.wait(40)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        os.close(ours)
    return code, said.decode(), began


def test_typing_the_wrong_id_refuses(
    workspace: Workspace, target: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    target.write_target(url=ELSEWHERE)
    code, said, began = typed(workspace, scenario(workspace, target, *PAUSE_STORE, allow=[ELSEWHERE]), "yes")
    assert (code, began) == (5, False), said
    assert f"{ELSEWHERE} is not on this machine. Type its id to continue:" in said
    assert untouched(target, workspace, monkeypatch)


def test_typing_the_right_id_goes_on(workspace: Workspace, target: StandIn) -> None:
    target.write_target(url=ELSEWHERE)
    code, said, began = typed(workspace, scenario(workspace, target, *PAUSE_STORE, allow=[ELSEWHERE]), ELSEWHERE)
    assert (code, began) == (None, True), said


def test_a_confirmed_target_elsewhere_is_begun(workspace: Workspace, target: StandIn) -> None:
    target.write_target(url=ELSEWHERE, allow=[ELSEWHERE])
    file = scenario(workspace, target, *PAUSE_STORE)
    process = workspace.start("run", file, "--approve", ELSEWHERE, "--out", workspace.folder / "out")
    wait_for(
        lambda: (workspace.folder / "out" / "run.json").exists() or process.poll() is not None, 30, "the run begins"
    )
    assert process.poll() is None, process.communicate()[0]


@pytest.mark.parametrize(
    ("func", "arguments", "changes", "says"),
    [
        ("pause", {"service": "store"}, {"protected": ["st*"]}, "'store' is protected"),
        ("partition", {"link": "web -> store"}, {"protected": ["store"]}, "'store' is protected"),
        ("pause", {"service": "store"}, {"project": "prod-eu"}, "'prod-eu' is protected"),
    ],
    ids=["a service", "an end of a link", "the project"],
)
def test_what_is_protected_is_refused_before_the_load(
    workspace: Workspace,
    target: StandIn,
    monkeypatch: pytest.MonkeyPatch,
    func: str,
    arguments: dict[str, Any],
    changes: dict[str, Any],
    says: str,
) -> None:
    target.write_target(**changes)
    file = scenario(workspace, target, func, arguments)
    done = workspace.faultload("run", file, "--out", workspace.folder / "out")
    assert done.returncode == 5, done.stdout + done.stderr
    assert says in done.stderr
    assert not (workspace.folder / "out").exists()
    assert untouched(target, workspace, monkeypatch)


def test_the_kill_switch_refuses_a_run(
    workspace: Workspace, target: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    (workspace.state / "faultload").mkdir(parents=True)
    (workspace.state / "faultload" / "stop").touch()
    file = scenario(workspace, target, *PAUSE_STORE)
    done = workspace.faultload("run", file, "--out", workspace.folder / "out")
    assert done.returncode == 5, done.stderr
    assert "kill switch" in done.stderr
    assert not (workspace.folder / "out").exists()
    assert untouched(target, workspace, monkeypatch)


def test_an_undeclared_service_is_a_mistake(
    workspace: Workspace, target: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = workspace.faultload("run", scenario(workspace, target, "pause", {"service": "ledger"}))
    assert done.returncode == 2, done.stderr
    assert "names the service 'ledger', which the target does not have" in done.stderr
    assert untouched(target, workspace, monkeypatch)


# -- while a run goes on


@pytest.mark.parametrize(
    ("arguments", "services", "says"),
    [
        ({"service": "web", "count": 2}, {}, "would touch 2 of 2 instances of 'web', at most 1"),
        ({"service": "web"}, {"min_ready": 2}, "would leave 1 ready instances of 'web', 2 must stay ready"),
    ],
    ids=["too many", "the ready floor"],
)
def test_a_fault_beyond_the_limits_is_refused_and_nothing_touched(
    workspace: Workspace,
    target: StandIn,
    monkeypatch: pytest.MonkeyPatch,
    arguments: dict[str, Any],
    services: dict[str, Any],
    says: str,
) -> None:
    content = yaml.safe_load(target.target_file.read_text())
    content["services"]["web"].update(services)
    target.write_target(services=content["services"])
    run = workspace.folder / "out"
    done = workspace.faultload("run", scenario(workspace, target, "pause", arguments), "--out", run)
    assert done.returncode == 5, done.stdout + done.stderr
    refused = [event.text for event in RunDirectory(run).events_of(Note) if event.what == "not_injected"]
    assert len(refused) == 1
    assert says in refused[0]
    assert states(run) == {}
    assert untouched(target, workspace, monkeypatch)


def test_the_kill_switch_ends_a_run_and_its_fault(
    workspace: Workspace, target: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = workspace.folder / "out"
    faults = [{"name": "f", "experiment": workspace.experiment("f", *PAUSE_STORE, 40), "at": "5s"}]
    process = workspace.start("run", workspace.scenario(target, faults=faults), "--out", run)
    wait_for(lambda: states(run).get("f", [""])[-1] == "ACTIVE" or process.poll() is not None, 60, "active")
    assert state_of(target.servers[target.store]) == "T"
    switched = time.monotonic()
    (workspace.state / "faultload" / "stop").touch()
    wait_for(lambda: states(run)["f"][-1] == "UNDONE", 15, "it is undone")
    assert time.monotonic() - switched < 15
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 5, output
    assert untouched(target, workspace, monkeypatch)


# -- `chaos run` alone


def chaos(
    workspace: Workspace, target: StandIn, func: str, arguments: dict[str, Any], **env: str
) -> tuple[int, str]:
    """Run one experiment alone; its exit code, and what its own journal says about the refusal."""
    file = workspace.folder / "alone.yaml"
    file.write_text(yaml.safe_dump(experiment([(func, arguments)], duration_s=2)))
    process = start_chaos(workspace, target, file, **env)
    output, _ = process.communicate(timeout=60)
    found = list((workspace.state / "faultload" / "chaos").glob("*"))
    assert len(found) == 1, output
    run = RunDirectory(found[0])
    assert run.faults() == [], "nothing was planned"
    said = [
        event.text if isinstance(event, Note) else event.why
        for event in run.events()
        if isinstance(event, Note | Gate)
    ]
    return process.returncode, "; ".join(said)


ALONE: dict[str, tuple[dict[str, Any], dict[str, Any], dict[str, Any], dict[str, str], str]] = {
    "protected": ({"service": "store"}, {"protected": ["store"]}, {}, {}, "'store' is protected"),
    "too many": ({"service": "web", "share": 1.0}, {}, {}, {}, "at most 1 may be touched at once"),
    "a limit of its own": (
        {"service": "web", "count": 2},
        {"guard": {"max_instances": 1, "max_share": "100%"}},
        {},
        {},
        "at most 1 may be touched",
    ),
    "the ready floor": ({"service": "web"}, {}, {"min_ready": 2}, {}, "2 must stay ready"),
    "elsewhere, not listed": (
        {"service": "store"},
        {"url": ELSEWHERE},
        {},
        {"FAULTLOAD_APPROVED": ELSEWHERE},
        "list it under `allow`",
    ),
    "elsewhere, not confirmed": (
        {"service": "store"},
        {"url": ELSEWHERE, "allow": [ELSEWHERE]},
        {},
        {},
        f"confirm it with --approve {ELSEWHERE}",
    ),
    "undeclared": ({"service": "ledger"}, {}, {}, {}, "ledger"),
    "more than there are": (
        {"service": "web", "count": 3},
        {"guard": {"max_share": "100%"}},
        {},
        {},
        "3 were asked for",
    ),
}


@pytest.mark.parametrize("rule", ALONE)
def test_an_experiment_alone_has_the_same_guard(
    workspace: Workspace, target: StandIn, monkeypatch: pytest.MonkeyPatch, rule: str
) -> None:
    arguments, changes, of_web, env, says = ALONE[rule]
    content = yaml.safe_load(target.target_file.read_text())
    content["services"]["web"].update(of_web)
    target.write_target(services=content["services"], **changes)
    code, said = chaos(workspace, target, "pause", arguments, **env)
    assert code == 1
    assert says in said
    assert untouched(target, workspace, monkeypatch)


def test_an_experiment_alone_on_a_confirmed_target_elsewhere_is_done(workspace: Workspace, target: StandIn) -> None:
    target.write_target(url=ELSEWHERE, allow=[ELSEWHERE])
    file = workspace.folder / "alone.yaml"
    file.write_text(yaml.safe_dump(experiment([PAUSE_STORE], duration_s=1)))
    process = start_chaos(workspace, target, file, FAULTLOAD_APPROVED=ELSEWHERE)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 0, output
    assert state_of(target.servers[target.store]) != "T"
