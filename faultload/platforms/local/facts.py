"""What the kernel says of a process: program, arguments, folder, user, namespaces; and what its arguments mean."""

from __future__ import annotations

import os
import pwd
import re
import shlex
import shutil
import time
from collections.abc import Collection, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from pathlib import Path, PurePath

import psutil

from faultload.host.processes import ProcessId
from faultload.host.regular import head_of

_DELETED = " (deleted)"
SHELLS = frozenset({"sh", "ash", "bash", "dash", "ksh", "zsh", "busybox"})
_INITS = frozenset({"tini", "tini-static", "dumb-init", "docker-init", "catatonit"})
_REDIRECTION = re.compile(r"\s\d*[<>]{1,2}\s*(&\d|\S+)")
_SETTING = re.compile(r"[A-Za-z_][A-Za-z0-9_]*=")
_MOST_OF_A_SHEBANG = 256


@dataclass(frozen=True, slots=True)
class Facts:
    """One process. What this user may not see is None."""

    process: ProcessId
    argv: tuple[str, ...]
    program: str | None
    """The file that it runs, without the kernel's mark of a deleted one."""
    deleted: bool
    """The file was removed or replaced while it runs."""
    cwd: str | None
    uid: int
    """Its effective user."""
    elsewhere: bool
    """It is in another pid or network namespace than this process."""
    other_root: bool = False
    """Its root folder is another one, as in a container that shares this machine's processes and network."""
    shebang: tuple[str, ...] = ()
    """The words of the first line of the script that it runs, if its arguments name one."""

    @property
    def titled(self) -> bool:
        """Whether it wrote a title of its own over its arguments, as setproctitle(3) does."""
        if len(self.argv) != 1 or not {" ", ":"}.intersection(self.argv[0]):
            return False
        return self.program is None or not f"/{self.program}".endswith(f"/{self.argv[0].lstrip('./')}")

    @property
    def label(self) -> str:
        """For people: pid 4711 in /srv/shop, user 1000, started 2026-03-01 12:00:00."""
        folder = self.cwd or "a folder that cannot be seen"
        return f"pid {self.process.pid} in {folder}, {_user(self.uid)}, started {_moment(self.process.started)}"


