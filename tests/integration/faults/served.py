"""One service that answers on a port: started however a test likes, killed, refused, and brought back."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from light_system import Fault, injected, wait_for
from own_processes import PLAIN, Processes, answers, opens

from faultload.errors import Refused
from faultload.host.processes import ProcessId
from faultload.platforms.local.processes import certain_instances, process_of


def served(own: Processes, port: int, *argv: object, **options: object) -> ProcessId:
    """The server of a command, or of a shell's or a loop's, once it answers; it is what faults are made on."""
    own.start(*argv, **options)
    wait_for(lambda: answers(port), 20, "it serves")
    return behind(own, port)


def behind(own: Processes, port: int) -> ProcessId:
    own.declare(ports=[port], health="/health")
    [found] = certain_instances(own.target, "web")
    return process_of(found)


def plain(port: int) -> list[object]:
    return [sys.executable, PLAIN, "--port", port]


def refused(own: Processes, word: str = "kill") -> str:
    """Why a fault is refused before it is made; nothing of the service may have changed by then."""
    before = own.here()
    with pytest.raises(Refused) as error:
        Fault(own, word, {"service": "web"}, 10.0)
    assert own.here() == before
    return str(error.value)


def files_of(process: ProcessId) -> list[str]:
    return [str(Path(f"/proc/{process.pid}/fd/{number}").readlink()) for number in range(3)]


def killed_and_undone(own: Processes, port: int) -> ProcessId:
    """The process that is there after a kill and an undo elsewhere."""
    with injected(own, "kill", service="web") as fault:
        assert not opens(port)
        sight = fault.undo_elsewhere()
        assert sight.seen, sight.what
        return behind(own, port)
