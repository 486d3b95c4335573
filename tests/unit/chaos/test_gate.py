"""The gate: what is not well, still open, or too soon after the previous fault holds an injection."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from quiet_fault import Quiet

from faultload.chaos import gate
from faultload.chaos.gate import problems, shared_instances
from faultload.chaos.journal import OpenFault, plan_fault
from faultload.errors import TargetError
from faultload.faults.base import FaultRequest
from faultload.platforms.base import Instance
from faultload.record import tables
from faultload.record.directory import RunDirectory, append_line
from faultload.spec.scenario import Scenario
from faultload.spec.target import TargetFile

TARGET = TargetFile.model_validate(
    {"id": "shop", "name": "shop", "platform": "local", "services": {"web": {"port": 9}, "store": {"port": 8}}}
)
SCENARIO = {
    "name": "shop",
    "target": {"url": "http://127.0.0.1:9"},
    "load": {"journeys": "j.py", "rate": [{"ramp": "10/s", "over": "5s"}, {"hold": "10m"}]},
    "objectives": ["p99(latency) <= 500ms during baseline", "availability >= 99% during baseline"],
    "recovery": {"hold": "5s"},
}
NOW_S = 60.0
"""How old the runs of these tests are when the gate looks."""


class Platform:
    """What the platform says of each service."""

    def __init__(self) -> None:
        self.ill: dict[str, list[str]] = {}
        self.asked: list[str] = []
        self.silent = False

    def not_ready(self, service: str) -> list[str]:
        if self.silent:
            raise TargetError("the engine does not answer")
        self.asked.append(service)
        return self.ill.get(service, [])


class Fault(Quiet):
    """A fault with an own view of the target's state."""

    own: list[str] = []  # noqa: RUF012 - a test sets its own

    def gate(self) -> list[str]:
        return list(self.own)


@pytest.fixture
def platform(monkeypatch: pytest.MonkeyPatch) -> Platform:
    made = Platform()
    monkeypatch.setattr(gate, "platform_of", lambda target: made)
    return made


@pytest.fixture
def run(tmp_path: Path, platform: Platform) -> RunDirectory:
    return aged(tmp_path / "run")


def aged(path: Path, **info: Any) -> RunDirectory:
    """A run that began a minute ago."""
    made = RunDirectory.create(path)
    made.begin(info)
    made.update({"t0": {"monotonic_ns": time.monotonic_ns() - round(NOW_S * 1e9), "wall": "now"}})
    return RunDirectory(path)


@pytest.fixture
def loaded(tmp_path: Path, platform: Platform) -> Callable[..., RunDirectory]:
    """Makes a run with a scenario whose last requests ended some seconds ago."""

    def make(ended_ago_s: float = 1.0, latency_s: float = 0.02, failed: float = 0.0) -> RunDirectory:
        scenario = Scenario.model_validate(SCENARIO).to_json()
        made = aged(tmp_path / "run", scenario=scenario, load={"timeout_s": 5.0, "drop_after_s": 5.0, "workers": 1})
        ended = NOW_S - ended_ago_s - np.arange(600) * 0.01
        write(made, ended, latency_s, failed)
        return made

    return make


def write(run: RunDirectory, ended_s: Any, latency_s: float, failed: float) -> None:
    n = len(ended_s)
    started_ns = ((np.sort(ended_s) - latency_s) * 1e9).astype(np.int64)
    bad = np.arange(n) < failed * n
    texts: dict[str, Any] = {"request": "GET /", "journey": "Visit", "variant": None}
    writer = tables.TableWriter(run.path, "samples")
    writer.write(
        {
            "intended_ns": started_ns,
            "started_ns": started_ns,
            "service_us": np.full(n, round(latency_s * 1e6)),
            **{name: [value] * n for name, value in texts.items()},
            "outcome": np.where(bad, "timeout", "ok").tolist(),
            "status": np.full(n, 200, np.int16),
            "bytes": np.zeros(n, np.int32),
        }
    )
    writer.close()


def held(run: RunDirectory, *, overlap: bool = False, **arguments: Any) -> list[str]:
    """Why a fault of the process layer must not be injected now."""
    request = FaultRequest("new#1@run", "pause", arguments or {"service": "web"})
    return problems(run, TARGET, Fault(TARGET, request), request, overlap=overlap)


def opened(run: RunDirectory, kind: str = "pause", *instances: Instance, **arguments: Any) -> OpenFault:
    request = FaultRequest("first#1@run", kind, arguments or {"service": "web"})
    return plan_fault(
        run, TARGET, request, instances, {}, fault="first", k=1, one_shot=False, max_duration_s=60.0
    )  # fmt: skip


# -- the target's own state


def test_a_well_target_holds_nothing_and_every_service_was_asked(run: RunDirectory, platform: Platform) -> None:
    assert held(run) == []
    assert platform.asked == ["web", "store"]


def test_a_service_that_is_not_ready_holds_and_is_told_once(
    run: RunDirectory, platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Fault, "own", ["no standby is fit to lead"])
    platform.ill = {"web": ["no standby is fit to lead", "web has 1 of 2 instances ready"]}
    assert held(run) == ["no standby is fit to lead", "web has 1 of 2 instances ready"]


