"""Reverts a fault on containers when its time is up, even if every faultload process is dead.

`python -m faultload.agents.container.engine_timer SECONDS unpause|start|remove ID@STARTED...`

Runs in a helper container that has the engine's socket; standard library only. It prints `ready`, waits until it
sees the fault, counts from then on, looks before it restores (STARTED is the container's `State.StartedAt`), and
ends. SIGTERM ends it early.
"""

from __future__ import annotations

import json
import signal
import socket
import sys
import time
from contextlib import suppress
from http.client import HTTPConnection, HTTPException
from typing import Any, NoReturn

SOCKET = "/run/engine.sock"
_TRIES = 30
_IDLE_S = 120.0
"""How long it waits for a fault that does not come, before it counts all the same."""
_LOOK_EVERY_S = 0.25


class _Engine(HTTPConnection):
    """The engine's API over its socket."""

    def __init__(self) -> None:
        super().__init__("localhost", timeout=60.0)

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(SOCKET)


def ask(method: str, path: str) -> tuple[int, Any]:
    """One request to the engine: status and answer."""
    connection = _Engine()
    try:
        connection.request(method, path)
        response = connection.getresponse()
        text = response.read()
        return response.status, json.loads(text) if text.strip() else None
    finally:
        connection.close()


def is_there(what: str, container_id: str, started: str) -> bool:
    """Whether a container is as the fault leaves it."""
    status, found = ask("GET", f"/containers/{container_id}/json")
    if status != 200 or what == "remove":
        return status == 200
    state = found["State"]
    left = state["Paused"] if what == "unpause" else not state["Running"]
    return bool(state["StartedAt"] == started and left)


def wait_for_fault(what: str, marks: list[tuple[str, str]]) -> None:
    """Until the first container is as the fault leaves it."""
    deadline = time.monotonic() + _IDLE_S
    while time.monotonic() < deadline:
        with suppress(OSError, HTTPException, ValueError):
            if any(is_there(what, *mark) for mark in marks):
                return
        time.sleep(_LOOK_EVERY_S)


def take_back(what: str, container_id: str, started: str) -> None:
    """Take back one thing, if it still is as the fault left it."""
    status, found = ask("GET", f"/containers/{container_id}/json")
    if status != 200:
        return
    state = found["State"]
    if state["StartedAt"] != started and what != "remove":
        return
    if what == "unpause" and state["Paused"]:
        ask("POST", f"/containers/{container_id}/unpause")
    elif what == "start" and not state["Running"]:
        ask("POST", f"/containers/{container_id}/start")
    elif what == "remove":
        ask("DELETE", f"/containers/{container_id}?force=1&v=1")


def _stop(signum: int, frame: object) -> NoReturn:
    sys.exit(0)


def main(argv: list[str]) -> int:
    """Wait, then take back; an engine that does not answer is asked again for a while."""
    signal.signal(signal.SIGTERM, _stop)
    seconds, what, *containers = argv
    if what not in ("unpause", "start", "remove"):
        raise SystemExit(f"engine_timer: {what!r} is none of unpause, start, remove")
    status, _ = ask("GET", "/version")
    if status != 200:
        raise SystemExit(f"engine_timer: the engine answers {status}")
    print("ready", flush=True)
    marks = [(container_id, started) for container_id, _, started in (one.partition("@") for one in containers)]
    wait_for_fault(what, marks)
    time.sleep(float(seconds))
    for container_id, started in marks:
        for _ in range(_TRIES):
            try:
                take_back(what, container_id, started)
                break
            except (OSError, HTTPException, ValueError):
                time.sleep(1.0)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
