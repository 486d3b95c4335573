"""Writes into a run's record what Chaos Toolkit found: its looks at the hypothesis, and how own activities went.

A control of Chaos Toolkit that `chaos run --control-file` loads in a run; its own handlers of events are registered
with `configure_control`. What its journal says at the end, the record says too, in one note. Chaos Toolkit writes
the journal right after that, so secrets are taken out of it here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from chaoslib.control import get_controls, get_global_controls
from chaoslib.run import RunEventHandler

from faultload.record.directory import RunDirectory
from faultload.record.orders import CONTROL, ChaosOrder
from faultload.record.redactor import plain
from faultload.spec.experiment import is_ours, name_of, own_activities

_LONGEST_WHY = 300


def configure_control(event_registry: Any) -> None:
    """Called by Chaos Toolkit before it plays the experiment."""
    run = RunDirectory.from_environment()
    if run is not None:
        event_registry.register(_Findings(run, ChaosOrder.from_environment()))


class _Findings(RunEventHandler):  # type: ignore[misc]
    def __init__(self, run: RunDirectory, order: ChaosOrder) -> None:
        self.run = run
        self.fault = {"fault": order.fault, "k": order.k}
        self.label = f"{order.fault}#{order.k}"
        self.controls: list[str] = []
        self.experiment: Mapping[str, Any] = {}

    def running(
        self, experiment: Any, journal: Any, configuration: Any, secrets: Any, schedule: Any, settings: Any
    ) -> None:
        self.experiment = experiment
        names = [str(one.get("name")) for one in (*get_global_controls(), *get_controls(experiment))]
        self.controls = [name for name in dict.fromkeys(names) if name not in CONTROL]

    def hypothesis_before_completed(self, experiment: Any, state: Any, journal: Any) -> None:
        """A system that is not as it should be gets no fault: this holds it like the gate."""
        look = _look("before", state)
        if look is not None and not look["met"]:
            title = experiment["steady-state-hypothesis"]["title"]
            why = f"the hypothesis '{title}' deviates: {look['why']}"
            self.run.event("gate", **self.fault, passed=False, why=why)

    def finish(self, journal: Any) -> None:
        states = journal["steady_states"]
        looks = [_look("before", states["before"]), _during(states["during"]), _look("after", states["after"])]
        seen = [look for look in looks if look is not None]
        played = [*(journal["run"] or []), *(journal["rollbacks"] or [])]
        failed = [f"the experiment was {journal['status']}"] if journal["status"] == "aborted" else []
        failed += _failures(played) + _unplayed(self.experiment, played)
        said = [*self._played(), *(_said(look) for look in seen), *failed]
        if said:
            text = f"{self.label}: {'; '.join(said)}"
            what = {"what": "experiment_ended", "text": text, "status": journal["status"]}
            self.run.event("note", **what, **self.fault, looks=seen, failed=failed)
        journal.update(plain(journal))

    def _played(self) -> Iterator[str]:
        """What the team's own part of the experiment asked for, in words."""
        own = own_activities(self.experiment)
        if own:
            yield f"own activities {', '.join(map(name_of, own))}"
        behind = [name_of(one) for one in own if one.get("background")]
        if behind:
            yield f"in the background {', '.join(behind)}"
        played = [*(self.experiment.get("method") or []), *(self.experiment.get("rollbacks") or [])]
        paused = [name_of(one) for one in played if one.get("pauses")]
        if paused:
            yield f"pauses at {', '.join(paused)}"
        if self.controls:
            yield f"controls {', '.join(self.controls)}"


def _look(when: str, state: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """One look at the hypothesis as the record has it; None where there was none, or it did not come to its end."""
    if not state or state.get("steady_state_met") is None:
        return None
    met = bool(state["steady_state_met"])
    return {"when": when, "met": met, "why": "" if met else _why(state["probes"][-1])}


def _during(states: Sequence[Mapping[str, Any] | None]) -> dict[str, Any] | None:
    """All looks while the method went on as one: the first that deviated counts."""
    looks = [look for state in states if (look := _look("during", state)) is not None]
    return next((look for look in looks if not look["met"]), looks[-1] if looks else None)


def _why(probe: Mapping[str, Any]) -> str:
    name = probe["activity"].get("name")
    if probe.get("status") != "succeeded":
        return f"probe '{name}' failed: {_error(probe)}"
    output = probe.get("output")
    if isinstance(output, dict) and "status" in output:
        output = f"status {output['status']}"
    return f"probe '{name}' gave {output!s:.{_LONGEST_WHY}}, wanted {probe['activity'].get('tolerance')}"


def _error(activity: Mapping[str, Any]) -> str:
    """The last line of an activity's exception."""
    lines = "".join(activity.get("exception") or []).strip().splitlines()
    said = lines[-1].removeprefix("chaoslib.exceptions.ActivityFailed: ") if lines else "it was cut short"
    return said[:_LONGEST_WHY]


def _failures(played: Sequence[Mapping[str, Any]]) -> list[str]:
    """The team's own activities that did not succeed, in words; ours say themselves what is wrong."""
    return [
        f"{one['activity'].get('type')} '{one['activity'].get('name')}' failed: {_error(one)}"
        for one in played
        if one.get("status") != "succeeded" and not is_ours(one["activity"])
    ]


def _unplayed(experiment: Mapping[str, Any], played: Sequence[Mapping[str, Any]]) -> list[str]:
    """The team's own activities that the experiment did not come to, in words."""
    names = {name_of(one["activity"]) for one in played}
    own = [(one.get("type") or "activity", name_of(one)) for one in own_activities(experiment)]
    return [f"{kind} '{name}' was not played" for kind, name in own if name not in names]


def _said(look: Mapping[str, Any]) -> str:
    whether = "held" if look["met"] else f"deviated: {look['why']}"
    return f"the hypothesis {look['when']} the method {whether}"
