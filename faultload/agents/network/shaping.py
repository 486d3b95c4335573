"""A traffic class on an interface that slows or delays a fault's packets and lets all others pass.

The root is an htb qdisc with a handle that marks it as ours (htb(8)): packets without a class leave it at once.
nftables puts packets in a class by their priority. A qdisc that somebody else put there is never replaced.
"""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from faultload.agents.network.nftables import run
from faultload.agents.network.spec import AgentError

MAJOR = 0x504D
HANDLE = f"{MAJOR:x}:"
_KERNEL_DEFAULTS = ("noqueue", "pfifo_fast", "fq_codel", "fq", "mq")
_LOCK_S = 5.0


def class_of(tag: str) -> str:
    """The class of a fault, by its tag."""
    return f"{HANDLE}{int(tag[:8], 16) % 0xFFFE + 1:x}"


@contextmanager
def _one_at_a_time() -> Iterator[None]:
    """One agent at a time changes qdiscs: an abstract socket's name belongs to the network namespace."""
    deadline = time.monotonic() + _LOCK_S
    with socket.socket(socket.AF_UNIX) as lock:
        while True:
            try:
                lock.bind(f"\0faultload-{MAJOR:x}")
                break
            except OSError as error:
                if time.monotonic() >= deadline:
                    raise AgentError(
                        "another fault is changing this namespace's qdiscs, and does not end"
                    ) from error
                time.sleep(0.02)
        yield


def devices_to(peers: Sequence[str]) -> list[str]:
    """The interfaces by which addresses are reached."""
    return sorted({str(json.loads(run(["ip", "-j", "route", "get", peer]))[0]["dev"]) for peer in peers})


def _roots() -> dict[str, tuple[str, str]]:
    """Kind and handle of the root qdisc of each interface."""
    listed = json.loads(run(["tc", "-j", "qdisc", "show"]) or "[]")
    return {one["dev"]: (one["kind"], one["handle"]) for one in listed if one.get("root")}


def _classes(device: str) -> list[str]:
    """Our classes on an interface whose root is ours: `class htb 504d:2 root leaf ...`."""
    return [line.split()[2] for line in run(["tc", "class", "show", "dev", device]).splitlines() if line]


def refuse_foreign(devices: Sequence[str]) -> None:
    """Raise AgentError where somebody else has a qdisc on an interface."""
    for device in devices:
        kind, handle = _roots().get(device, ("noqueue", "0:"))
        if handle != HANDLE and not (handle == "0:" and kind in _KERNEL_DEFAULTS):
            raise AgentError(f"{device} has a qdisc of somebody else ({kind} {handle}): it is not replaced")


def add(devices: Sequence[str], own: str, rate: int | None, leaf: Sequence[str]) -> None:
    """A class on each interface, limited to `rate` bytes a second where given, with a qdisc `leaf` in it."""
    with _one_at_a_time():
        refuse_foreign(devices)
        for device in devices:
            if _roots().get(device, ("", ""))[1] != HANDLE:
                run(["tc", "qdisc", "add", "dev", device, "root", "handle", HANDLE, "htb", "default", "0"])
            pace = [f"{rate}bps", "burst", str(max(3200, rate // 100))] if rate else ["100gbit"]
            within = ["dev", device, "parent", HANDLE, "classid", own]
            run(["tc", "class", "add", *within, "htb", "rate", *pace, "quantum", "15140"])
            run(["tc", "qdisc", "add", "dev", device, "parent", own, *leaf])


def limit_leaf(rate: int) -> list[str]:
    """A queue that holds half a second at the limited rate."""
    return ["bfifo", "limit", str(max(131072, rate // 2))]


def delay_leaf(delay_ms: float, jitter_ms: float) -> list[str]:
    """netem(8): every packet later by so much, give or take."""
    jitter = [f"{jitter_ms:g}ms"] if jitter_ms else []
    return ["netem", "delay", f"{delay_ms:g}ms", *jitter, "limit", "100000"]


def remove(own: str) -> bool:
    """Remove a fault's class everywhere, and our root where it was the last; False when there was none."""
    found = False
    with _one_at_a_time():
        for device, (_, handle) in _roots().items():
            if handle != HANDLE:
                continue
            classes = _classes(device)
            if own in classes:
                found = True
                run(["tc", "class", "del", "dev", device, "classid", own])
            if not set(classes) - {own}:
                found = True
                run(["tc", "qdisc", "del", "dev", device, "root", "handle", HANDLE])
    return found


def left(own: str) -> list[str]:
    """Where a fault's class still is."""
    ours = [device for device, (_, handle) in _roots().items() if handle == HANDLE]
    return [f"class {own} on {device}" for device in ours if own in _classes(device)]


def knows(kind: str) -> bool:
    """Whether this kernel knows a qdisc: tried on the loopback interface of a namespace that nobody uses."""
    parameters = {"netem": ["delay", "1ms"], "htb": ["default", "0"]}[kind]
    try:
        run(["tc", "qdisc", "add", "dev", "lo", "root", "handle", HANDLE, kind, *parameters])
    except AgentError:
        return False
    run(["tc", "qdisc", "del", "dev", "lo", "root", "handle", HANDLE])
    return True
