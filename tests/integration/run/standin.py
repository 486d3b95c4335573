"""A stand-in system of plain servers behind a link proxy, and a workspace with a scenario that points at it."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import psutil
import yaml

from faultload.host.processes import ProcessId, identify
from faultload.record.directory import RunDirectory
from faultload.reference.kit.ports import free_ports

HERE = Path(__file__).parent
SERVER = str(HERE / "plain_server.py")
TOKEN = "a-token-of-the-tests"
JOURNEYS = """
from locust import task
from faultload.load import Journey

class Visit(Journey):
    @task
    def visit(self):
        self.client.get("/", name="GET /")
"""


def held_ports(count: int) -> dict[int, socket.socket]:
    """Ports of the loopback that are free now, each held by a socket, so that others choose other ones.

    A bound socket that does not listen keeps a port from whoever looks for a free one; servers listen beside it.
    """
    held: dict[int, socket.socket] = {}
    while len(held) < count:
        for port in free_ports(count - len(held)):
            holder = socket.socket()
            try:
                holder.bind(("127.0.0.1", port))  # not yet reusable: of two who try, one gets it
            except OSError:
                holder.close()
                continue
            holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            held[port] = holder
    return held


def wait_for(condition: Any, timeout_s: float, what: str) -> None:
    """Wait until a condition holds; fails the test at the time-out."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"not within {timeout_s} s: {what}"
        time.sleep(0.05)


class StandIn:
    """Two web servers, a store and a cache; the links web -> store and web -> cache pass a link proxy.

    It has a third link, cache -> store, that no target file declares.
    """

    def __init__(self, folder: Path, env: Mapping[str, str], fail: int = 0) -> None:
        self.folder = folder
        self.env = {**os.environ, **env}
        self._held = held_ports(8)
        *self.web, self.store, self.cache, self.control, self.to_store, self.to_cache, self.spare = self._held
        self.processes: list[subprocess.Popen[bytes]] = []
        self.fail = fail
        self.servers = {port: self.start_server(port) for port in (*self.web, self.store, self.cache)}
        config = folder / "links.json"
        ports = {"web": self.web[0], "store": self.store, "cache": self.cache}
        pairs = [("web -> store", self.to_store), ("web -> cache", self.to_cache), ("cache -> store", self.spare)]
        links = {}
        for name, listen in pairs:
            client, server = name.split(" -> ")
            links[name] = [
                {
                    "name": name,
                    "listen": listen,
                    "upstream": ["127.0.0.1", ports[server]],
                    "protocol": "http",
                    "client": f"{client}:{ports[client]}",
                    "server": f"{server}:{ports[server]}",
                }
            ]
        config.touch(mode=0o600)
        config.write_text(json.dumps({"control": self.control, "token": TOKEN, "links": links}))
        self.proxy = self._start([sys.executable, "-m", "faultload.agents.link.proxy", "--config", str(config)])
        for port in (*self.servers, self.control):
            wait_for(lambda port=port: listens(port), 20, f"port {port} listens")
        self.target_file = folder / "target.yaml"
        self.write_target()

    def command(self) -> list[str]:
        extra = ["--fail", str(self.fail)] if self.fail else []
        return [sys.executable, SERVER, "--port", "{port}", *extra]

    def start_server(self, port: int) -> ProcessId:
        process = self._start([part.replace("{port}", str(port)) for part in self.command()])
        found = identify(process.pid)
        assert found is not None
        return found

    def _start(self, argv: Sequence[str]) -> subprocess.Popen[bytes]:
        with open(self.folder / "servers.log", "ab") as log:  # a file that an undo can open again
            process = subprocess.Popen(argv, env=self.env, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        self.processes.append(process)
        return process

    def write_target(self, **changes: Any) -> None:
        def service(*ports: int) -> dict[str, Any]:
            return {"command": self.command(), "ports": list(ports), "health": "/health"}

        proxy = {"proxy": f"http://127.0.0.1:{self.control}", "token": TOKEN}
        target = {
            "name": "stand-in",
            "platform": "local",
            "url": f"http://127.0.0.1:{self.web[0]}",
            "services": {"web": service(*self.web), "store": service(self.store), "cache": service(self.cache)},
            "links": {"web -> store": proxy, "web -> cache": proxy},
            **changes,
        }
        self.target_file.write_text(yaml.safe_dump(target))

    def end(self) -> None:
        """End every server, also those that faultload started again."""
        for process in self.processes:
            process.kill()
            process.wait()
        for process in psutil.process_iter(["cmdline"]):
            argv = process.info["cmdline"] or []
            if SERVER in argv and any(str(port) in argv for port in self.servers):
                process.kill()
        for holder in self._held.values():
            holder.close()


def listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 0.5).close()
    except OSError:
        return False
    return True


