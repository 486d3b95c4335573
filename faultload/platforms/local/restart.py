"""How a local process is started again: as it was where that is certain, or as the target file says."""

from __future__ import annotations

import json
import os
import pwd
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from faultload.agents.restart.circumstances import status_of
from faultload.errors import Refused, TargetError
from faultload.host.listeners import Listener, held_by, holders, listening
from faultload.host.processes import ProcessId, identify
from faultload.host.trees import family, kill, tree
from faultload.platforms.base import Instance
from faultload.platforms.local import systemd
from faultload.platforms.local.certainty import Uncertain, certain_order, environment_of, standard_file
from faultload.platforms.local.facts import Facts, facts_of, file_of
from faultload.platforms.local.matching import all_argv, command_of, with_port
from faultload.spec.target import Service

COPY, START, SYSTEMD, EXTERNAL = "copy", "start", "systemd", "external"
"""As it was; by the target file's `start`, by its `systemd`, or by a supervisor that faultload only waits for."""
_HINT = "say in the target file who starts it: `start: [...]`, `systemd: NAME` or `supervisor: external`"
HELPER = [sys.executable, "-m", "faultload.agents.restart.start"]
_HELPER_S = 30.0
_OPENS_WITHIN_S = 10.0
_GENERAL = ("0.0.0.0", "::")
EPHEMERAL = Path("/proc/sys/net/ipv4/ip_local_port_range")
_SEARCHED = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def restart_plan(
    service: Service,
    process: ProcessId,
    port: int | None = None,
    *,
    own_users: bool = False,
    rehearse: bool = True,
) -> dict[str, Any]:
    """What it takes to start a process again; what others may not read is in `private`.

    `own_users`: its user namespace is for the caller to make again. Raises Refused, before anything is touched,
    where nothing says how for certain, and where something of it could not be given to a new process: a helper
    tries that, unless nothing is to be touched and `rehearse` is False.
    """
    facts = facts_of(process)
    if facts is None:
        raise Refused(f"process {process.pid} has ended meanwhile")
    plan: dict[str, Any] = {"seen_s": time.clock_gettime(time.CLOCK_BOOTTIME), "private": {}}
    try:
        if service.supervisor is not None:
            return {**plan, "how": EXTERNAL}
        if service.systemd is not None:
            unit = with_port(service.systemd, port)
            return {**plan, "how": SYSTEMD, **systemd.plan(unit, process.pid, rehearse=rehearse)}
        sockets = held_by(one.pid for one in tree([process]))
        plan["listens"] = _places(sockets)
        if service.start is not None:
            how, order = START, _declared(service, facts, port)
        else:
            command = None if service.command is None else command_of(service, port)
            how, order = COPY, certain_order(facts, family(), command, sockets, own_users=own_users)
        lacking = _asked({**order, **order["private"], "rehearsal": True})["problems"] if rehearse else []
    except PermissionError as error:
        raise Refused(f"{facts.label} is not this user's ({error.filename}): {_HINT}") from None
    except (FileNotFoundError, ProcessLookupError) as error:
        if process.alive():
            raise Refused(f"{facts.label} cannot be looked into ({error}): {_HINT}") from None
        raise Refused(f"process {process.pid} has ended meanwhile") from None
    except Uncertain as why:
        raise Refused(f"{facts.label} {why}: {_HINT}") from None
    if lacking:
        raise Refused(f"{facts.label} has what undo could not give it again ({'; '.join(lacking)}): {_HINT}")
    return {**plan, "how": how, "user": {"uid": facts.uid}, **order}


def _declared(service: Service, facts: Facts, port: int | None) -> dict[str, Any]:
    """The order for the target file's `start`: its folder, user and environment, and its log.

    As the process's user, in the declared folder or else the process's, with the environment that it was started
    with, or a plain one where it has written over that.
    """
    assert service.start is not None
    pid = facts.process.pid
    argv = [with_port(part, port) for part in service.start]
    known = environment_of(pid)
    env = _plain_environment(facts.uid) if known is None else known
    literal = service.cwd is not None and not any(mark in service.cwd for mark in "*?[")
    cwd = str(service.cwd) if literal else facts.cwd or "/"
    executable = file_of(argv[0], cwd, env.get("PATH"))
    if executable is None:
        raise Refused(f"start (target file): there is no program '{argv[0]}' for it in {cwd}")
    status = status_of(pid)
    group = int(status["Gid"].split()[1])
    return {
        "argv": argv,
        "executable": executable,
        "cwd": cwd,
        "files": [{"path": os.devnull, "flags": os.O_RDONLY}, *(_log(pid, number) for number in (1, 2))],
        "ignored": [],
        "circumstances": {
            "user": [facts.uid] * 4,
            "group": [group] * 4,
            "further groups": sorted(int(one) for one in status["Groups"].split()),
        },
        "private": {"env": env},
    }


