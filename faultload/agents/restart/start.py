"""Starts a program as another process was started, or says what of that could not be had and starts nothing.

It reads an order (JSON) from its standard input and answers on its standard output. It makes its own process
like the one that ran before, compares itself with it, and only then becomes the program. What does the comparing is
the kernel's own view, so nothing is started with less, and nothing with more than it had.
"""

from __future__ import annotations

import ctypes
import json
import os
import resource
import signal
import sys
import time
from collections.abc import Collection, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from faultload.agents.restart.circumstances import (
    circumstances_of,
    differences,
    libc,
    mounted_groups,
    set_io_priority,
)

_PR_SET_DUMPABLE, _PR_SET_KEEPCAPS, _PR_CAPBSET_DROP, _PR_SET_NO_NEW_PRIVS = 4, 8, 24, 38
_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_RAISE = 47, 2
_PR_SET_CHILD_SUBREAPER = 36
_CAPABILITY_VERSION = 0x20080522


def become_like(order: Mapping[str, Any]) -> None:
    """Give the calling process the folder, files, user, rights, limits and groups of an order, as far as it can.

    What needs a right goes before that right is dropped. What the order does not say stays as it is; what cannot be
    had stays too, and the comparison tells.
    """
    mine = circumstances_of(os.getpid())
    wanted = {**mine, **order["circumstances"]}
    _attempt(_join_groups, wanted["control groups"], mine["control groups"])

    def where_it_differs(name: str, action: Any, *arguments: Any) -> None:
        if wanted[name] != mine.get(name):
            _attempt(action, *arguments)

    for name, prefix in (("oom_score_adj", ""), ("coredump_filter", "0x")):
        if name in order["circumstances"]:
            where_it_differs(name, Path(f"/proc/self/{name}").write_text, f"{prefix}{wanted[name]}")
    policy, priority = wanted["scheduling policy"]
    where_it_differs("scheduling policy", os.sched_setscheduler, 0, policy, os.sched_param(priority))
    where_it_differs("niceness", os.setpriority, os.PRIO_PROCESS, 0, wanted["niceness"])
    where_it_differs("processor affinity", os.sched_setaffinity, 0, wanted["processor affinity"])
    where_it_differs("I/O priority", set_io_priority, wanted["I/O priority"])
    os.chdir(order["cwd"])
    _open_files(order["files"])
    os.umask(int(wanted["umask"], 8))
    _set_limits(wanted["limits"], mine["limits"])
    _become_user(wanted, mine)
    _set_signals(order["circumstances"].get("ignored signals", ()))


def _attempt(action: Any, *arguments: Any) -> None:
    try:
        action(*arguments)
    except (OSError, ValueError):
        return


def _join_groups(wanted: list[str], mine: list[str]) -> None:
    mounts = mounted_groups()
    for line in wanted:
        if line in mine:
            continue
        _, controllers, path = line.split(":", 2)
        place = mounts.get(controllers)
        if place is not None:
            (Path(place) / path.lstrip("/") / "cgroup.procs").write_text("0")


def _open_files(files: list[Mapping[str, Any]]) -> None:
    """Files 0, 1 and 2: what they are is opened again and nothing is emptied or made."""
    opened = [os.open(file["path"], file["flags"] | os.O_NOCTTY) for file in files]
    for target, descriptor in enumerate(opened):
        os.dup2(descriptor, target)
    for descriptor in opened:
        if descriptor > 2:
            os.close(descriptor)


def _set_limits(wanted: Mapping[str, list[str]], mine: Mapping[str, list[str]]) -> None:
    """In the order of the kernel's numbers, which is that of /proc/PID/limits."""
    for number, name in enumerate(mine):
        if wanted[name] != mine[name]:
            soft, hard = (resource.RLIM_INFINITY if value == "unlimited" else int(value) for value in wanted[name])
            _attempt(resource.setrlimit, number, (soft, hard))