@contextmanager
def lying_proxy(listen: int) -> Iterator[int]:
    """A link proxy's control API that says yes to everything and does nothing."""
    pair = {"name": "p", "listen": listen, "upstream": ["127.0.0.1", listen], "protocol": "http"}

    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            length = int(self.headers.get("content-length") or 0)
            self.rfile.read(length)
            body = json.dumps(
                {"links": {"web -> store": {"pairs": [pair], "faults": []}}, "removed": True}
            ).encode()
            self.send_response(200)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_PUT = do_DELETE = answer  # noqa: N815 - http.server's names

        def log_message(self, *arguments: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()


def short(rate: str = "20/s", seconds: int = 8, **more: Any) -> dict[str, Any]:
    """A short load of a scenario: one level."""
    return {
        "journeys": "journeys.py",
        "rate": [{"step": rate, "for": f"{seconds}s"}],
        "arrivals": "even",
        "max_users": 50,
        "timeout": "2s",
        **more,
    }


class Workspace:
    """A folder with a scenario, its experiments and journeys, and a state folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.state = folder / "state"
        (folder / "scenarios").mkdir()
        (folder / "experiments").mkdir()
        (folder / "journeys.py").write_text(JOURNEYS)
        self.env = {"XDG_STATE_HOME": str(self.state)}
        self.started: list[subprocess.Popen[str]] = []

    def experiment(self, name: str, func: str, arguments: dict[str, Any], duration_s: float = 30) -> str:
        """Write an experiment with one fault; returns its path as a scenario names it."""
        path = self.folder / "experiments" / f"{name}.yaml"
        path.write_text(yaml.safe_dump(experiment([(func, arguments)], duration_s)))
        return f"experiments/{name}.yaml"

    def scenario(self, target: StandIn | str, **changes: Any) -> Path:
        """Write a scenario that visits a target (or target file, or URL) 20 times a second."""
        content: dict[str, Any] = {
            "name": "visit",
            "target": str(target.target_file) if isinstance(target, StandIn) else target,
            "load": {
                "journeys": "journeys.py",
                "rate": [{"step": "20/s", "for": "60s"}],
                "arrivals": "even",
                "max_users": 50,
                "timeout": "2s",
            },
            "objectives": ["error_rate <= 50%"],
            "recovery": {"slice": "1s", "hold": "3s", "tolerance": "50%"},
            **changes,
        }
        path = self.folder / "scenarios" / "visit.yaml"
        path.write_text(yaml.safe_dump(content, sort_keys=False))
        return path

    def faultload(self, *arguments: str | Path, timeout_s: float = 120) -> subprocess.CompletedProcess[str]:
        """Run a faultload command to its end."""
        return subprocess.run(
            [sys.executable, "-m", "faultload", *map(str, arguments)],
            cwd=self.folder,
            env={**os.environ, **self.env},
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )

    def start(self, *arguments: str | Path) -> subprocess.Popen[str]:
        """Start a faultload command."""
        process = subprocess.Popen(
            [sys.executable, "-m", "faultload", *map(str, arguments)],
            cwd=self.folder,
            env={**os.environ, **self.env},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.started.append(process)
        return process

    def end(self) -> None:
        """Undo whatever a test left open, and end what it started."""
        for process in self.started:
            process.kill()
            process.wait()
            if process.stdout is not None:
                process.stdout.close()
        self.faultload("undo", "--all", "--yes")
        for process in processes_in(self.state.parent):
            process.kill()


def start_chaos(workspace: Workspace, target: StandIn, file: Path, **env: str) -> subprocess.Popen[bytes]:
    """Start `chaos run` on an experiment, alone."""
    return subprocess.Popen(
        [sys.executable, "-m", "chaostoolkit", "--no-version-check", "--no-log-file", "run", str(file)],
        cwd=workspace.folder,
        env={**os.environ, **workspace.env, "FAULTLOAD_TARGET": str(target.target_file), **env},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )


def experiment(faults: Sequence[tuple[str, dict[str, Any]]], duration_s: float) -> dict[str, Any]:
    """An experiment file's content: each fault injected and held, all undone at the end."""

    def action(name: str, func: str, arguments: dict[str, Any]) -> dict[str, Any]:
        provider = {"type": "python", "module": "faultload.chaos.actions", "func": func, "arguments": arguments}
        return {"type": "action", "name": name, "provider": provider}

    method, rollbacks = [], []
    for number, (func, arguments) in enumerate(faults):
        method += [
            action(f"inject {number}", func, {**arguments, "fault": f"{func}-{number}"}),
            action(f"hold {number}", "hold", {"duration_s": "${duration_s}"}),
        ]
        rollbacks.append(action(f"undo {number}", "undo", {"fault": f"{func}-{number}"}))
    return {
        "title": "a test's fault",
        "description": "A fault of a test.",
        "configuration": {
            "target": {"type": "env", "key": "FAULTLOAD_TARGET", "default": "target.yaml"},
            "duration_s": duration_s,
            "seed": 1,
        },
        "method": method,
        "rollbacks": rollbacks,
        "runtime": {"rollbacks": {"strategy": "always"}},
    }


def states(run: Path) -> dict[str, list[str]]:
    """The states of each fault of a run, in order."""
    found: dict[str, list[str]] = {}
    for line in RunDirectory(run).faults():
        found.setdefault(line.fault, []).append(line.state)
    return found


def processes_in(folder: Path) -> list[psutil.Process]:
    """Processes whose run or state lies in a folder, as their environment says; the caller is left out."""
    found = []
    for process in psutil.process_iter():
        try:
            env, ended = process.environ(), process.status() == psutil.STATUS_ZOMBIE
        except psutil.Error:
            continue
        inside = any(env.get(name, "").startswith(str(folder)) for name in ("FAULTLOAD_RUN", "XDG_STATE_HOME"))
        if inside and not ended and process.pid != os.getpid():
            found.append(process)
    return found


def processes_of_run(run: Path) -> list[str]:
    """What still runs of a run: load, chaos and warden processes, by command line."""
    found = []
    for process in psutil.process_iter(["cmdline"]):
        argv = process.info["cmdline"] or []
        if any(str(run) in part for part in argv) and any("faultload." in part or "chaos" in part for part in argv):
            found.append(" ".join(argv))
    return found
