"""gunicorn behind nginx: its tree is killed or frozen whole, or loses one worker; and everything is as before."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from other_programs import System

pytestmark = pytest.mark.long

WHOLE = {"nginx": 3, "api": 4}
"""A master each, with two workers and with three."""


@pytest.fixture
def shop(started: Callable[[str], System]) -> Iterator[System]:
    system = started("gunicorn")
    system.is_as_before(WHOLE)
    nginx = system.roots("nginx")
    yield system
    assert system.roots("nginx") == nginx, "nginx is declared too, and no fault was for it"


def test_a_killed_tree_is_nobody_behind_nginx_until_undo_starts_it_again(shop: System) -> None:
    played = shop.play("kill_api")
    assert played.exit_code == 0, played.output
    [before] = played.before["api"]
    assert f"(pid {before.pid}) with 3 processes below it" in played.fault.witness_what
    assert played.most_failed_with(502, least=30), "nginx has nobody to pass requests on to"
    assert played.hurts_nobody_else()
    shop.is_as_before(WHOLE)
    assert before not in shop.roots("api")


def test_one_killed_worker_is_one_of_three_and_its_master_replaces_it(shop: System) -> None:
    [master] = shop.roots("api")
    played = shop.play("kill_worker")
    assert played.exit_code == 0, played.output
    assert "one of three workers of api:" in played.fault.witness_what
    assert f"master {master.pid})" in played.fault.witness_what
    assert played.failed(during=True).total() <= 10, "two workers serve on"
    assert played.hurts_nobody_else()
    shop.is_as_before(WHOLE)
    assert shop.roots("api") == {master}


def test_a_frozen_tree_answers_nobody_and_the_same_processes_go_on(shop: System) -> None:
    [master] = shop.roots("api")
    played = shop.play("pause_api")
    assert played.exit_code == 1, played.output
    assert "frozen, no answer and no CPU time in 0.5 s: api:" in played.fault.witness_what
    assert played.most_failed_with(504, least=20), "nginx waits a second for each answer, and gives up"
    assert played.hurts_nobody_else()
    shop.is_as_before(WHOLE)
    assert shop.roots("api") == {master}
