"""Which processes are the instances of a local service, and which only look like them."""

from __future__ import annotations

import pwd
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import cache

import psutil

from faultload.host import listeners
from faultload.host.addresses import address_of, resolved
from faultload.host.listeners import LOOPBACK, Listener, answering, roots_of
from faultload.host.processes import ProcessId, myself
from faultload.host.trees import Family, family
from faultload.platforms.base import Instance
from faultload.platforms.local.facts import Facts, arguments, facts_of, program_of, runs, within_shell, wraps
from faultload.spec.target import Service, TargetFile

_INIT = 1


@dataclass(frozen=True)
class Seen:
    """The processes and listening sockets of this machine at one moment, as far as a service needs them."""

    family: Family
    facts: Mapping[int, Facts]
    """Of every process that may be an instance, and of all above it."""
    sockets: Sequence[Listener] = ()
    owners: Mapping[int, set[int]] = field(default_factory=dict)
    """Who has a socket open, by its inode."""


@dataclass(frozen=True, slots=True)
class Matches:
    """The instances of a service, and why they are not to be touched where others match as well."""

    instances: tuple[Instance, ...]
    ambiguous: str | None = None


def matches(target: TargetFile, name: str, seen: Seen | None = None) -> Matches:
    """The instances of a service that is declared by command, port or pids.

    A process that listens where the service does not, lives in another network or pid namespace, or has another
    folder or user than declared, is none, whatever its command. `seen` is looked up when it is not given.
    """
    service = target.services[name]
    if service.pids is not None:
        given = [ProcessId(one.pid, one.started) for one in service.pids if one.started is not None]
        return Matches(tuple(instance(name, process, None) for process in given if process.alive()))
    seen = look(service) if seen is None else seen
    found: list[tuple[Facts, int | None]] = []
    crowded = False
    for port, times in _declared(service).items():
        roots = [root for root in _roots(target, service, port, seen) if _as_declared(service, root)]
        crowded |= len(roots) > times
        # what a command alone says is true of everybody's copy: only one folder and one user are beyond doubt
        folders, users = {root.cwd for root in roots}, {root.uid for root in roots}
        strangers = (service.cwd is None and len(folders) > 1) or (service.user is None and len(users) > 1)
        crowded |= port is None and strangers
        found += [(seen.facts[_lifted(root.process.pid, seen)], port) for root in roots]
    instances = [instance(name, root.process, port) for root, port in found]
    ordered = tuple(sorted(instances, key=lambda one: (one.name, one.id)))
    return Matches(ordered, _ambiguity(name, service, [root for root, _ in found]) if crowded else None)


def instance(service: str, process: ProcessId, port: int | None) -> Instance:
    return Instance(service, str(process.pid), process.started, f"{service}:{port or process.pid}", port)


def _declared(service: Service) -> dict[int | None, int]:
    """How many instances there should be on each port."""
    ports = service.instance_ports
    return {port: ports.count(port) for port in ports}


def _ambiguity(name: str, service: Service, found: Sequence[Facts]) -> str:
    listed = "; ".join(facts.label for facts in found)
    number = "1 instance" if service.declared == 1 else f"{service.declared} instances"
    return (
        f"service '{name}' declares {number}, and {len(found)} processes match: {listed}. None is touched: "
        "say which are meant by `cwd`, `user`, `address`, `port` or `count` in the target file"
    )


def _as_declared(service: Service, facts: Facts) -> bool:
    if facts.elsewhere or facts.process.pid == _INIT:
        return False
    if service.cwd is not None and not (facts.cwd is not None and fnmatchcase(facts.cwd, service.cwd.rstrip("/"))):
        return False
    return service.user is None or facts.uid == uid_of(service.user)


def uid_of(user: str | int) -> int | None:
    """The number of a user; None where this machine has no such user."""
    if isinstance(user, int) or user.isdigit():
        return int(user)
    try:
        return pwd.getpwnam(user).pw_uid
    except KeyError:
        return None


def _roots(target: TargetFile, service: Service, port: int | None, seen: Seen) -> list[Facts]:
    """The roots of the process trees behind an instance."""
    pids = _pids(target, service, port, seen)
    return [seen.facts[pid] for pid in pids if pid in seen.facts]


