"""`faultload doctor`: each thing that is missing is named, with what to do."""

from __future__ import annotations

import importlib.util
import os
import resource
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from faultload.commands import doctor
from faultload.commands.doctor import Finding, findings, print_findings
from faultload.errors import ExitCode


@pytest.fixture(autouse=True)
def _without_engine_and_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    """What an engine and a cluster say is tested where there are any."""

    def none() -> Iterator[Finding]:
        yield Finding("Docker", False, "no engine", "only for faults on containers")

    monkeypatch.setattr(doctor, "_docker", none)
    monkeypatch.setattr(doctor, "_kubernetes", lambda: Finding("Kubernetes", True, "here"))


def found(what: str) -> Finding:
    (one,) = (finding for finding in findings() if finding.what == what)
    return one


@pytest.mark.parametrize(
    ("module", "what", "mend"),
    [
        ("psycopg", "psycopg", "faultload[postgres]"),
        ("patroni", "reference system", "faultload[reference]"),
    ],
)
def test_a_missing_package_is_named_with_what_installs_it(
    monkeypatch: pytest.MonkeyPatch, module: str, what: str, mend: str
) -> None:
    assert found(what).ok
    there = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == module else there(name))
    assert not found(what).ok
    assert mend in found(what).mend


@pytest.mark.parametrize("of", ["fault", "measure"])
def test_a_package_that_cannot_be_used_is_named_with_why(monkeypatch: pytest.MonkeyPatch, of: str) -> None:
    monkeypatch.setattr(doctor.faults, "broken", lambda: {"team": "no module named zebra"})
    monkeypatch.setattr(doctor.measures, "broken", lambda: ("team.stalls: no module named zebra",))
    finding = found(f"{of} package")
    assert not finding.ok and "no module named zebra" in finding.says
    assert f"its {of}s are unavailable" in finding.mend


def test_the_kill_switch_and_what_is_done_about_it(state: Path, capsys: pytest.CaptureFixture[str]) -> None:
    state.mkdir(parents=True)
    assert found("kill switch").ok
    (state / "stop").touch()
    assert print_findings() == ExitCode.PASS  # it keeps faults away, and no run
    assert f"rm {state / 'stop'}" in capsys.readouterr().out


@pytest.mark.parametrize("user", [0, 1000])
def test_it_says_what_root_adds(monkeypatch: pytest.MonkeyPatch, user: int) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: user)
    says = found("privileges").says
    assert "cgroup" in says
    assert ("root adds" in says) == (user != 0)


def test_few_open_files_are_told_with_the_limit_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (256, 1024))
    one = found("open files")
    assert not one.ok and not one.needed
    assert one.says == "256 (hard limit 1024)" and "ulimit -n 4096" in one.mend


def test_what_every_run_needs_decides_the_exit_code(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert print_findings() == ExitCode.PASS

    def unknown(*_: Any) -> int:
        raise OSError("not in this kernel")

    monkeypatch.setattr(os, "pidfd_open", unknown)
    assert print_findings() == ExitCode.USAGE
    assert "NO  pidfd" in capsys.readouterr().out
