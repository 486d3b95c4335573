"""The load process: how it starts, ends, and dies with its conductor."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from load_process import Load, Server, hold

from faultload.record.events import Health, ProcessEvent

VISIT = """
from locust import task
from faultload.load import Journey, observe, attempt, acknowledge

class Visit(Journey):
    def on_start(self):
        self.client.get("/login")

    def on_stop(self):
        self.client.get("/logout")

    @task
    def visit(self):
        attempt("key")
        self.client.get("/visit")
        acknowledge("key")
        observe("seen", 1)
"""


def test_it_ends_by_itself_when_all_slots_are_done(server: Server, load: Callable[..., Load]) -> None:
    run = load(VISIT, host=server.url, stages=hold(50, 2), max_users=20)
    run.start()
    assert run.finished() == 0
    assert [event.state for event in run.run.events_of(ProcessEvent)] == ["ready", "ended"]
    assert run.run.events_of(ProcessEvent)[0].pid == run.process.pid
    assert run.outcomes("/visit") == {"ok": 100}
    assert run.table("iterations")["outcome"].to_pylist() == ["ok"] * 100
    assert len(run.table("observations")) == 100
    assert run.table("writes")["state"].to_pylist().count("acknowledged") == 100
    variants = {row["request"]: row["variant"] for row in run.table("samples").to_pylist()}
    assert variants == {"/login": "setup", "/visit": None, "/logout": "setup"}
    users = run.outcomes("/login").total()
    assert 1 <= users <= 20
    health = run.run.events_of(Health)
    assert sum(event.to_json()["offered"] for event in health) == 100
    assert sum(event.started for event in health) == 100
    assert {"loop_lag_p99_ms", "cpu_percent", "users", "busy_users", "queued", "ok", "failed", "p99_ms"} <= set(
        health[0].to_json()
    )


LEAVES_IN_TURN = """
import random
import gevent
from locust import task
from faultload.load import Journey

class Visit(Journey):
    def on_start(self):
        self.client.get("/login")

    def on_stop(self):
        gevent.sleep(random.uniform(0, 0.5))
        self.client.get("/logout")

    @task
    def visit(self):
        self.client.get("/visit")
"""


def test_users_that_leave_at_the_end_are_not_replaced(server: Server, load: Callable[..., Load]) -> None:
    run = load(LEAVES_IN_TURN, host=server.url, stages=hold(50, 1), max_users=20)
    run.start()
    assert run.finished() == 0
    assert run.outcomes("/login").total() == run.outcomes("/logout").total() <= 20
    logins = [row for row in run.table("samples").to_pylist() if row["request"] == "/login"]
    assert max(row["started_ns"] for row in logins) < run.start_ns + 1_000_000_000


def test_it_ends_within_two_seconds_of_its_conductors_death(server: Server, load: Callable[..., Load]) -> None:
    run = load(VISIT, host=server.url, stages=hold(100, 30))
    run.start()
    run.until(1.5)
    assert run.process.stdin is not None
    run.process.stdin.close()
    died = time.monotonic()
    run.finished(2)
    assert time.monotonic() - died < 2
    assert run.outcomes("/visit")["ok"] > 100
    assert len(run.table("iterations")) > 100
    assert run.state() == "ready"


@pytest.mark.parametrize("how", ["stop", "SIGTERM", "SIGINT"])
def test_told_to_stop_it_offers_no_more_and_records_what_is_in_flight(
    server: Server, load: Callable[..., Load], how: str
) -> None:
    journeys = VISIT.replace('"/visit")', '"/never", name="a slow one")').replace("def on_stop", "def unused")
    run = load(journeys, host=server.url, stages=hold(20, 30), max_users=10, drain_s=0.5)
    run.start()
    run.until(1)
    if how == "stop":
        run.say("stop")
    else:
        os.kill(run.process.pid, signal.Signals[how])
    assert run.finished(10) == 0
    assert run.state() == "ended"
    outcomes = run.outcomes("a slow one")
    assert outcomes == {"unfinished": 10}
    assert 5 <= run.outcomes()["dropped"] <= 20
    assert run.table("iterations")["outcome"].to_pylist() == ["unfinished"] * 10


@pytest.mark.parametrize(
    ("journeys", "mix", "why"),
    [
        ("import nothing_of_that_name", None, "journeys.py:1: cannot be imported: ModuleNotFoundError"),
        ("x = 1\ny = x +\n", None, "journeys.py:2: cannot be imported: SyntaxError"),
        ("x = 1\n", None, "has no user class"),
        (VISIT, {"Vist": 1}, "has no user class Vist (it has Visit)"),
    ],
)
def test_a_journey_file_that_cannot_be_run_is_named_with_the_reason(
    load: Callable[..., Load], journeys: str, mix: dict[str, int] | None, why: str
) -> None:
    run = load(journeys, host="http://127.0.0.1:9", stages=hold(1, 1), mix=mix)
    assert run.finished() == 2
    event = run.run.events_of(ProcessEvent)[-1]
    assert event.state == "failed"
    assert why in event.why


def test_the_closed_model_keeps_the_stages_number_of_users(server: Server, load: Callable[..., Load]) -> None:
    journeys = VISIT.replace("import task", "import constant, task").replace(
        "    def on_start", "    wait_time = constant(0.1)\n\n    def on_start", 1
    )
    stages = [*hold(4, 1.5), {**hold(8, 1.5)[0], "start_s": 1.5, "end_s": 3.0}]
    run = load(journeys, host=server.url, stages=stages, model="closed")
    run.start()
    assert run.finished() == 0
    iterations = run.table("iterations")
    assert 0.6 * 180 < len(iterations) <= 184
    assert set(iterations["waited_us"].to_pylist()) == set(iterations["slip_us"].to_pylist()) == {0}
    rows = run.table("samples").to_pylist()
    assert all(row["started_ns"] - row["intended_ns"] < 5_000_000 for row in rows)
    assert max(event.users for event in run.run.events_of(Health)) == 8
    assert run.outcomes("/login") == {"ok": 8}


def test_the_same_file_runs_in_plain_locust(server: Server, tmp_path: Path) -> None:
    file = tmp_path / "plain.py"
    file.write_text(VISIT)
    command = [sys.executable, "-m", "locust", "-f", str(file), "--headless", "-u", "2", "-r", "2", "-t", "60s"]
    with subprocess.Popen([*command, "--host", server.url], stderr=subprocess.PIPE, text=True) as process:
        deadline = time.monotonic() + 60
        while server.seen()["/visit"] <= 10 and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.1)
        process.terminate()
        _, said = process.communicate(timeout=30)
    assert process.returncode == 0, said
    assert server.seen()["/visit"] > 10, said
