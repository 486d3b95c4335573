"""Trap: the engine at times loses what a command in a container prints; nothing said is never an answer."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from faultload.errors import TargetError
from faultload.faults.database import docker as docker_database
from faultload.faults.network import docker_agents as docker_netagent
from faultload.platforms.base import Instance
from faultload.platforms.docker import client as docker_client

ONE = Instance("db", "0a1b2c", 0.0, "pg1", 5432)
RUNS = b"71 1234\nthese are all\n"


class Container:
    """A container whose commands print these, one after the other; the last one again and again."""

    name = "pg1"

    def __init__(self, *outputs: bytes) -> None:
        self.outputs = list(outputs)
        self.asked = 0

    def exec_run(self, argv: list[str]) -> Any:
        self.asked += 1
        output = self.outputs.pop(0) if len(self.outputs) > 1 else self.outputs[0]
        return SimpleNamespace(exit_code=0, output=output)


def postmasters(monkeypatch: pytest.MonkeyPatch, *outputs: bytes) -> list[str]:
    found = Container(*outputs)
    monkeypatch.setattr(docker_client, "container_of", lambda instance: found)
    return docker_database._postmasters(ONE)


def test_a_lost_list_of_postmasters_is_asked_again_and_not_taken_for_none(monkeypatch: pytest.MonkeyPatch) -> None:
    assert postmasters(monkeypatch, b"", b"", RUNS) == ["71 1234"]


def test_no_postmaster_is_none_where_the_list_came_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    assert postmasters(monkeypatch, b"these are all\n") == []


@pytest.mark.parametrize("said", [b"", b"71 1234\n", b"OCI runtime exec failed: sh: not found"])
def test_a_list_that_never_comes_whole_is_an_error(monkeypatch: pytest.MonkeyPatch, said: bytes) -> None:
    with pytest.raises(TargetError, match="pg1"):
        postmasters(monkeypatch, said)


def test_an_agents_lost_answer_is_asked_for_again() -> None:
    helper: Any = Container(b"", b'{"seen": true}\n')
    assert docker_netagent._ask(helper, "witness", "pg1") == {"seen": True}
    assert helper.asked == 2


def test_an_agent_that_never_answers_is_an_error() -> None:
    with pytest.raises(TargetError, match="printed nothing"):
        docker_netagent._ask(Container(b""), "witness", "pg1")  # type: ignore[arg-type]
