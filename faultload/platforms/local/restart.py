"""How a local process is started again: as it was where that is certain, or as the target file says."""

from __future__ import annotations

import json
import os
import pwd
import subprocess
import sys
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from faultload.agents.restart.circumstances import circumstances_of
from faultload.errors import Refused, TargetError
from faultload.host.listeners import Listener, held_by, holders, listening
from faultload.host.processes import ProcessId
from faultload.host.trees import family, freeze, kill, tree
from faultload.platforms.base import Instance
from faultload.platforms.local import systemd
from faultload.platforms.local.certainty import Uncertain, certain_order, environment_of, groups_stay, standard_file
from faultload.platforms.local.facts import Facts, facts_of, file_of
from faultload.platforms.local.matching import all_argv, command_of, with_port
from faultload.platforms.local.started import Start, members_from, now_s, starts_of
from faultload.spec.target import Service

COPY, START, SYSTEMD, EXTERNAL = "copy", "start", "systemd", "external"
"""As it was; by the target file's `start`, by its `systemd`, or by a supervisor that faultload only waits for."""
HINT = "say in the target file who starts it: `start: [...]`, `systemd: NAME` or `supervisor: external`"
_INSTEAD = "say `systemd: NAME` or `supervisor: external` in the target file instead of `start`"
HELPER = [sys.executable, "-m", "faultload.agents.restart.start"]
_HELPER_S = 30.0
_OPENS_WITHIN_S = 10.0
_WATCHED_S = 1.0
"""So long does undo look at a declared `start`, for one that fails at once and for what it leaves running."""
_ALSO_DECLARED = ("further groups", "capabilities", "no_new_privs", "limits", "umask", "control groups")
"""What a declared `start` gets of the process that it replaces, beside its user and group."""
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
    hint = HINT if service.start is None else _INSTEAD
    plan: dict[str, Any] = {"seen_s": now_s(), "private": {}}
    try:
        if service.supervisor is not None:
            return {**plan, "how": EXTERNAL}
        if service.systemd is not None:
            unit = with_port(service.systemd, port)
            return {**plan, "how": SYSTEMD, **systemd.plan(unit, process.pid, rehearse=rehearse)}
        sockets = held_by(one.pid for one in tree([process]))
        plan["listens"] = _places(sockets)
        own = {one.inode for one in sockets}
        plan["beside"] = [one.inode for one in listening({one.port for one in sockets}) if one.inode not in own]
        if service.start is not None:
            how, order = START, _declared(service, facts, port)
        else:
            command = None if service.command is None else command_of(service, port)
            how, order = COPY, certain_order(facts, family(), command, sockets, own_users=own_users)
        lacking = _asked({**order, **order["private"], "rehearsal": True})["problems"] if rehearse else []
    except PermissionError as error:
        raise Refused(f"{facts.label} is not this user's ({error.filename}): {hint}") from None
    except (FileNotFoundError, ProcessLookupError) as error:
        if process.alive():
            raise Refused(f"{facts.label} cannot be looked into ({error}): {hint}") from None
        raise Refused(f"process {process.pid} has ended meanwhile") from None
    except Uncertain as why:
        raise Refused(f"{facts.label} {why}: {hint}") from None
    if lacking:
        raise Refused(f"{facts.label} has what undo could not give it again ({'; '.join(lacking)}): {hint}")
    return {**plan, "how": how, "user": {"uid": facts.uid}, **order}