def _become_user(wanted: Mapping[str, Any], mine: Mapping[str, Any]) -> None:
    """Capabilities, groups, user and no_new_privs; each only where it differs, as changing it may need a right."""
    capabilities = wanted["capabilities"]
    bound, inheritable, ambient = (_bits(capabilities[name]) for name in ("Bnd", "Inh", "Amb"))
    for capability in _each(_bits(mine["capabilities"]["Bnd"]) & ~bound):
        libc.prctl(_PR_CAPBSET_DROP, capability, 0, 0, 0)
    if wanted["further groups"] != mine["further groups"]:
        _attempt(os.setgroups, wanted["further groups"])
    if wanted["group"] != mine["group"]:
        _attempt(os.setresgid, *wanted["group"][:3])
    if wanted["user"] != mine["user"]:
        libc.prctl(_PR_SET_KEEPCAPS, 1 if inheritable or ambient else 0, 0, 0, 0)
        _attempt(os.setresuid, *wanted["user"][:3])
        libc.prctl(_PR_SET_DUMPABLE, 1, 0, 0, 0)  # it may look at itself; the program gets its own by execve(2)
    if capabilities["Inh"] != mine["capabilities"]["Inh"]:
        _set_inheritable(inheritable)
    for capability in _each(ambient):
        libc.prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_RAISE, capability, 0, 0)
    if wanted["no_new_privs"] == "1":
        libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)


def _bits(text: str) -> int:
    return int(text, 16)


def _each(bits: int) -> list[int]:
    return [number for number in range(bits.bit_length()) if bits >> number & 1]


def _set_inheritable(bits: int) -> None:
    """capset(2), with the other sets as they are."""
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION, 0)
    data = (ctypes.c_uint32 * 6)()
    if libc.capget(header, data) == 0:
        data[2], data[5] = bits & 0xFFFFFFFF, bits >> 32
        libc.capset(header, data)


def _set_signals(ignored: Collection[int]) -> None:
    """Ignored are these and no others: what the caller ignores, as a warden does, is nothing of a program's."""
    for signum in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        signal.signal(signum, signal.SIG_IGN if signum in ignored else signal.SIG_DFL)


def _watched(child: int, for_s: float) -> dict[str, Any]:
    """How a command ended, if it did so in this time, and the pids of what it left running.

    Meanwhile this process is the parent of what the command leaves behind.
    """
    deadline = time.monotonic() + for_s
    code = None
    while code is None and time.monotonic() < deadline:
        pid, status = os.waitpid(child, os.WNOHANG)
        if pid:
            code = os.waitstatus_to_exitcode(status)
        else:
            time.sleep(0.02)
    return {"code": code, "left": [pid for pid in _below(os.getpid()) if pid != child]}


def _below(pid: int) -> list[int]:
    """The pids of all descendants of a process that are no zombies."""
    parents = {}
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            state, parent = (folder / "stat").read_bytes().rpartition(b")")[2].split()[:2]
            if state != b"Z":
                parents[int(folder.name)] = int(parent)
    found = [pid]
    for above in found:  # grows as it is read
        found += [one for one, parent in parents.items() if parent == above and one not in found]
    return found[1:]


def _replaced(order: Mapping[str, Any]) -> list[str]:
    """Whether the program's file is another one than ran before, if the order says which that was."""
    found = Path(order["executable"]).stat()
    if order.get("program") in (None, [found.st_dev, found.st_ino]):
        return []
    return [f"{order['executable']} is another file than the one that ran"]


def main() -> None:
    """One order: answers `{"started": pid}` or `{"problems": [...]}`; a rehearsal starts nothing."""
    order = json.load(sys.stdin)
    report = os.dup(1)
    reader, writer = os.pipe()
    if "watched_s" in order:
        libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    # left to init in the end, as a daemon is: nobody's child, and no corpse that its starter would have to see to
    child = os.fork()
    if child:
        os.close(writer)
        failed = os.read(reader, 1 << 16)
        seen = _watched(child, float(order["watched_s"])) if "watched_s" in order and not failed else {}
        os.write(report, failed or json.dumps({"started": child, **seen}).encode())
        os._exit(0)
    os.close(reader)
    try:
        os.setsid()
        become_like(order)
        had = circumstances_of(os.getpid())
        problems = [*_replaced(order), *differences(order["circumstances"], had)]
        if order.get("rehearsal") or problems:
            os.write(writer, json.dumps({"problems": problems}).encode())
            os._exit(0)
        os.execve(order["executable"], order["argv"], order["env"])
    except BaseException as error:  # noqa: BLE001 - whatever it is: said, and nothing is started
        os.write(writer, json.dumps({"problems": [f"{type(error).__name__}: {error}"]}).encode())
        os._exit(0)


if __name__ == "__main__":
    main()