def _log(pid: int, number: int) -> dict[str, Any]:
    """The file that a process writes its output to, or nowhere."""
    try:
        return standard_file(pid, number)
    except (Uncertain, OSError):
        return {"path": os.devnull, "flags": os.O_WRONLY}


def _plain_environment(uid: int) -> dict[str, str]:
    env = {"PATH": os.environ.get("PATH", _SEARCHED)}
    try:
        user = pwd.getpwuid(uid)
    except KeyError:
        return env
    return {**env, "HOME": user.pw_dir, "USER": user.pw_name, "LOGNAME": user.pw_name}


def starting(plan: Mapping[str, Any], known: Sequence[Instance]) -> bool:
    """Whether somebody started a process of this restart plan since, and it is no instance yet."""
    if "user" not in plan:
        return False
    others = {one.id for one in known}
    wanted = (tuple(plan["argv"]), plan["cwd"], plan["user"]["uid"])
    now = family()
    for pid, argv in all_argv():
        younger = now.started.get(pid, 0.0) >= plan.get("seen_s", 0.0)
        if argv != wanted[0] or not younger or others.intersection(map(str, (pid, *now.above(pid)))):
            continue
        facts = facts_of(now.process(pid))
        if facts is not None and not facts.elsewhere and (facts.argv, facts.cwd, facts.uid) == wanted:
            return True
    return False


def start_again(plan: Mapping[str, Any]) -> None:
    """Start a process from its restart plan, once; nothing of a supervisor's.

    What then opens a port that was not open is ended again. Raises TargetError, also where somebody else has its
    address, and where it would not be as it was.
    """
    if plan["how"] == EXTERNAL:
        return
    if plan["how"] == SYSTEMD:
        systemd.start(plan)
        return
    taken = _taken(plan["listens"])
    if taken is not None:
        raise TargetError(f"not started again: {taken}")
    answer = _asked({**plan, **plan["private"]})
    if answer["problems"]:
        raise TargetError(f"not started again, as it would not be as it was: {'; '.join(answer['problems'])}")
    process = identify(int(answer["started"]))
    if process is not None and plan["how"] == COPY:
        _see_it_open(plan, process)


def _see_it_open(plan: Mapping[str, Any], process: ProcessId) -> None:
    """Wait until a process listens where the one before it did; end it when it does so elsewhere."""
    deadline = time.monotonic() + _OPENS_WITHIN_S
    while process.alive() and time.monotonic() < deadline:
        wrong = opened_wrongly(plan, [process])
        if wrong:
            kill([process])
            raise TargetError(f"started again it opened {', '.join(wrong)}, which was not open: ended it")
        if len(_places(held_by(one.pid for one in tree([process])))) >= len(plan["listens"]):
            return
        time.sleep(0.05)


def opened_wrongly(plan: Mapping[str, Any], roots: Iterable[ProcessId]) -> list[str]:
    """Where trees listen and the process of this restart plan did not, as ADDRESS:PORT.

    A port that the kernel chooses is another one after each start: such a one counts by its address.
    """
    before = [(address, int(port)) for address, port in plan.get("listens", ())]
    low, high = map(int, EPHEMERAL.read_text().split())
    now = [(one.address, one.port) for one in held_by(one.pid for one in tree(roots))]
    gone = [place for place in before if place not in now]
    chosen = {address for address, port in gone if low <= port <= high}
    new = [place for place in now if place not in before]
    return [f"{address}:{port}" for address, port in new if not (low <= port <= high and address in chosen)]


def _places(sockets: Iterable[Listener]) -> list[list[Any]]:
    return [list(place) for place in sorted({(one.address, one.port) for one in sockets})]


def _taken(places: Iterable[Sequence[Any]]) -> str | None:
    """Who listens by now where a process is to listen again, for people."""
    wanted = [(str(address), int(port)) for address, port in places]
    sockets = listening({port for _, port in wanted})
    for address, port in wanted:
        for one in sockets:
            if one.port == port and (one.address == address or one.address in _GENERAL or address in _GENERAL):
                pids = holders([one.inode]).get(one.inode)
                return f"{one.address}:{port} is taken by {f'pid {min(pids)}' if pids else 'another process'}"
    return None


def _asked(order: Mapping[str, Any]) -> dict[str, Any]:
    """The helper's answer to an order: `started`, or the `problems` for which nothing was started."""
    try:
        done = subprocess.run(
            HELPER, input=json.dumps(order).encode(), capture_output=True, timeout=_HELPER_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return {"problems": [f"the helper that starts it gave no answer: {error}"]}
    try:
        return {"problems": [], **json.loads(done.stdout)}
    except ValueError:
        said = done.stderr.decode(errors="replace").strip().splitlines() or [f"exit code {done.returncode}"]
        return {"problems": [f"the helper that starts it gave no answer: {said[-1]}"]}