def test_a_platform_that_does_not_answer_holds(run: RunDirectory, platform: Platform) -> None:
    platform.silent = True
    assert held(run) == ["the engine does not answer"]


def test_a_fault_that_may_overlap_looks_past_what_another_one_disturbs_but_not_at_its_own_needs(
    run: RunDirectory, platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    platform.ill = {"web": ["web has 1 of 2 instances ready"]}
    assert held(run, overlap=True) == []
    monkeypatch.setattr(Fault, "own", ["no standby is fit to lead"])
    assert held(run, overlap=True) == ["no standby is fit to lead"]


# -- other open faults


def test_every_open_fault_of_the_target_holds_one_that_may_not_overlap(run: RunDirectory, tmp_path: Path) -> None:
    opened(aged(tmp_path / "other"), "cpu_stress")
    assert held(run) == ["fault first#1 is still open"]


def test_a_fault_beside_one_of_a_word_that_is_not_known_here_is_held(run: RunDirectory) -> None:
    fault = opened(run)
    entry = json.loads(fault.path.read_text())
    entry["request"]["kind"] = "freeze_time"
    fault.path.write_text(json.dumps(entry))
    assert held(run, overlap=True) == ["fault first#1 is open, and 'freeze_time' is not a fault word known here"]
    assert held(run, overlap=True, service="store") != [], "nobody can say which places it touches"


def test_an_open_fault_of_an_unknown_word_shares_its_instances_with_everything(run: RunDirectory) -> None:
    one = Instance("web", "1", 2.0, "web:1")
    fault = opened(run, "pause", one)
    entry = json.loads(fault.path.read_text())
    entry["request"]["kind"] = "freeze_time"
    fault.path.write_text(json.dumps(entry))
    request = FaultRequest("new#1@run", "cpu_stress", {"service": "site"})
    assert len(shared_instances(TARGET, request, [one])) == 1
    assert shared_instances(TARGET, request, [Instance("web", "2", 2.0)]) == []


def test_a_fault_on_a_link_shares_no_instance_with_one_on_a_service_either_way_round(run: RunDirectory) -> None:
    client, link = Instance("web", "1", 2.0), {"link": "web -> store"}
    opened(run, "latency", client, delay_ms=5, **link)
    isolate = FaultRequest("new#1@run", "isolate", {"service": "web"})
    assert shared_instances(TARGET, isolate, [client]) == []


def test_a_fault_on_a_service_shares_no_instance_with_a_new_one_on_a_link(run: RunDirectory) -> None:
    client = Instance("web", "1", 2.0)
    opened(run, "isolate", client)
    latency = FaultRequest("new#1@run", "latency", {"link": "web -> store", "delay_ms": 5})
    assert shared_instances(TARGET, latency, [client]) == []


# -- the load's last seconds


def test_a_healthy_load_holds_nothing(loaded: Callable[..., RunDirectory]) -> None:
    assert held(loaded()) == []


def test_users_that_suffer_hold_and_it_says_by_how_much(loaded: Callable[..., RunDirectory]) -> None:
    (said,) = held(loaded(latency_s=0.8))
    assert said.startswith("p99(latency) <= 500ms during baseline: ")
    assert "800" in said


def test_requests_that_fail_hold(loaded: Callable[..., RunDirectory]) -> None:
    assert any(said.startswith("availability >= 99%") for said in held(loaded(failed=0.3)))


@pytest.mark.parametrize(("ago_s", "held_back"), [(8.0, False), (12.0, True)])
def test_the_last_ten_seconds_count(loaded: Callable[..., RunDirectory], ago_s: float, held_back: bool) -> None:
    expected = ["no request ended in the last 10 s"] if held_back else []
    assert held(loaded(ended_ago_s=ago_s)) == expected


def test_what_was_bad_before_the_last_ten_seconds_is_past(loaded: Callable[..., RunDirectory]) -> None:
    """The first half of the requests failed, more than ten seconds ago."""
    assert held(loaded(ended_ago_s=7.0, failed=0.5)) == []


# -- the hold


def undone(run: RunDirectory, ago_s: float, k: int = 1) -> None:
    line = {"t": NOW_S - ago_s, "fault": "kill", "k": k, "state": "UNDONE", "kind": "pause", "max_duration_s": 9.0}
    append_line(run.faults_path, line)


def test_a_fault_too_soon_after_the_previous_one_was_undone_is_held(loaded: Callable[..., RunDirectory]) -> None:
    run = loaded()
    undone(run, 30.0)
    assert held(run) == []
    undone(run, 3.0, k=2)
    undone(run, 20.0, k=3)
    (said,) = held(run)
    assert said.startswith("kill#2 was undone 3.")
    assert said.endswith("s ago, the hold is 5 s")
    assert held(run, overlap=True) == [], "it may come at any time"


def test_an_experiment_of_its_own_has_no_hold_and_no_baseline(run: RunDirectory) -> None:
    undone(run, 0.0)
    assert held(run) == []
