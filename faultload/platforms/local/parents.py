"""Who might bring a process back: its parent, a systemd unit, a supervisor; nobody where its launcher waits."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path, PurePath

from faultload.host.processes import myself, stat_fields
from faultload.host.trees import Family
from faultload.platforms.local.facts import SHELLS, Facts, facts_of

_INIT = 1
STARTED_BY_US = "FAULTLOAD_REFERENCE"
"""In the environment of what a reference system's supervisor starts: it looks before it starts a program again."""
_SUPERVISORS = frozenset(
    {
        *("supervisord", "circusd", "monit", "god", "bluepill", "pm2", "immortal", "dinit", "procodile"),
        *("runsv", "runsvdir", "s6-supervise", "s6-svscan", "supervise", "svscan", "perpd"),
        *("honcho", "foreman", "overmind", "hivemind", "goreman", "process-compose", "nodemon", "watchmedo"),
    }
)
"""Programs that start again what ends, also as process 1 or where they started faultload too."""
_SYSTEMD = frozenset({"systemd", "systemd-executor"})
_TOLD = re.compile(r"-[a-z]*c")
_UNIT = re.compile(r"/([^/:]+\.service)(?=/|$)")


def brought_back_by(facts: Facts, family: Family) -> str | None:
    """Who could start a process again once it ends, for people; None where nobody would.

    A parent that lives could, whatever it is, but for three: process 1, which takes over what is left behind; a
    shell that somebody types into; and what started faultload as well, which waits for us. None of these when it
    is a known supervisor, or systemd and the process is in a unit's control group.
    """
    parent = family.parents.get(facts.process.pid, 0)
    above = facts_of(family.process(parent)) if parent in family.started else None
    if above is None:
        return None
    named = names_of(above)
    if named & _SYSTEMD:
        unit = unit_of(facts.process.pid)
        return None if unit is None else f"systemd, of whose unit {unit} it is"
    label = f"its parent, pid {parent} ({' '.join(above.argv)[:60] or above.program})"
    if named & _SUPERVISORS:
        return label
    if parent == _INIT or parent in _above_us(family) or typed_into(above):
        return None
    return label


def names_of(facts: Facts) -> set[str]:
    """What a program calls itself: its file and the first words of its arguments, without folders."""
    words = [facts.program or "", *(word for part in facts.argv[:3] for word in part.split()[:2])]
    return {PurePath(word).name.rstrip(":").lower() for word in words}


def _above_us(family: Family) -> set[int]:
    me = myself().pid
    return {me, *family.above(me)}


def typed_into(facts: Facts) -> bool:
    """Whether it is a shell with a terminal and without a script: it starts nothing that nobody asks for."""
    if not facts.argv or PurePath(facts.argv[0]).name.lstrip("-") not in SHELLS:
        return False
    if any(not word.startswith("-") or _TOLD.fullmatch(word) for word in facts.argv[1:]):
        return False
    leads, terminal, _ = session_of(facts.process.pid)
    return leads and terminal


def session_of(pid: int) -> tuple[bool, bool, bool]:
    """Whether a process leads its session, has a terminal, and is in the terminal's foreground."""
    fields = stat_fields(pid)
    group, session, terminal, foreground = (int(field) for field in fields[2:6])
    return session == pid, terminal != 0, terminal != 0 and group == foreground


def unit_of(pid: int) -> str | None:
    """The systemd service whose control group a process is in; None where faultload is in the same one."""
    theirs = units(Path(f"/proc/{pid}/cgroup").read_text().splitlines())
    ours = units(Path("/proc/self/cgroup").read_text().splitlines())
    return None if not theirs or theirs == ours else theirs[-1]


def units(groups: Sequence[str]) -> list[str]:
    """The services that the lines of /proc/PID/cgroup name, the outermost first; a user's own systemd is none."""
    named = (_UNIT.findall(line) for line in groups)
    return next((units for found in named if (units := [one for one in found if one[:5] != "user@"])), [])


def shared_with(pid: int, parent: int) -> str | None:
    """A pipe or socket, beside files 0 to 2, that a process has from its parent; None where it has none.

    What goes through it would be lost: a listening socket, a pipe by which one notices the other's end.
    """
    theirs = _channels(parent)
    for number, what in _channels(pid).items():
        if number > 2 and what in theirs.values():
            return f"file {number} ({what})"
    return None


def _channels(pid: int) -> dict[int, str]:
    found = {}
    with suppress(OSError), os.scandir(f"/proc/{pid}/fd") as entries:
        for entry in entries:
            with suppress(OSError):
                what = str(Path(entry.path).readlink())
                if what.startswith(("pipe:", "socket:")):
                    found[int(entry.name)] = what
    return found