def facts_of(process: ProcessId) -> Facts | None:
    """The facts of a process, or None when it is gone."""
    root = Path(f"/proc/{process.pid}")
    try:
        argv = arguments(process.pid)
        status = (root / "status").read_bytes().decode(errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return None
    program = _link(root / "exe")
    cwd = _link(root / "cwd")
    fields = dict(line.split(":", 1) for line in status.splitlines() if ":" in line)
    found = Facts(
        process=process,
        argv=argv,
        program=None if program is None else program.removesuffix(_DELETED),
        deleted=program is not None and program.endswith(_DELETED),
        cwd=None if cwd is None else cwd.removesuffix(_DELETED),
        uid=int(fields["Uid"].split()[1]),
        elsewhere=len(fields.get("NSpid", "").split()) != _depth() or _differ(root / "ns/net", "/proc/self/ns/net"),
        other_root=_differ(root / "root", "/"),
        shebang=_shebang(argv, cwd),
    )
    return found if process.alive() else None


def arguments(pid: int) -> tuple[str, ...]:
    """The argument list of a process, empty of a kernel thread. Raises FileNotFoundError, ProcessLookupError."""
    with open(f"/proc/{pid}/cmdline", "rb") as file:
        raw = file.read()
    return tuple(raw.decode(errors="surrogateescape").rstrip("\0").split("\0")) if raw.strip(b"\0") else ()


def _link(path: Path) -> str | None:
    with suppress(OSError):
        return os.readlink(path)  # noqa: PTH115 - what the kernel writes need not be a path
    return None


@cache
def _depth() -> int:
    """How many pid namespaces this process is in, as far as /proc shows them."""
    status = Path("/proc/self/status").read_text(errors="replace")
    return len(next((line for line in status.splitlines() if line.startswith("NSpid:")), "").split()[1:])


def _differ(theirs: Path, ours: str) -> bool:
    """Whether two files are different ones, as far as this user may look."""
    with suppress(OSError):
        return not os.path.samefile(theirs, ours)  # noqa: PTH121 - a link of the kernel's need not be a path
    return False


def _shebang(argv: Sequence[str], cwd: str | None) -> tuple[str, ...]:
    """The first line of the first argument that is a script: its interpreter may have one option before it."""
    for named in argv[1:4]:
        if not named or named.startswith("-"):
            continue
        first = head_of(PurePath(cwd or "/") / named, _MOST_OF_A_SHEBANG) or b""
        line = first.partition(b"\n")[0].decode(errors="replace")
        if line.startswith("#!"):
            return tuple(line[2:].split())
    return ()


def runs(facts: Facts, command: Sequence[str]) -> bool:
    """Whether a process was started by this command: its very arguments, of the program only the file name.

    The kernel puts the interpreter of a script before it, and a shell that is told `-c` may become the command.
    """
    if _same(facts.argv, command):
        return True
    if facts.shebang and any(
        _same(facts.argv[at:], command) and _interprets(facts.argv[:at], facts.shebang)
        for at in range(1, min(4, len(facts.argv)))
    ):
        return True
    inner = within_shell(command)
    return inner is not None and _same(facts.argv, inner)


def _same(argv: Sequence[str], command: Sequence[str]) -> bool:
    return bool(argv) and tuple(argv[1:]) == tuple(command[1:]) and _name(argv[0]) == _name(command[0])


def _interprets(before: Sequence[str], shebang: Sequence[str]) -> bool:
    """Whether the words before a script are those of its first line; `env` became the program that it names."""
    names = [_name(word) for word in shebang]
    return _name(before[0]) in names and all(word in shebang for word in before[1:])


def within_shell(argv: Sequence[str]) -> tuple[str, ...] | None:
    """The one command in `sh -c "..."`, without its `exec`, settings and redirections; None for anything else."""
    if len(argv) < 3 or _name(argv[0]) not in SHELLS or not re.fullmatch(r"-[a-z]*c", argv[-2]):
        return None
    try:
        words = shlex.split(_REDIRECTION.sub("", argv[-1]))
    except ValueError:
        return None
    while words and (words[0] == "exec" or _SETTING.match(words[0])):
        words = words[1:]
    return tuple(words) or None


def wraps(parent: Facts, child: Facts) -> bool:
    """Whether a process does nothing but run this one: `sh -c`, `tini`, `dumb-init`; supervisors do more."""
    if not parent.argv or not child.argv:
        return False
    inner = within_shell(parent.argv)
    if inner is None and _name(parent.argv[0]) in _INITS:
        rest = _after_options(parent.argv[1:])
        inner = within_shell(rest) or tuple(rest) or None
    return inner is not None and (runs(child, inner) or _titled_as(child, inner))


def _after_options(words: Sequence[str]) -> Sequence[str]:
    at = next((at for at, word in enumerate(words) if word == "--" or not word.startswith("-")), len(words))
    return words[at + 1 :] if words[at : at + 1] == ("--",) else words[at:]


def _titled_as(facts: Facts, command: Sequence[str]) -> bool:
    return facts.titled and program_of(facts, command)


def program_of(facts: Facts, command: Sequence[str]) -> bool:
    """Whether a process runs the program that a command names, whatever its arguments say by now."""
    if facts.program is None:
        return False
    named = _name(command[0])
    # a script's interpreter is its program: then its title has to name it
    entitled = bool(facts.argv) and re.search(rf"(^|\W){re.escape(named)}(\W|$)", facts.argv[0])
    if entitled or _name(facts.program) == named:
        return True
    found = file_of(command[0], facts.cwd, os.environ.get("PATH"))
    return found is not None and os.path.realpath(found) == facts.program


def file_of(program: str, cwd: str | None, path: str | None) -> str | None:
    """The file that a command's first word means in a folder and with a PATH; None where there is none."""
    if "/" in program:
        program = str(PurePath(cwd or "/") / program)
    return shutil.which(program, path=path)


def _name(path: str) -> str:
    return PurePath(path).name


def _user(uid: int) -> str:
    with suppress(KeyError):
        return f"user {pwd.getpwuid(uid).pw_name}"
    return f"user {uid}"


def _moment(started: float) -> str:
    """A start time for people, from seconds since boot."""
    boot = time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)
    return datetime.fromtimestamp(boot + started).strftime("%Y-%m-%d %H:%M:%S")


def connected_to(processes: Iterable[ProcessId], but_of: Collection[int] = ()) -> set[tuple[str, int]]:
    """Where processes hold established TCP connections to, as far as this user may see it.

    `but_of`: none of those that listen on one of these ports.
    """
    found: set[tuple[str, int]] = set()
    for process in processes:
        with suppress(psutil.Error, OSError):
            ends = psutil.Process(process.pid).net_connections("tcp")
            if not any(one.status == psutil.CONN_LISTEN and one.laddr.port in but_of for one in ends):
                peers = [one.raddr for one in ends if one.status == psutil.CONN_ESTABLISHED]
                found |= {(peer.ip.removeprefix("::ffff:"), peer.port) for peer in peers}
    return found
