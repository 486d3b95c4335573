"""A pair may listen on any address, and mark the connections that it makes."""

from __future__ import annotations

import json
import os
import socket
import sys
import threading
from pathlib import Path

import pytest
from linkbench import LINK, TOKEN, echo, serve

from faultload.agents.link.pair import _outgoing
from faultload.errors import TargetError
from faultload.host.processes import end, identify, spawn
from faultload.platforms.local.links import LinkProxy
from faultload.reference.kit.ports import free_ports


@pytest.mark.skipif(os.geteuid() != 0, reason="SO_MARK needs NET_ADMIN")
def test_a_connection_that_the_proxy_makes_carries_a_mark() -> None:
    for mark in (0, 0x1A17):
        made = _outgoing("127.0.0.1", mark)
        assert made.getsockopt(socket.SOL_SOCKET, socket.SO_MARK) == mark
        made.close()


@pytest.mark.parametrize("listen_host", ["127.0.0.2", "0.0.0.0"])
def test_a_pair_listens_where_it_is_told_and_is_silent_there(tmp_path: Path, listen_host: str) -> None:
    server = socket.create_server(("127.0.0.1", 0))
    threading.Thread(target=serve, args=(server,), daemon=True).start()
    control, listen = free_ports(2)
    pair = {
        "name": "web",
        "listen": listen,
        "listen_host": listen_host,
        "upstream": ["127.0.0.1", server.getsockname()[1]],
        "protocol": "tcp",
        "mark": 0x1A17 if os.geteuid() == 0 else 0,
    }
    config = tmp_path / "links.json"
    config.touch(mode=0o600)
    config.write_text(json.dumps({"control": control, "token": TOKEN, "links": {LINK: [pair]}}))
    argv = [sys.executable, "-m", "faultload.agents.link.proxy", "--config", str(config)]
    process = spawn(argv, log=tmp_path / "links.log")
    found = identify(process.pid)
    assert found is not None
    try:
        proxy = LinkProxy(f"http://127.0.0.1:{control}", TOKEN)
        while True:
            try:
                [known] = proxy.listeners(LINK)
                break
            except TargetError:
                assert process.poll() is None, (tmp_path / "links.log").read_text()
        address = ("127.0.0.2", listen) if listen_host == "127.0.0.2" else ("127.0.0.1", listen)
        assert (known.host, known.port) == address
        with socket.create_connection(address, 2) as connection:
            assert echo(connection) < 1
        proxy.add(LINK, "cut", "partition", {}, 30)
        with pytest.raises(TimeoutError):
            socket.create_connection(address, 0.6)
        proxy.remove(LINK, "cut")
        with socket.create_connection(address, 2) as connection:
            assert echo(connection) < 1
    finally:
        end([found])
        process.wait()
        server.close()
