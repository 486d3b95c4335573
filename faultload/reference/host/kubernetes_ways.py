"""Forwards ports on this machine's loopback to the NodePorts of a reference system on a cluster."""

from __future__ import annotations

import json
import socket
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from faultload.errors import TargetError
from faultload.host.listeners import is_ours
from faultload.host.private import write_text
from faultload.host.processes import ProcessId, identify, spawn
from faultload.reference.kit.ports import free_ports

HOST = "127.0.0.1"
_LISTENING_S = 10.0


def direct(node: str, ports: Mapping[str, int]) -> dict[str, int] | None:
    """The NodePorts themselves, where the node is this machine and they answer on its loopback."""
    return dict(ports) if is_ours(node) and all(connects(HOST, port) for port in ports.values()) else None


def forwarded(node: str, ports: Mapping[str, int], log: Path) -> tuple[dict[str, int], ProcessId]:
    """Loopback ports that a link proxy without faults forwards to a node; it outlives its caller.

    Its configuration is written beside the log.

    Raises TargetError when the node's ports cannot be reached from here.
    """
    closed = [f"{node}:{port}" for port in ports.values() if not connects(node, port)]
    if closed:
        raise TargetError(
            f"the cluster's node ports cannot be reached from this machine ({', '.join(closed)}): "
            "run faultload where they can"
        )
    listen = dict(zip(ports, free_ports(len(ports)), strict=True))
    pairs = [{"name": name, "listen": listen[name], "upstream": [node, port]} for name, port in ports.items()]
    config = log.with_suffix(".json")
    write_text(config, json.dumps({"links": {"node": pairs}}))
    process = spawn(
        [sys.executable, "-m", "faultload.agents.link.proxy", "--config", str(config), "--stay"], log=log
    )
    deadline = time.monotonic() + _LISTENING_S
    while not all(connects(HOST, port) for port in listen.values()):
        if process.poll() is not None or time.monotonic() >= deadline:
            process.kill()
            process.wait()
            raise TargetError(f"the forwarder did not start: {log.read_text(errors='replace').strip()}")
        time.sleep(0.05)
    found = identify(process.pid)
    if found is None:
        raise TargetError(f"the forwarder ended at once: {log.read_text(errors='replace').strip()}")
    return listen, found


def connects(host: str, port: int, timeout_s: float = 2.0) -> bool:
    """Whether something accepts connections."""
    try:
        socket.create_connection((host, port), timeout_s).close()
    except OSError:
        return False
    return True
