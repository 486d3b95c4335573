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
    assert list(sampler.sample("api")) == []
    assert identify(parent.pid) is not None
