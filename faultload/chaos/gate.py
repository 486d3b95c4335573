"""The gate: checks the system's health right before a fault is injected."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from faultload.chaos.journal import OpenFault, open_faults
from faultload.errors import TargetError
from faultload.faults import words
from faultload.faults.base import FaultRequest, PlatformFault
from faultload.platforms import platform_of
from faultload.platforms.base import Instance, names
from faultload.record.directory import RunDirectory
from faultload.spec.scenario import Scenario
from faultload.spec.target import TargetFile
from faultload.spec.vocabulary import collide

WINDOW_S = 10.0


def problems(
    run: RunDirectory, target: TargetFile, fault: PlatformFault, request: FaultRequest, *, overlap: bool
) -> list[str]:
    """Why the fault must not be injected now, in plain words; empty when it may.

    Looked at: every service's health and ready floor, the target's own state (a standby fit to lead), and in
    a run the last 10 s of samples against the objectives `during baseline` and the hold after the previous
    fault. A fault that may overlap skips what another open fault disturbs, and still never meets another
    one on the same layer of the same service or link.
    """
    found: list[str] = []
    try:
        found += fault.gate()
        if not overlap:
            platform = platform_of(target)
            for name in target.services:
                found += [problem for problem in platform.not_ready(name) if problem not in found]
    except TargetError as error:
        found.append(str(error))
    others = open_faults(target.id)
    if overlap:
        return found + [problem for other in others if (problem := _beside(run, request, other)) is not None]
    found += [f"fault {other.label} is still open" for other in others]
    info = run.info()
    if info.scenario is not None:
        scenario = info.as_run()
        found += _hold_problems(run, scenario)
        from faultload.verdict.live_baseline import baseline_problems

        found += baseline_problems(run, scenario, WINDOW_S)
    return found


def _beside(run: RunDirectory, request: FaultRequest, other: OpenFault) -> str | None:
    """Why a fault that may overlap must not come beside an open one, or None.

    The scenario allows it beside its own faults only, and never on the same layer of the same place.
    """
    if Path(other.entry["run"]).resolve() != run.path.resolve():
        return f"fault {other.label} of another run is still open"
    open_request = FaultRequest.from_json(other.entry["request"])
    mine, theirs = words().get(request.kind), words().get(open_request.kind)
    if mine is None or theirs is None:
        return f"fault {other.label} is open, and '{open_request.kind}' is not a fault word known here"
    if collide(mine, request.arguments, theirs, open_request.arguments):
        return f"fault {other.label} is open on the same place and layer ({mine.layer})"
    return None


def shared_instances(target: TargetFile, request: FaultRequest, instances: Sequence[Instance]) -> list[str]:
    """Open faults on the same layer of the very same instances, whatever their services are called.

    Faults of links are told apart by their links, which may share a client.
    """
    if "link" in request.arguments:
        return []
    mine = {(one.id, one.started) for one in instances}
    layer = words()[request.kind].layer
    found = []
    for other in open_faults(target.id):
        if "link" in other.entry["request"]["arguments"]:
            continue
        word = words().get(str(other.entry["request"]["kind"]))
        shared = [one for one in other.instances if (one.id, one.started) in mine]
        if shared and (word is None or word.layer == layer):
            found.append(f"fault {other.label} is open on {names(shared)} and the same layer ({layer})")
    return found


def _hold_problems(run: RunDirectory, scenario: Scenario) -> list[str]:
    """The hold after the previous fault was undone must be over."""
    undone = [line for line in run.faults() if line.state == "UNDONE"]
    if not undone:
        return []
    last = max(undone, key=lambda line: line.t)
    since = run.clock.now() - last.t
    if since >= scenario.recovery.hold:
        return []
    return [f"{last.label} was undone {since:.1f} s ago, the hold is {scenario.recovery.hold:g} s"]