def _pids(target: TargetFile, service: Service, port: int | None, seen: Seen) -> list[int]:
    sockets = [] if port is None else answering(seen.sockets, port, addresses_of(target, service, port))
    owners = {one.inode: seen.owners.get(one.inode, set()) for one in sockets}

    def program(pid: int) -> str | None:
        return seen.facts[pid].program if pid in seen.facts else None

    behind = roots_of(owners, seen.family, program)
    if service.command is None:
        return behind
    command = command_of(service, port)
    same = [facts for facts in seen.facts.values() if runs(facts, command) and _as_declared(service, facts)]
    tops = seen.family.tops(facts.process.pid for facts in same)
    if port is None:
        return [pid for pid in tops if not seen.facts[pid].other_root]
    holding = {pid for pids in owners.values() for pid in pids}
    unseen = {one.uid for one in sockets if not owners[one.inode]}
    mine = [
        pid
        for pid in tops
        if holding.intersection(seen.family.below(pid))
        # of a process that this user may not look into, the kernel says at least whose sockets there are
        or (seen.facts[pid].cwd is None and seen.facts[pid].uid in unseen)
    ]
    # one that wrote a title over its arguments is known by its program, and by where it listens
    return mine or [
        pid
        for pid in behind
        if pid in seen.facts and seen.facts[pid].titled and program_of(seen.facts[pid], command)
    ]


def command_of(service: Service, port: int | None) -> tuple[str, ...]:
    """The argument list of the instance on a port."""
    assert service.command is not None
    return tuple(with_port(part, port) for part in service.command)


def with_port(text: str, port: int | None) -> str:
    """A part of the target file with an instance's port in the place of `{port}`."""
    return text.replace("{port}", str(port))


def _lifted(pid: int, seen: Seen) -> int:
    """The outermost wrapper that does nothing but run this process, or the process itself."""
    while (parent := seen.family.parents.get(pid, 0)) > _INIT:
        above = seen.facts.get(parent)
        alone = list(seen.family.children(parent)) == [pid]
        if above is None or above.elsewhere or not alone or not wraps(above, seen.facts[pid]):
            break
        pid = parent
    return pid


def addresses_of(target: TargetFile, service: Service, port: int) -> tuple[str, ...]:
    """Where a service listens: on its `address`, else the URL's host if the port is the URL's, else loopback."""
    if service.address is not None:
        return (service.address,)
    if target.url is None:
        return LOOPBACK
    url = address_of(target.url)
    return _resolved(url.host) if (url.port or {"http": 80, "https": 443}[url.scheme]) == port else LOOPBACK


@cache
def _resolved(host: str) -> tuple[str, ...]:
    return LOOPBACK if host == "localhost" else tuple(resolved(host))


def look(service: Service) -> Seen:
    """What there is of a service: everything with its command, or behind its ports, and all above that."""
    ports = {port for port in service.instance_ports if port is not None}
    sockets = listeners.listening(ports) if ports else []
    owners = listeners.holders([one.inode for one in sockets])
    wanted = {pid for pids in owners.values() for pid in pids} | set(_with_command(service))
    now = family()
    known = {above for pid in wanted if pid in now.started for above in (pid, *now.above(pid))}
    facts = {pid: found for pid in known if (found := facts_of(now.process(pid))) is not None}
    return Seen(now, facts, sockets, owners)


def _with_command(service: Service) -> Iterator[int]:
    """Processes that may run the service's command, by how their arguments end."""
    if service.command is None:
        return
    commands = {command_of(service, port) for port in service.instance_ports}
    ends = {command[1:] for command in commands} | {inner[1:] for one in commands if (inner := within_shell(one))}
    for pid, argv in all_argv():
        if any(len(argv) > len(end) and argv[len(argv) - len(end) :] == end for end in ends):
            yield pid


def all_argv() -> Iterator[tuple[int, tuple[str, ...]]]:
    """Pid and argument list of every process that this user may read."""
    for pid in psutil.pids():
        try:
            argv = arguments(pid)
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            continue
        if argv:
            yield pid, argv


def around_here(instances: Iterable[Instance]) -> Instance | None:
    """The instance whose process tree this very process is in, if there is one."""
    me, now = myself().pid, family()
    mine = {str(pid) for pid in (me, *now.above(me))}
    return next((one for one in instances if one.id in mine), None)
