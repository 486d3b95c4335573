"""What a local instance uses: with all processes below it, and nothing once it is gone."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from faultload.host.processes import identify
from faultload.platforms.base import Instance
from faultload.record.directory import RunDirectory
from faultload.spec.target import TargetFile
from faultload.telemetry import processes as module
from faultload.telemetry.processes import ProcessSampler

HELD = "x = bytearray(40_000_000); print('held', flush=True); import sys; sys.stdin.read()"
PARENT = f"""
import subprocess, sys
child = subprocess.Popen([sys.executable, "-c", {HELD!r}], stdin=sys.stdin, stdout=sys.stdout)
child.wait()
"""


@pytest.fixture
def parent() -> Any:
    process = subprocess.Popen([sys.executable, "-c", PARENT], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout is not None and process.stdin is not None
    assert process.stdout.readline() == b"held\n"
    yield process
    process.stdin.close()
    process.wait(10)
    process.stdout.close()


def test_children_count_with_their_instance(
    tmp_path: Path, parent: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = RunDirectory.create(tmp_path / "run")
    target = TargetFile.model_validate(
        {"id": "t", "name": "t", "platform": "local", "services": {"api": {"pids": [parent.pid]}}}
    )
    sampler = ProcessSampler(run, target)
    sampler.look()
    rows = {name: value for _, name, value in sampler.sample("api")}
    assert rows["rss_bytes"] > 45_000_000 and rows["fds"] >= 6 and rows["threads"] >= 2
    assert "cpu_percent" not in rows, "of a first look nothing can be said"
    time.sleep(0.05)
    sampler.look()
    assert "cpu_percent" in {name for _, name, _ in sampler.sample("api")}
    gone = Instance("api", "999999999", 1.0)
    monkeypatch.setattr(module, "instances_of", lambda target, service: [gone])
    sampler = ProcessSampler(RunDirectory.create(tmp_path / "again"), target)
    sampler.look()
    assert list(sampler.sample("api")) == []
    assert identify(parent.pid) is not None


def test_instances_are_looked_for_again_when_one_is_gone_or_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    children = [subprocess.Popen(["sleep", "60"]) for _ in range(3)]
    try:
        identified = [identify(child.pid) for child in children]
        target = TargetFile.model_validate(
            {"id": "t", "name": "t", "platform": "local", "services": {"api": {"pids": [1, 2]}}}
        )
        running = [one for one in identified if one is not None][:2]
        looked: list[str] = []

        def instances(target: TargetFile, service: str) -> list[Instance]:
            looked.append(service)
            return [Instance(service, str(one.pid), one.started) for one in running]

        monkeypatch.setattr(module, "instances_of", instances)
        sampler = ProcessSampler(RunDirectory.create(tmp_path / "run"), target)

        def looks(times: int) -> int:
            """How often instances were looked for in so many samples."""
            looked.clear()
            for _ in range(times):
                sampler.look()
                assert len({name for name, *_ in sampler.sample("api")}) == len(running)
            return len(looked)

        assert looks(10) == 1, "whatever comes and goes on this machine meanwhile"
        assert looks(10) == 1, "one more may have come"
        gone = running.pop()
        children[1].kill()
        children[1].wait()
        assert gone.pid == children[1].pid and looks(5) == 5, "one is missing"
        third = identified[2]
        assert third is not None
        running.append(third)
        assert looks(5) == 1, "it is there again"
    finally:
        for child in children:
            child.kill()
            child.wait()
