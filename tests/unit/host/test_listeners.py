"""Who listens on a port: found at once, believed only while it is so, the oldest where several share a listener."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from faultload.host import listeners as module
from faultload.host.listeners import listeners
from faultload.host.processes import identify, myself

HOLD = "import time; print('held', flush=True); time.sleep(60)"


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server


def port_of(server: socket.socket) -> int:
    return int(server.getsockname()[1])


@pytest.fixture
def heir(listener: socket.socket) -> Iterator[subprocess.Popen[bytes]]:
    """A younger process that shares the listener."""
    number = listener.fileno()
    process = subprocess.Popen([sys.executable, "-c", HOLD], pass_fds=[number], stdout=subprocess.PIPE)
    assert process.stdout is not None and process.stdout.readline() == b"held\n"
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


def heard() -> set[int]:
    """Ports on which some process answers on loopback, as psutil sees them."""
    found = [one for one in psutil.net_connections("tcp") if one.status == "LISTEN" and one.pid]
    return {one.laddr.port for one in found if one.laddr.ip in ("127.0.0.1", "::1", "0.0.0.0", "::")}


def test_it_finds_what_psutil_finds(listener: socket.socket) -> None:
    before = heard()
    found = listeners(before)
    after = heard()
    assert found[port_of(listener)] == myself()
    assert found.keys() >= before & after


def test_a_port_of_the_other_address_family_counts_too() -> None:
    if not Path("/proc/net/if_inet6").exists():
        pytest.skip("this machine has no IPv6")
    with socket.create_server(("::1", 0), family=socket.AF_INET6) as server:
        assert listeners({port_of(server)}) == {port_of(server): myself()}


def test_a_port_where_nobody_listens_has_no_entry(listener: socket.socket) -> None:
    port = port_of(listener)
    assert listeners({port}) == {port: myself()}
    with socket.create_connection(("127.0.0.1", port)):
        listener.close()
        assert listeners({port}) == {}, "a connection that is still open is no listener"


def test_the_oldest_of_those_who_share_a_listener_owns_it(
    listener: socket.socket, heir: subprocess.Popen[bytes]
) -> None:
    port = port_of(listener)
    assert listeners({port}) == {port: myself()}
    listener.close()
    assert listeners({port}) == {port: identify(heir.pid)}, "who has let go of it owns it no longer"
    heir.send_signal(signal.SIGKILL)
    heir.wait()
    assert listeners({port}) == {}


def test_what_was_found_is_not_searched_for_again(listener: socket.socket, monkeypatch: pytest.MonkeyPatch) -> None:
    port = port_of(listener)
    listeners({port})
    monkeypatch.setattr(module.psutil, "pids", lambda: pytest.fail("searched"))
    assert listeners({port}) == {port: myself()}
