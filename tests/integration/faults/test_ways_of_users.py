"""A witness counts no way that users do not go, and no silence of what was silent before the fault."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import pytest
from light_system import Fault, LightSystem, injected

from faultload.errors import Refused
from faultload.spec.target import Service

LINK = "edge -> web"
_CONNECTED = """
import socket, sys, time
held = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
print("connected", flush=True)
time.sleep(600)
"""


@pytest.fixture
def client_of(light: LightSystem) -> Iterator[list[subprocess.Popen[str]]]:
    before, started = light.target, []
    yield started
    light.target = before
    for one in started:
        one.kill()
        one.wait()


def connect(light: LightSystem, started: list[subprocess.Popen[str]], port: int) -> None:
    """The link's client is from now on a process that holds a connection to a port."""
    argv = [sys.executable, "-c", _CONNECTED, str(port)]
    process = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)
    started.append(process)
    assert process.stdout is not None and process.stdout.readline() == "connected\n"
    services = {**light.target.services, "edge": Service(pids=[process.pid])}
    light.target = light.target.model_copy(update={"services": services})


@pytest.mark.parametrize(("word", "arguments"), [("latency", {"delay_ms": 50}), ("http_error", {})])
def test_a_link_whose_client_goes_past_its_proxy_is_refused(
    light: LightSystem, client_of: list[subprocess.Popen[str]], word: str, arguments: dict[str, int]
) -> None:
    connect(light, client_of, light.web[0])
    with pytest.raises(Refused, match=f"connected to 127.0.0.1:{light.web[0]}, past the proxy of link '{LINK}'"):
        Fault(light, word, {"link": LINK, **arguments}, 10.0)


def test_a_link_whose_client_goes_through_its_proxy_is_struck(
    light: LightSystem, client_of: list[subprocess.Popen[str]]
) -> None:
    connect(light, client_of, light.to_web[0])
    with injected(light, "latency", link=LINK, delay_ms=50) as fault:
        assert fault.undo_elsewhere().seen


@pytest.mark.parametrize("word", ["partition", "reset_connections"])
def test_a_link_that_did_not_answer_before_the_fault_is_refused(light: LightSystem, word: str) -> None:
    with injected(light, "pause", service="web", count=2), pytest.raises(Refused, match="even without a fault"):
        Fault(light, word, {"link": LINK}, 10.0)
