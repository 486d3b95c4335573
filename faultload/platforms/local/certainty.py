"""Whether it is certain how a local process was started; then the order that starts it in the same way again."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from faultload.agents.restart.circumstances import circumstances_of, mounted_groups, status_of
from faultload.host.listeners import Listener, holders
from faultload.host.processes import stat_fields
from faultload.host.regular import head_of
from faultload.host.trees import Family
from faultload.platforms.local.facts import Facts, file_of
from faultload.platforms.local.parents import STARTED_BY_US, brought_back_by, session_of, shared_with

_BIND_SERVICE = 10
_UNPRIVILEGED = Path("/proc/sys/net/ipv4/ip_unprivileged_port_start")
_STANDARD = ("input", "output", "error output")
Order = dict[str, Any]
"""For `faultload.agents.restart.start`, as JSON; the environment is in `private`."""


class Uncertain(Exception):
    """Why a process cannot be started again for certain as it was; goes after `pid 4711 in /srv/shop`."""

    def __init__(self, why: str, consequence: str = "so undo could not start it again as it was") -> None:
        super().__init__(f"{why}, {consequence}")


def certain_order(
    facts: Facts, family: Family, command: Sequence[str] | None, sockets: Sequence[Listener], *, own_users: bool
) -> Order:
    """The order that starts a process again as it was started.

    `command`: how the target file says that it was started, for one that wrote a title over its arguments.
    `sockets`: where its tree listens. `own_users`: its user namespace is made again by the caller, and with it its
    rights. Raises Uncertain, FileNotFoundError, ProcessLookupError and PermissionError.
    """
    pid = facts.process.pid
    if facts.elsewhere or facts.other_root:
        raise Uncertain("lives in other namespaces or has another root folder, as in a container")
    if facts.deleted:
        raise Uncertain(f"runs {facts.program}, which was removed or replaced since")
    env = environment_of(pid)
    argv, executable = _arguments(facts, env, command)
    if not (env is not None and STARTED_BY_US in env):
        _nobody_else_starts(facts, family)
    if env is None:
        raise Uncertain("has written over its environment")
    circumstances = circumstances_of(pid)
    if own_users:
        del circumstances["capabilities"], circumstances["namespaces"]["user"]
    else:
        _rights_of_its_start(pid, executable, circumstances, sockets)
    _no_sockets_of_others(pid, env, family, sockets)
    groups_stay(circumstances["control groups"], set(family.below(pid)))
    found = Path(executable).stat()
    return {
        "argv": list(argv),
        "executable": executable,
        "program": [found.st_dev, found.st_ino],
        "cwd": os.readlink(f"/proc/{pid}/cwd"),  # noqa: PTH115 - the kernel's own text
        "files": [standard_file(pid, number) for number in range(3)],
        "circumstances": circumstances,
        "private": {"env": env},
    }


def environment_of(pid: int) -> dict[str, str] | None:
    """The environment that a process was started with; None where it has written over it, as long titles do."""
    raw = Path(f"/proc/{pid}/environ").read_bytes()
    entries = raw.decode(errors="surrogateescape").removesuffix("\0").split("\0") if raw else []
    names = [entry.partition("=")[0] for entry in entries]
    if not all("=" in entry[1:] for entry in entries) or len(set(names)) != len(names) or _overrun(pid):
        return None
    return dict(entry.split("=", 1) for entry in entries)


def _arguments(
    facts: Facts, env: Mapping[str, str] | None, command: Sequence[str] | None
) -> tuple[Sequence[str], str]:
    """The arguments of a process and the file that they name; those of the target file where a title hides them."""
    path = None if env is None else env.get("PATH")
    program = Path(f"/proc/{facts.process.pid}/exe").stat()

    def named(first: str) -> str | None:
        found = file_of(first, facts.cwd, path)
        return found if found is not None and os.path.samestat(Path(found).stat(), program) else None

    if facts.argv and _whole(facts.process.pid) and (executable := named(facts.argv[0])):
        return facts.argv, executable
    if env is not None and command is not None:
        known = file_of(command[0], facts.cwd, path)
        if known is not None and (named(command[0]) or head_of(known, 2) == b"#!"):
            return command, known
    title = facts.argv[0] if facts.argv else ""
    raise Uncertain(
        f"wrote the title '{title}' over its arguments{'' if env is not None else ' and its environment'}"
        if facts.titled or not _whole(facts.process.pid)
        else f"calls itself '{title}', which is not the program that it runs"
    )


def _overrun(pid: int) -> bool:
    """Whether a title is longer than the arguments were: then it goes on in the environment."""
    fields = stat_fields(pid)
    begin, end = int(fields[45]), int(fields[46])  # arg_start and arg_end of proc_pid_stat(5)
    return len(Path(f"/proc/{pid}/cmdline").read_bytes()) != end - begin


def _whole(pid: int) -> bool:
    """Whether arguments are as the kernel laid them out: each ends with NUL, and the last is no rest of a title."""
    raw = Path(f"/proc/{pid}/cmdline").read_bytes()
    return raw.endswith(b"\0") and not raw.endswith(b"\0\0")


def _nobody_else_starts(facts: Facts, family: Family) -> None:
    other = brought_back_by(facts, family)
    if other is not None:
        raise Uncertain(f"may be brought back by {other}", "and there must never be two of it")


def standard_file(pid: int, number: int) -> dict[str, Any]:
    """How file 0, 1 or 2 of a process is opened again: a file to append to, or a device. Raises Uncertain."""
    link = f"/proc/{pid}/fd/{number}"
    try:
        what, opened = os.readlink(link), Path(link).stat()  # noqa: PTH115 - the kernel's own text
    except FileNotFoundError:
        raise Uncertain(f"has closed its standard {_STANDARD[number]}") from None
    lines = Path(f"/proc/{pid}/fdinfo/{number}").read_text().splitlines()
    flags = next(int(line.split()[1], 8) for line in lines if line.startswith("flags:"))
    mode = flags & os.O_ACCMODE
    try:
        there = Path(what).stat()
    except OSError:
        there = None
    if stat.S_ISCHR(opened.st_mode) and there is not None and there.st_rdev == opened.st_rdev:
        if number == 0 and what.startswith(("/dev/pts/", "/dev/tty", "/dev/console")) and session_of(pid)[2]:
            raise Uncertain(f"is the job in the foreground of the terminal {what}")
        return {"path": what, "flags": mode}
    if stat.S_ISREG(opened.st_mode) and there is not None and os.path.samestat(there, opened):
        return {"path": what, "flags": mode if mode == os.O_RDONLY else mode | os.O_APPEND}
    raise Uncertain(f"has its standard {_STANDARD[number]} in {what}, which cannot be opened again")


def _rights_of_its_start(
    pid: int, executable: str, circumstances: Mapping[str, Any], sockets: Sequence[Listener]
) -> None:
    """Raises Uncertain where a process has other rights than the kernel gives a program at its start."""
    user, group = circumstances["user"], circumstances["group"]
    if len(set(user)) > 1 or len(set(group)) > 1:
        raise Uncertain("has a real, an effective and a saved user or group that differ")
    if user[0] != 0 and Path(f"/proc/{pid}/environ").stat().st_uid != user[0]:
        raise Uncertain("changed its user or its rights after its start")
    mode = Path(executable).stat().st_mode
    if mode & (stat.S_ISUID | stat.S_ISGID) or "security.capability" in os.listxattr(executable):
        raise Uncertain(f"runs {executable}, which gives rights of its own")
    status = status_of(pid)
    has = {name: int(status[f"Cap{name}"], 16) for name in ("Inh", "Prm", "Eff", "Bnd", "Amb")}
    given = (has["Inh"] | has["Bnd"] | has["Amb"]) if user[0] == 0 else has["Amb"]
    if (has["Prm"], has["Eff"]) != (given, given):
        raise Uncertain("gave up capabilities after its start, or kept some")
    first = int(_UNPRIVILEGED.read_text())
    low = next((one.port for one in sockets if one.port < first), None)
    if low is not None and not has["Eff"] >> _BIND_SERVICE & 1:
        raise Uncertain(f"listens on port {low}, which its user may not open")


def _no_sockets_of_others(pid: int, env: Mapping[str, str], family: Family, sockets: Sequence[Listener]) -> None:
    """Raises Uncertain where a process was handed a socket or a pipe at its start."""
    members = set(family.below(pid))
    if env.get("LISTEN_PID", "").isdigit() and int(env["LISTEN_PID"]) in members:
        raise Uncertain("was handed its sockets at its start (socket activation)")
    for inode, pids in holders([one.inode for one in sockets]).items():
        others = pids - members
        if others:
            place = next(f"{one.address}:{one.port}" for one in sockets if one.inode == inode)
            raise Uncertain(f"shares its socket on {place} with pid {min(others)}, which handed it over")
    shared = shared_with(pid, family.parents.get(pid, 0))
    if shared is not None:
        raise Uncertain(f"shares {shared} with its parent")


def groups_stay(groups: Sequence[str], members: set[int]) -> None:
    """Raises Uncertain where a control group of systemd's holds nothing else: it ends with the process."""
    mounts = mounted_groups()
    for line in groups:
        _, controllers, path = line.split(":", 2)
        if not path.endswith((".scope", ".service")) or controllers not in mounts:
            continue
        processes = Path(mounts[controllers]) / path.lstrip("/") / "cgroup.procs"
        if {int(one) for one in processes.read_text().split()} <= members:
            raise Uncertain(f"is alone in the control group {path}, which systemd removes when it ends")
