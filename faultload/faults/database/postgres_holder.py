"""A process that outlives the injecting one, and ends a database fault when its time is up.

PostgreSQL has no time-out of its own for these. It is known by its arguments, which carry the fault's id; the DSN
comes in the environment, because arguments can be read by everybody.

`resume`: waits, then resumes what the plan says and ends Patroni's maintenance mode where the plan says so.
`connections`: opens connections to one server and keeps them open until the time is over.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from types import FrameType
from typing import Any

import psutil

from faultload.errors import TargetError
from faultload.host.processes import ProcessId, end, identify, spawn

_MODULE = "faultload.faults.database.postgres_holder"
_DSN_ENV = "FAULTLOAD_HOLDER_DSN"
_READY_WITHIN_S = 20.0
_TOP_UP_EVERY_S = 0.25
_PATIENCE_S = 60.0


def start(mode: str, fault_id: str, dsn: str, plan: Mapping[str, Any], for_s: float) -> str:
    """Start a holder and return what it says when it is ready. Raises TargetError when it does not get ready."""
    reading, writing = os.pipe()
    argv = [sys.executable, "-m", _MODULE, mode, "--fault", fault_id, "--ready-fd", str(writing)]
    shown = {key: value for key, value in plan.items() if key != "private"}
    argv += ["--for", str(for_s), "--plan", json.dumps(shown)]
    try:
        spawn(argv, env={_DSN_ENV: dsn}, pass_fds=[writing])
    finally:
        os.close(writing)
    said = _read_line(reading, _READY_WITHIN_S)
    word, _, rest = said.partition(" ")
    if word != "ready":
        end(holders(fault_id))
        raise TargetError(rest or f"the process that holds {fault_id} ended before it was ready")
    return rest


def holders(fault_id: str) -> list[ProcessId]:
    """The holders of a fault that run, found by their arguments."""
    found = []
    for process in psutil.process_iter(["cmdline"]):
        argv = process.info["cmdline"] or []
        mine = _MODULE in argv[:4] and "--fault" in argv and argv[argv.index("--fault") + 1] == fault_id
        if mine and (known := identify(process.pid)) is not None:
            found.append(known)
    return found


def connections_to(process: ProcessId, port: int) -> int:
    """How many established connections to a port a process holds; 0 where it has ended."""
    try:
        found = psutil.Process(process.pid).net_connections("tcp")
    except psutil.NoSuchProcess:
        return 0
    return sum(
        one.status == psutil.CONN_ESTABLISHED and bool(one.raddr) and one.raddr.port == port for one in found
    )


def _read_line(descriptor: int, timeout_s: float) -> str:
    """One line from a pipe, or what came of it by the time-out or the end."""
    import select

    deadline, text = time.monotonic() + timeout_s, b""
    try:
        while b"\n" not in text and (left := deadline - time.monotonic()) > 0:
            if select.select([descriptor], [], [], left)[0]:
                part = os.read(descriptor, 4096)
                if not part:
                    break
                text += part
    finally:
        os.close(descriptor)
    return text.decode(errors="replace").strip()


class _Stop(Exception):
    """SIGTERM: whoever ends a holder has undone what it kept."""


def _on_term(signum: int, frame: FrameType | None) -> None:
    raise _Stop


def _say(descriptor: int, what: str) -> None:
    with suppress(OSError):
        os.write(descriptor, f"{what}\n".encode())
    os.close(descriptor)


def _resume(fault_id: str, dsn: str, plan: Mapping[str, Any], ready_fd: int, until: float) -> None:
    from faultload.faults.database.replay import restore

    _say(ready_fd, "ready")
    time.sleep(max(0.0, until - time.monotonic()))
    give_up = time.monotonic() + _PATIENCE_S
    while restore(dsn, fault_id, plan) and time.monotonic() < give_up:
        time.sleep(0.5)


def _connections(fault_id: str, dsn: str, plan: Mapping[str, Any], ready_fd: int, until: float) -> None:
    """Open `plan["take"]` connections; when all free ones are wanted, take also those that become free."""
    import psycopg

    from faultload.platforms.databases.postgres import Slots, application_name, connect, slots, too_many

    name, address = application_name(fault_id), (str(plan["host"]), int(plan["port"]))
    held: list[psycopg.Connection[Any]] = []

    def take(most: int) -> None:
        for _ in range(most):
            try:
                held.append(connect(dsn, address, name))
            except psycopg.OperationalError as error:
                if too_many(error):
                    return
                raise

    take(int(plan["take"]))
    if not held:
        raise TargetError("no connection could be taken: none is free")
    _say(ready_fd, f"ready {len(held)}")
    while (left := until - time.monotonic()) > 0:
        time.sleep(min(left, _TOP_UP_EVERY_S))
        if not plan["all"]:
            continue
        with suppress(psycopg.Error):  # a leader that dies takes its connections along: nothing left to hold
            if held[0].closed or held[0].broken:
                return
            now: Slots = slots(held[0], name)
            # the one that asks is not counted
            take(now.free - 1)


def main() -> None:
    """Entry of the holder."""
    parser = argparse.ArgumentParser()
    parser.add_argument("mode", choices=["resume", "connections"])
    parser.add_argument("--fault", required=True)
    parser.add_argument("--ready-fd", type=int, required=True)
    parser.add_argument("--for", type=float, required=True, dest="for_s")
    parser.add_argument("--plan", type=json.loads, required=True)
    given = parser.parse_args()
    until = time.monotonic() + given.for_s
    signal.signal(signal.SIGTERM, _on_term)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    keep = _resume if given.mode == "resume" else _connections
    try:
        keep(given.fault, os.environ[_DSN_ENV], given.plan, given.ready_fd, until)
    except _Stop:
        sys.exit(0)
    except Exception as error:
        with suppress(OSError):
            os.write(given.ready_fd, f"failed {str(error).strip().splitlines()[0]}\n".encode())
        raise


if __name__ == "__main__":
    main()
