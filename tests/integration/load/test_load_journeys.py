"""Journeys: plain locustfiles, failing requests, and an HTTP client that hides nothing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from load_process import Load, Server, hold

LOCUSTFILE = """
import os
from locust import HttpUser, SequentialTaskSet, TaskSet, between, constant, events, task

said = open(os.environ["SAID"], "a", buffering=1)

@events.init_command_line_parser.add_listener
def options(parser):
    parser.add_argument("--colour", default="blue")

@events.init.add_listener
def init(environment, **_):
    said.write(f"init {environment.parsed_options.colour}\\n")

@events.test_start.add_listener
def started(environment, **_):
    said.write("test_start\\n")

@events.test_stop.add_listener
def stopped(environment, **_):
    said.write("test_stop\\n")

@events.quitting.add_listener
def quitting(environment, **_):
    said.write("quitting\\n")

class Forum(TaskSet):
    wait_time = constant(5)

    def on_start(self):
        self.posts = 0

    @task(3)
    def read(self):
        self.client.get("/forum/read")
        self.posts += 1

    @task(1)
    def leave(self):
        self.interrupt()

class Checkout(SequentialTaskSet):
    @task
    def basket(self):
        with self.client.post("/basket", json={"item": 1}, catch_response=True) as response:
            if response.json() != {"ok": True}:
                response.failure("not well")

    @task
    def pay(self):
        with self.client.get("/status/404", name="/pay", catch_response=True) as response:
            response.success()

class Visitor(HttpUser):
    wait_time = between(3, 5)
    tasks = [Forum, Checkout]

    def on_start(self):
        self.client.get("/login")

    @task
    def home(self):
        self.client.get("/home")
"""
FAILING = """
from locust import FastHttpUser, task
from faultload.load import Journey

class Reset(Journey):
    @task
    def reset(self):
        self.client.get("/warm")
        self.client.get("/reset")
        self.client.get("/close")
        self.client.post("/reset", name="POST /reset")

class Plain(FastHttpUser):
    @task
    def close(self):
        self.client.get("/close/plain")
        self.client.get("/close")

class Odd(Journey):
    @task
    def odd(self):
        self.client.get("/status/503")
        self.client.get("/garbage")
        self.client.get("http://127.0.0.1:9/", name="refused")
        with self.client.get("/well", catch_response=True) as response:
            response.failure("not well")

class Slow(Journey):
    @task
    def slow(self):
        self.client.get("/drip")
        self.client.get("/never")

class Raises(Journey):
    @task
    def raises(self):
        raise KeyError("before any request")

class RaisesLater(Journey):
    @task
    def raises(self):
        self.client.get("/first")
        with self.client.get("/second", catch_response=True):
            raise KeyError("over an answer")
"""
MANY_FILES = """
import os
from locust import task
from faultload.load import Journey

held = [os.dup(0) for _ in range(1100)]

class Visit(Journey):
    @task
    def visit(self):
        self.client.get("/visit")
"""


def test_a_plain_locustfile_runs_unchanged(server: Server, load: Callable[..., Load], tmp_path: Path) -> None:
    said = tmp_path / "said"
    run = load(LOCUSTFILE, host=server.url, stages=hold(60, 3), max_users=30, env={"SAID": str(said)})
    run.start()
    assert run.finished() == 0
    assert said.read_text().splitlines() == ["init blue", "test_start", "test_stop", "quitting"]
    assert run.table("iterations")["outcome"].to_pylist() == ["ok"] * 180
    assert set(run.outcomes()) == {"ok"}
    requests = set(run.table("samples")["request"].to_pylist())
    assert {"/login", "/home", "/forum/read", "/basket", "/pay"} == requests
    note = run.notes("wait_time_overridden")[0]["text"]
    assert "Visitor.wait_time" in note
    assert "Forum.wait_time" in note
    first = [row for row in run.table("samples").to_pylist() if row["variant"] != "setup"]
    assert {row["journey"] for row in first} == {"Visitor"}
    seen = server.seen()
    assert seen["/home"] + seen["/forum/read"] + seen["/basket"] + seen["/status/404"] == len(first)


def test_a_reset_after_the_request_reaches_the_server_once_and_is_one_failure(
    server: Server, load: Callable[..., Load]
) -> None:
    run = load(FAILING, host=server.url, stages=hold(20, 1), mix={"Reset": 1, "Plain": 1})
    run.start()
    assert run.finished() == 0
    seen = server.seen()
    assert seen["/warm"] == 10
    assert seen["/reset"] == 20
    assert seen["/close"] == 20
    for name, count in (("/reset", 10), ("/close", 20), ("POST /reset", 10)):
        assert run.outcomes(name) == {"reset": count}


def test_each_failure_is_what_it_was(server: Server, load: Callable[..., Load]) -> None:
    run = load(
        FAILING,
        host=server.url,
        stages=hold(20, 1),
        mix={"Odd": 2, "Raises": 1, "RaisesLater": 1, "Slow": 1},
        timeout_s=0.6,
    )
    run.start()
    assert run.finished() == 0
    assert run.outcomes("/status/503") == {"http_error": 8}
    assert run.outcomes("/garbage") == {"protocol_error": 8}
    assert run.outcomes("refused") == {"connect_error": 8}
    assert run.outcomes("/well") == {"check_failed": 8}
    assert run.outcomes("/drip") == run.outcomes("/never") == {"timeout": 4}
    assert run.outcomes("/first") == {"ok": 4}
    assert run.outcomes("/second") == {"client_error": 4}
    rows = run.table("samples").to_pylist()
    assert [row["journey"] for row in rows if row["request"] is None] == ["Raises"] * 4
    assert {row["outcome"] for row in rows if row["request"] is None} == {"client_error"}
    assert all(0.55e6 < row["service_us"] < 1.2e6 for row in rows if row["outcome"] == "timeout")
    assert {row["status"] for row in rows if row["request"] == "/status/503"} == {503}
    iterations = [(row["journey"], row["outcome"]) for row in run.table("iterations").to_pylist()]
    assert set(iterations) == {
        ("Odd", "http_error"),
        ("Raises", "client_error"),
        ("RaisesLater", "client_error"),
        ("Slow", "timeout"),
    }


def test_connections_are_kept_above_1024_open_files(server: Server, load: Callable[..., Load]) -> None:
    run = load(MANY_FILES, host=server.url, stages=hold(100, 2), max_users=10)
    run.start()
    assert run.finished() == 0
    assert run.outcomes() == {"ok": 200}
    assert server.seen()["connections"] <= 10 + 1


def test_only_the_first_request_of_an_iteration_counts_from_the_slot(
    server: Server, load: Callable[..., Load]
) -> None:
    run = load(FAILING, host=server.url, stages=hold(20, 1), mix={"Reset": 1})
    run.start()
    assert run.finished() == 0
    rows = run.table("samples").to_pylist()
    slots = {run.start_ns + round((k + 0.5) / 20 * 1e9) for k in range(20)}
    assert {row["intended_ns"] for row in rows if row["request"] == "/warm"} == slots
    assert all(row["intended_ns"] == row["started_ns"] for row in rows if row["request"] != "/warm")