def _declared(service: Service, facts: Facts, port: int | None) -> dict[str, Any]:
    """The order for the target file's `start`: its folder, user, rights, limits and environment, and its log.

    As the process's user, in the declared folder or else the process's, with the environment that it was started
    with, or a plain one where it has written over that. Raises Refused, and Uncertain where its control group ends
    with it.
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
    had = circumstances_of(pid)
    group = had["group"][1]
    groups_stay(had["control groups"], set(family().below(pid)))
    return {
        "argv": argv,
        "executable": executable,
        "cwd": cwd,
        "files": [{"path": os.devnull, "flags": os.O_RDONLY}, *(_log(pid, number) for number in (1, 2))],
        "circumstances": {
            **{name: had[name] for name in _ALSO_DECLARED},
            "user": [facts.uid] * 4,
            "group": [group] * 4,
            "ignored signals": [],
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


def _starting(plan: Mapping[str, Any], others: set[int]) -> bool:
    """Whether somebody started a process of this restart plan since that is none of these, nor below them."""
    if "user" not in plan:
        return False
    wanted = (tuple(plan["argv"]), plan["cwd"], plan["user"]["uid"])
    now = family()
    for pid, argv in all_argv():
        younger = now.started.get(pid, 0.0) >= plan.get("seen_s", 0.0)
        if argv != wanted[0] or not younger or not others.isdisjoint((pid, *now.above(pid))):
            continue
        facts = facts_of(now.process(pid))
        if facts is not None and not facts.elsewhere and (facts.argv, facts.cwd, facts.uid) == wanted:
            return True
    return False


def start_again(plan: Mapping[str, Any], fault_id: str, name: str, known: Sequence[Instance] = ()) -> bool:
    """Start a process from its restart plan, once; nothing of a supervisor's.

    `name`: what of the fault it is; what an earlier undo started for it is left alone while it may still become the
    service, and so is what somebody else started and is no instance yet (`known` are the instances). What opens a
    port that was not open is ended again. False where it is an instance already. Raises TargetError, also where
    somebody else has its address, where it would not be as it was, and where a declared `start` fails at once.
    """
    if plan["how"] == EXTERNAL:
        return True
    if plan["how"] == SYSTEMD:
        systemd.start(plan)
        return True
    with starts_of(fault_id) as starts:
        running = starts.running(name)
        instances = {int(one.id) for one in known}
        if instances.intersection(one.pid for one in running):
            return False
        ours = starts.pids()
        if running or starts.may_appear(name) or _starting(plan, instances | ours):
            return True
        beside = {*plan.get("beside", ()), *(one.inode for one in held_by(ours))}
        taken = _taken(plan["listens"], beside)
        if taken is not None:
            raise TargetError(f"not started again: {taken}")
        if plan["how"] == START:  # who dies in the midst of it may have started it
            starts.keep(name, Start(now_s()))
        try:
            start = _started(plan)
            starts.keep(name, start)
            if plan["how"] == COPY:
                _see_it_open(plan, start.members)
        except TargetError:
            starts.keep(name, None)
            raise
    return True


def _started(plan: Mapping[str, Any]) -> Start:
    """Start it now. Raises TargetError."""
    declared = plan["how"] == START
    answer = _asked({**plan, **plan["private"], **({"watched_s": _WATCHED_S} if declared else {})})
    if answer["problems"]:
        raise TargetError(f"not started again, as it would not be as it was: {'; '.join(answer['problems'])}")
    if answer.get("code") and not answer["left"]:
        # without its arguments: they may hold a secret
        raise TargetError(f"start (target file): '{plan['argv'][0]}' {_ended_with(answer['code'])}")
    pid = int(answer["started"])
    return Start(now_s(), members_from([pid, *answer.get("left", ())]), pid, grace=declared)


def _ended_with(code: int) -> str:
    return f"ended at once with exit code {code}" if code > 0 else f"was ended at once by signal {-code}"


def _see_it_open(plan: Mapping[str, Any], started: Sequence[ProcessId]) -> None:
    """Wait until what was started listens where it did before; end it when it does so elsewhere."""
    deadline = time.monotonic() + _OPENS_WITHIN_S
    while any(one.alive() for one in started) and time.monotonic() < deadline:
        now = _listens(started)
        wrong = _not_as_before(plan, now)
        if wrong:
            kill(freeze(started))  # one that listens is about to start its workers
            raise TargetError(f"started again it opened {', '.join(wrong)}, which was not open: ended it")
        if len(now) >= len(plan["listens"]):
            return
        time.sleep(0.05)


def opened_wrongly(plan: Mapping[str, Any], roots: Iterable[ProcessId]) -> list[str]:
    """Where trees listen and the process of this restart plan did not, as ADDRESS:PORT.

    A port that the kernel chooses is another one after each start: such a one counts by its address.
    """
    return _not_as_before(plan, _listens(roots))


def _listens(roots: Iterable[ProcessId]) -> list[tuple[str, int]]:
    return [(address, port) for address, port in _places(held_by(one.pid for one in tree(roots)))]


def _not_as_before(plan: Mapping[str, Any], now: Sequence[tuple[str, int]]) -> list[str]:
    before = [(address, int(port)) for address, port in plan.get("listens", ())]
    low, high = map(int, EPHEMERAL.read_text().split())
    gone = [place for place in before if place not in now]
    chosen = {address for address, port in gone if low <= port <= high}
    new = [place for place in now if place not in before]
    return [f"{address}:{port}" for address, port in new if not (low <= port <= high and address in chosen)]


def _places(sockets: Iterable[Listener]) -> list[list[Any]]:
    return [list(place) for place in sorted({(one.address, one.port) for one in sockets})]


def _taken(places: Iterable[Sequence[Any]], beside: Collection[int]) -> str | None:
    """Who listens by now where a process is to listen again, for people; not those who did beside it, by inode."""
    wanted = [(str(address), int(port)) for address, port in places]
    sockets = [one for one in listening({port for _, port in wanted}) if one.inode not in beside]
    for address, port in wanted:
        for one in sockets:
            if one.port == port and _meet(one.address, address):
                pids = holders([one.inode]).get(one.inode)
                return f"{one.address}:{port} is taken by {f'pid {min(pids)}' if pids else 'another process'}"
    return None


def _meet(one: str, other: str) -> bool:
    """Whether two sockets of one port may not listen on these addresses at once.

    One of all addresses meets each of its family; that of all of IPv6 is most often one for IPv4 too (ipv6(7)).
    """
    if one == other or "::" in (one, other):
        return True
    return (":" in one) == (":" in other) and "0.0.0.0" in (one, other)


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
