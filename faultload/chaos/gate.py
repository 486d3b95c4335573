"""The gate: a look at the system's health right before a fault is injected."""

from __future__ import annotations

from faultload.chaos.journal import open_faults
from faultload.errors import TargetError
from faultload.faults import words
from faultload.platforms import platform_of
from faultload.platforms.base import FaultRequest, PlatformFault
from faultload.record import RunDirectory
from faultload.scenario import Scenario, scenario_from_run
from faultload.target import TargetFile
from faultload.vocabulary import collide

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
        for other in others:
            open_request = FaultRequest.from_json(other.entry["request"])
            mine, theirs = words()[request.kind], words()[open_request.kind]
            if collide(mine, request.arguments, theirs, open_request.arguments):
                found.append(f"fault {other.label} is open on the same place and layer ({mine.layer})")
        return found
    found += [f"fault {other.label} is still open" for other in others]
    info = run.info() or {}
    if "scenario" in info:
        scenario = scenario_from_run(info)
        found += _hold_problems(run, scenario)
        from faultload.window import baseline_problems

        found += baseline_problems(run, scenario, WINDOW_S)
    return found


def _hold_problems(run: RunDirectory, scenario: Scenario) -> list[str]:
    """The hold after the previous fault was undone must be over."""
    undone = [line for line in run.faults() if line["state"] == "UNDONE"]
    if not undone:
        return []
    since = run.clock.now() - max(float(line["t"]) for line in undone)
    if since >= scenario.recovery.hold:
        return []
    last = max(undone, key=lambda line: float(line["t"]))
    return [f"{last['fault']}#{last['k']} was undone {since:.1f} s ago, the hold is {scenario.recovery.hold:g} s"]
