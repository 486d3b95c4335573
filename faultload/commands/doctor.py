"""`faultload doctor`: what this machine can and cannot do, and how to fix it."""

from __future__ import annotations

import importlib.util
import os
import resource
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass

import click

from faultload import faults
from faultload.chaos.guard import kill_switch
from faultload.chaos.journal import open_faults, others_open
from faultload.errors import ExitCode, FaultloadError, Refused
from faultload.host.state import check_state_room, state_home
from faultload.reference.host.local import NEEDED
from faultload.spec import measures
from faultload.spec.target import TargetFile

_SOCKETS = 4096


@dataclass(frozen=True, slots=True)
class Finding:
    """One look: `ok` False with `needed` True makes a plain run impossible."""

    what: str
    ok: bool
    says: str
    mend: str = ""
    needed: bool = False


def findings() -> Iterator[Finding]:
    """Look at everything that runs depend on."""
    version = ".".join(map(str, sys.version_info[:3]))
    yield Finding("Python", sys.version_info >= (3, 11), version, "Python 3.11 or newer is needed", needed=True)
    linux = sys.platform == "linux"
    yield Finding("system", linux, sys.platform, "faults on local processes need Linux", needed=False)
    cores = len(os.sched_getaffinity(0)) if linux else os.cpu_count() or 1
    yield Finding("processors", cores >= 2, str(cores), "with only one, load and target slow each other down")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    mend = f"ulimit -n {_SOCKETS} for many users"
    yield Finding("open files", soft >= _SOCKETS, f"{soft} (hard limit {hard})", mend)
    yield _state_folder()
    missing = [module for module in NEEDED if importlib.util.find_spec(module) is None]
    says = f"missing: {', '.join(missing)}" if missing else "installed"
    yield Finding("reference system", not missing, says, "pip install 'faultload[reference]'")
    driver = importlib.util.find_spec("psycopg") is not None
    mend = "pip install 'faultload[postgres]': pause_replication and exhaust_connections need it"
    yield Finding("psycopg", driver, "installed" if driver else "missing", mend)
    figures = importlib.util.find_spec("matplotlib") is not None
    mend = "pip install 'faultload[figures]': reports have no figures without it"
    yield Finding("matplotlib", figures, "installed" if figures else "missing", mend)
    yield _pidfd()
    yield _privileges()
    if os.geteuid() == 0:
        found = shutil.which("unshare")
        mend = "PostgreSQL refuses to run as root: install util-linux, or run as an ordinary user"
        yield Finding("unshare", found is not None, found or "not found", mend)
    yield from _docker()
    yield _kubernetes()
    for name, why in faults.broken().items():
        yield _broken("fault", f"{name}: {why}")
    for why in measures.broken():
        yield _broken("measure", why)
    switch = kill_switch()
    says = f"on: {switch}" if switch else "off"
    yield Finding("kill switch", switch is None, says, f"rm {switch}; nothing is injected while it exists")
    left = open_faults()
    says = f"{len(left)} open: {', '.join(fault.label for fault in left)}" if left else "none open"
    yield Finding("open faults", not left, says, "faultload undo --all")
    for text in others_open():
        yield Finding("open faults", False, text, "whoever left them knows whether they are still wanted")


def _broken(of: str, why: str) -> Finding:
    return Finding(f"{of} package", False, why, f"fix or uninstall it; until then its {of}s are unavailable")


def _state_folder() -> Finding:
    try:
        check_state_room(faults=1)
    except Refused as error:
        return Finding("state folder", False, str(error), "set XDG_STATE_HOME", needed=True)
    return Finding("state folder", True, str(state_home()))


def _pidfd() -> Finding:
    try:
        os.close(os.pidfd_open(os.getpid()))
    except (AttributeError, OSError) as error:
        return Finding(
            "pidfd",
            False,
            str(error),
            "Linux 5.3 or newer is needed, or signals could hit a recycled pid",
            needed=True,
        )
    return Finding("pidfd", True, "available")


def _privileges() -> Finding:
    if os.geteuid() == 0:
        says = (
            "root: faults on any user's processes, stress inside the instances' cgroups, priority for the generator"
        )
        return Finding("privileges", True, says)
    says = (
        "ordinary user: faults on your own processes; root adds other users' processes, stress inside the "
        "instances' cgroups, and priority for the generator"
    )
    return Finding("privileges", True, says)


def _docker() -> Iterator[Finding]:
    """The engine, the helper image, and how latency is made with the engine's kernel."""
    from faultload.faults.network import docker_agents as docker_netagent
    from faultload.platforms.docker import client as docker_client
    from faultload.platforms.docker import image as helper_image

    try:
        client = docker_client.client()
        with docker_client.asking("answer"):
            version = client.version()
            built = helper_image.is_there(client)
            origin = helper_image.base(client)
            others = helper_image.others(client)
    except FaultloadError as error:
        yield Finding("Docker", False, str(error), "only needed for faults on containers")
        return
    yield Finding("Docker", True, f"engine {version['Version']}, kernel {version['KernelVersion']}")
    if not built:
        yield Finding("helper image", True, f"not built yet; the first fault that needs it builds it from {origin}")
        return
    yield Finding("helper image", True, helper_image.name())
    if others:
        says = f"{len(others)}, unused unless another faultload runs here: docker image rm {' '.join(others)}"
        yield Finding("older helper images", True, says)
    try:
        way = docker_netagent.latency_way()
        shapes = docker_netagent.can_shape()
    except FaultloadError as error:
        yield Finding("container network", False, str(error), "network faults on containers need it")
        return
    ways = {
        "netem": "latency by tc netem",
        "proxy": "latency by a proxy in the container's network, because this kernel has no netem",
    }
    shaping = "bandwidth by tc htb" if shapes else "no bandwidth: this kernel has no htb"
    yield Finding("container network", shapes, f"{ways[way]}; {shaping}", "modprobe sch_htb")


def _kubernetes() -> Finding:
    """The cluster that the kubeconfig names."""
    from faultload.platforms.kubernetes.client import server_version

    try:
        version = server_version(TargetFile(name="doctor", platform="kubernetes"))
        return Finding("Kubernetes", True, f"cluster version {version}")
    except FaultloadError as error:
        return Finding("Kubernetes", False, str(error), "only needed for faults on pods")


def print_findings() -> ExitCode:
    """Print every finding; exit code 2 when something that every run needs is missing."""
    bad = False
    for finding in findings():
        mark = "ok " if finding.ok else "NO " if finding.needed else "-- "
        mend = "" if finding.ok else f"  ({finding.mend})"
        click.echo(f"{mark} {finding.what:18} {finding.says}{mend}")
        bad |= finding.needed and not finding.ok
    return ExitCode.USAGE if bad else ExitCode.PASS
