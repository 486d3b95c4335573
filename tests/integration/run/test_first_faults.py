"""A fault due soon after the load begins is injected at its time, however slowly its process starts."""

from __future__ import annotations

import yaml
from standin import StandIn, Workspace, experiment, short

from faultload.record.directory import RunDirectory
from faultload.record.events import Note, ProcessEvent

SLOW_S = 6.0
AT_S = 5.0


def test_the_load_waits_for_the_process_of_a_fault_due_soon(workspace: Workspace, target: StandIn) -> None:
    content = experiment([("pause", {"service": "cache"})], duration_s=2)
    slow = {"type": "process", "path": "sleep", "arguments": f"{SLOW_S}"}
    content["method"].insert(0, {"type": "action", "name": "start slowly", "provider": slow})
    file = workspace.folder / "experiments" / "slow.yaml"
    file.write_text(yaml.safe_dump(content))
    scenario = workspace.scenario(
        target,
        load=short(seconds=11),
        faults=[{"name": "freeze", "experiment": "experiments/slow.yaml", "at": f"{AT_S:g}s"}],
        recovery={"slice": "1s", "hold": "2s"},
    )
    out = workspace.folder / "out"
    done = workspace.faultload("run", scenario, "--out", out)
    run = RunDirectory(out)
    load_start_s = run.info().load_start_s
    assert load_start_s is not None, done.stderr
    started = next(event.t for event in run.events_of(ProcessEvent) if event.process == "chaos-freeze-1")
    assert load_start_s - started >= SLOW_S, done.stdout
    injected = next(line.t for line in run.faults() if line.state == "INJECTING")
    assert injected - load_start_s >= AT_S
    assert not [note for note in run.events_of(Note) if note.what == "late"]
