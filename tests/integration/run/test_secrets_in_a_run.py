"""A secret that journeys print and raise is in no file of a run: while it goes on, and after a kill."""

from __future__ import annotations

import base64
import signal
import time
from pathlib import Path

import pytest
from standin import TOKEN, StandIn, Workspace, processes_of_run, states, wait_for

pytestmark = pytest.mark.long
JOURNEYS = """
import base64, os
from locust import task
from faultload.load import Journey

class Visit(Journey):
    @task
    def visit(self):
        token = os.environ["PROXY_TOKEN"]
        print("the token is", token, flush=True)
        os.write(2, base64.b64encode(f"user:{token}".encode()) + b"\\n")
        self.client.get(f"/?token={token}", headers={"Authorization": token})
        raise RuntimeError(f"refused: {token}")
"""
FORMS = [TOKEN.encode(), base64.b64encode(f"user:{TOKEN}".encode())]


def leaks(folder: Path) -> list[str]:
    """The files that hold the secret now."""
    found = []
    for path in folder.rglob("*"):
        try:
            content = path.read_bytes() if path.is_file() else b""
        except FileNotFoundError:
            continue
        found += [str(path) for form in FORMS if form in content]
    return found


def test_no_file_holds_a_secret_at_any_time(workspace: Workspace, target: StandIn) -> None:
    proxy = {"proxy": f"http://127.0.0.1:{target.control}", "token": "${secret:PROXY_TOKEN}"}
    target.write_target(links={"web -> store": proxy})
    (workspace.folder / "journeys.py").write_text(JOURNEYS)
    workspace.env["PROXY_TOKEN"] = TOKEN
    experiment = workspace.experiment("cut", "partition", {"link": "web -> store"})
    scenario = workspace.scenario(target, faults=[{"name": "cut", "experiment": experiment, "at": "5s"}])
    run = workspace.folder / "out"
    process = workspace.start("run", scenario, "--out", run)
    log = run / "logs" / "load-0.log"
    wait_for(lambda: process.poll() is not None or "ACTIVE" in states(run).get("cut", ()), 60, "the fault is there")
    assert process.poll() is None, process.communicate()[0]
    for _ in range(20):
        kept = [
            path for path in leaks(workspace.state) if not path.startswith(f"{workspace.state}/faultload/open/")
        ]
        assert leaks(run) + kept == [], "undo needs the token: the entry of the open fault alone keeps it"
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    wait_for(lambda: not processes_of_run(run), 60, "everything of the run has ended")
    assert states(run)["cut"][-1] == "UNDONE"
    assert leaks(run) + leaks(workspace.state) == []
    said = log.read_text()
    assert said.count("the token is ***PROXY_TOKEN***") > 5 and "RuntimeError: refused: ***PROXY_TOKEN***" in said
    assert process.stdout is not None
    assert TOKEN not in process.stdout.read()
    workspace.faultload("report", run)
    assert leaks(run) == []
