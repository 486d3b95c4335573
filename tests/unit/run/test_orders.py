"""What a chaos process is told: one file, named by one variable; without it an experiment is run by hand."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from faultload.chaos.guard import APPROVED_ENV
from faultload.chaos.session import Session
from faultload.errors import InvalidInput
from faultload.host.processes import Process
from faultload.host.secrets import SECRETS_ENV
from faultload.record.directory import RUN_ENV, RunDirectory
from faultload.record.orders import ORDER_ENV, ChaosOrder
from faultload.run.children import Children
from faultload.run.injections import Injection
from faultload.spec.target import TARGET_ENV

INJECTION = Injection(
    fault="cut",
    k=2,
    experiment=Path("experiments/cut.yaml"),
    at_s=12.5,
    variables={"seed": 9, "place": "api"},
    overlap=True,
    max_duration_s=30.0,
    seed=9,
    by_chance=True,
)


@pytest.fixture
def run(tmp_path: Path, state: Path) -> RunDirectory:
    run = RunDirectory.create(tmp_path / "run")
    run.begin({})
    return run


def told(run: RunDirectory, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The variables that a run sets for a chaos process."""
    seen: dict[str, str] = {}

    class Started:
        pid = os.getpid()
        stdin = None

        def poll(self) -> int:
            return 0

        def wait(self, timeout: float | None = None) -> int:
            return 0

    def spawn(argv: Sequence[str], **options: Any) -> Process:
        seen.update(options["env"])
        return Started()  # type: ignore[return-value]

    children = Children(run, run.path / "target.yaml", ["far-away"], spawn_chaos=spawn)
    children.start_chaos(INJECTION)
    children.close()
    for name, value in seen.items():
        monkeypatch.setenv(name, value)
    return seen


def test_a_chaos_process_is_told_by_one_file(run: RunDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = told(run, monkeypatch)
    assert set(seen) == {RUN_ENV, TARGET_ENV, ORDER_ENV}, "the run and the target are what experiments may read"
    order = ChaosOrder.from_environment()
    assert order.life_fd is not None
    assert order == ChaosOrder(
        process="chaos-cut-2",
        fault="cut",
        k=2,
        at_s=12.5,
        overlap=True,
        seed=9,
        by_chance=True,
        max_duration_s=30.0,
        life_fd=order.life_fd,
        approved=("far-away",),
    )


def test_no_secret_is_in_it(run: RunDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WHERE", "far-away")
    monkeypatch.setenv(SECRETS_ENV, "WHERE")
    seen = told(run, monkeypatch)
    assert "far-away" not in Path(seen[ORDER_ENV]).read_text()


def test_by_hand_nothing_is_told(state: Path) -> None:
    order = ChaosOrder.from_environment()
    assert (order.process, order.fault, order.k, order.at_s, order.seed) == (None, None, 1, None, None)
    assert not order.overlap and not order.by_chance and order.approved == ()


def test_targets_are_approved_by_the_run_or_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    session = Session.__new__(Session)
    session.order = ChaosOrder(approved=("a",))
    monkeypatch.setenv(APPROVED_ENV, "b,c")
    assert session.approved == ["a", "b", "c"]


@pytest.mark.parametrize("text", [None, "{", "[]"])
def test_an_order_that_cannot_be_read_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str | None
) -> None:
    path = tmp_path / "order.json"
    if text is not None:
        path.write_text(text)
    monkeypatch.setenv(ORDER_ENV, str(path))
    with pytest.raises(InvalidInput, match=r"order\.json: this is no order of a run"):
        ChaosOrder.from_environment()


def test_a_wrong_type_names_file_and_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "order.json"
    path.write_text(json.dumps({"fault": "cut", "k": "second", "newer": 1}))
    monkeypatch.setenv(ORDER_ENV, str(path))
    with pytest.raises(InvalidInput, match=r"order\.json: k: "):
        ChaosOrder.from_environment()
