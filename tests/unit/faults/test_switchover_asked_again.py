"""A switchover that Patroni's store did not take just now is asked for again, and no refusal of Patroni's is."""

from __future__ import annotations

from typing import Any

import pytest

from faultload.errors import TargetError
from faultload.faults.base import FaultRequest
from faultload.faults.database import cluster_fault
from faultload.faults.database.local import Switchover
from faultload.platforms.databases.patroni import Node
from faultload.spec.target import Service, TargetFile

A, B = "http://127.0.0.1:8008", "http://127.0.0.1:8009"
NOT_TAKEN = (503, "failed to write failover key into DCS")
UNKNOWN = (503, "Switchover status unknown")
REFUSED = (412, "leader name does not match")
DONE = (200, 'Successfully switched over to "b"')


class Pair:
    """Members a, which leads, and b; answers in order, the last one for ever. Time goes on by sleeping alone."""

    def __init__(self, *answers: tuple[int, str] | TargetError, moves_at: int | None = None) -> None:
        self.answers, self.moves_at = answers, moves_at
        self.asked: list[tuple[str, Any]] = []
        self.now_s = 100.0

    def call(self, url: str, body: Any, timeout_s: float) -> tuple[int, str]:
        self.asked.append((url, body))
        answer = self.answers[min(len(self.asked), len(self.answers)) - 1]
        if isinstance(answer, TargetError):
            raise answer
        return answer

    def nodes(self, _: Any) -> dict[str, Node]:
        leader = "b" if self.moves_at is not None and len(self.asked) >= self.moves_at else "a"
        return {
            name: Node(
                name, url, running=True, leads=name == leader, timeline=1, postmaster_started=None, paused=False
            )
            for name, url in (("b", B), ("a", A))
        }

    def monotonic(self) -> float:
        return self.now_s

    def sleep(self, seconds: float) -> None:
        self.now_s += seconds


def inject(monkeypatch: pytest.MonkeyPatch, pair: Pair) -> Switchover:
    for name, value in (("call", pair.call), ("nodes", pair.nodes), ("time", pair)):
        monkeypatch.setattr(cluster_fault, name, value)
    target = TargetFile(id="x", name="x", platform="local", services={"db": Service(patroni=[A, B])})
    fault = Switchover(target, FaultRequest("x#1@y", "switchover_database"))
    fault.inject([], {"member": "a", "timeline": 1})
    return fault


def test_the_leader_is_asked_once_where_it_agrees(monkeypatch: pytest.MonkeyPatch) -> None:
    pair = Pair(DONE)
    inject(monkeypatch, pair)
    assert pair.asked == [(f"{A}/switchover", {"leader": "a"})]


def test_what_the_store_did_not_take_is_asked_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    pair = Pair(NOT_TAKEN, NOT_TAKEN, DONE)
    inject(monkeypatch, pair)
    assert len(pair.asked) == 3


@pytest.mark.parametrize("then", [UNKNOWN, REFUSED])
def test_a_doubtful_one_that_came_to_pass_is_done(monkeypatch: pytest.MonkeyPatch, then: tuple[int, str]) -> None:
    pair = Pair(NOT_TAKEN, then, moves_at=2)
    fault = inject(monkeypatch, pair)
    assert len(pair.asked) == 2
    assert fault.witness([]).seen


def test_a_store_that_takes_nothing_is_said_in_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    pair = Pair(NOT_TAKEN)
    with pytest.raises(TargetError, match=r"\(503\): failed to write failover key"):
        inject(monkeypatch, pair)
    assert 10 <= pair.now_s - 100.0 <= 11


def test_a_refusal_is_final_even_where_another_leads_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    pair = Pair(REFUSED, DONE, moves_at=1)
    with pytest.raises(TargetError, match=r"\(412\): leader name does not match"):
        inject(monkeypatch, pair)
    assert len(pair.asked) == 1


def test_a_member_that_does_not_answer_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    pair = Pair(TargetError("no answer"), DONE)
    inject(monkeypatch, pair)
    assert [url for url, _ in pair.asked] == [f"{A}/switchover", f"{B}/switchover"]
    with pytest.raises(TargetError, match="no answer"):
        inject(monkeypatch, Pair(TargetError("no answer")))
