"""What a run measured: its rows in chunks, metrics, faults, events, writes and load times."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from faultload.record.directory import OPEN_STATES, RunDirectory
from faultload.record.rows import Record, Recorded, Series
from faultload.spec.stages import Stage, cooldown_start, end_of, warmup_end
from faultload.spec.vocabulary import WORDS

_ONE_SHOT = frozenset(word.name for word in WORDS if word.one_shot)
"""For records of before they said so themselves."""


@dataclass(frozen=True)
class FaultTimes:
    """One injected (or skipped) fault. Times are seconds on the run's clock; None where it never got that far.

    `fault` is its name in the scenario, `k` which repetition it is (from 1), `kind` its word. `gate` and
    `witnessed` say whether the gate was open and whether the fault was seen; `gate_why`, `witness_what` and
    `gone_what` give the details.
    """

    fault: str
    k: int
    kind: str
    instances: list[dict[str, Any]] = field(default_factory=list)
    injected_at: float | None = None
    undone_at: float | None = None
    max_duration_s: float | None = None
    one_shot: bool = False
    """Whether the fault ends without being undone, as a kill does."""
    state: str = "SKIPPED"
    gate: bool | None = None
    gate_why: str = ""
    witnessed: bool | None = None
    witness_what: str = ""
    gone_what: str = ""

    @property
    def label(self) -> str:
        """The name of the fault and which repetition it is, such as `api-kill#1`."""
        return f"{self.fault}#{self.k}"

    @property
    def still_open(self) -> bool:
        """Whether the record ends with the fault still in place."""
        return self.state in OPEN_STATES


@dataclass(frozen=True)
class Measured:
    """A run directory as it is judged."""

    info: Mapping[str, Any]
    events: Sequence[Mapping[str, Any]]
    record: Record
    metrics: Series
    faults: Sequence[FaultTimes]
    write_checks: Mapping[str, Any] | None

    @property
    def promises(self) -> int:
        """The number of the record: which rules about completeness it can be held to; 0 of before it had one."""
        return int(self.info.get("record", 0))

    @property
    def stages(self) -> list[Stage]:
        return [Stage.from_json(stage) for stage in self.info.get("load", {}).get("stages", [])]

    @cached_property
    def load_start_s(self) -> float:
        """Seconds from the run's zero to the load's start; the first sample's when it was not noted."""
        noted = self.info.get("load_start_s")
        if noted is not None:
            return float(noted)
        first = next(self.record.times(), None)
        return 0.0 if first is None else float(first.intended_s[0])

    @cached_property
    def load_end_s(self) -> float:
        """Where the load ended: as planned, or where it was cut short."""
        planned = self.load_start_s + end_of(self.stages)
        cut = self.info.get("load_end_s")
        if cut is not None:
            return min(planned, float(cut))
        if self.info.get("ended") is None:
            ends = [float(part.ended_s.max()) for part in self.record.times() if len(part)]
            return min(planned, max(ends)) if ends else planned
        return planned

    @property
    def warmup_end_s(self) -> float:
        return min(self.load_start_s + warmup_end(self.stages), self.load_end_s)

    @property
    def cooldown_start_s(self) -> float:
        return min(self.load_start_s + cooldown_start(self.stages), self.load_end_s)

    @cached_property
    def health(self) -> dict[int, list[Mapping[str, Any]]]:
        """The generator's own health by worker, in order of time."""
        found: dict[int, list[Mapping[str, Any]]] = {}
        for event in self.of_kind("health"):
            found.setdefault(int(event.get("worker", 0)), []).append(event)
        return found

    @cached_property
    def by_chance(self) -> frozenset[str]:
        """The names of the faults that came by chance."""
        return frozenset(str(one["fault"]) for one in self.injections if one.get("by_chance"))

    @cached_property
    def held(self) -> list[FaultTimes]:
        """The faults that should have been injected and were not.

        One by chance that the gate or the guard held is none of them, as long as any other came.
        """
        chance = [fault for fault in self.faults if fault.fault in self.by_chance]
        forgiven = any(fault.injected_at is not None for fault in chance)
        return [
            fault
            for fault in self.faults
            if fault.gate is False and not (forgiven and fault.fault in self.by_chance)
        ]

    @property
    def injections(self) -> Sequence[Mapping[str, Any]]:
        """Every injection that was planned before the run began."""
        found: Sequence[Mapping[str, Any]] = self.info.get("injections", ())
        return found

    @cached_property
    def missing(self) -> list[Mapping[str, Any]]:
        """The planned injections that did not happen, and of which the record does not say why.

        None of a run that was cut short: what had not come yet is missed by nobody.
        """
        if self.info.get("stopped") or self.info.get("ended") is None:
            return []
        explained = {(one.fault, one.k) for one in self.faults if one.injected_at is not None or one.gate is False}
        return [one for one in self.injections if (one["fault"], one["k"]) not in explained]

    def of_kind(self, kind: str) -> Iterable[Mapping[str, Any]]:
        return (event for event in self.events if event.get("kind") == kind)

    def note(self, what: str) -> Mapping[str, Any] | None:
        """The last note of a sort."""
        return next((event for event in reversed(self.events) if event.get("what") == what), None)


def read_measured(run: RunDirectory) -> Measured:
    """Read a run directory, sealed or live. Raises InvalidInput when it is none."""
    info = run.info() or {}
    events = run.events()
    record = Recorded(run)
    checks = json.loads(run.write_checks_path.read_text()) if run.write_checks_path.exists() else None
    return Measured(
        info=info,
        events=events,
        record=record,
        metrics=record.metrics(),
        faults=fault_times(run.faults(), events),
        write_checks=checks,
    )


def fault_times(lines: Sequence[Mapping[str, Any]], events: Sequence[Mapping[str, Any]]) -> list[FaultTimes]:
    """The faults of a run from faults.jsonl and its gate and witness events, in order of time."""
    found: dict[tuple[str, int], dict[str, Any]] = {}

    def entry(line: Mapping[str, Any]) -> dict[str, Any]:
        key = (str(line["fault"]), int(line["k"]))
        return found.setdefault(key, {"fault": key[0], "k": key[1], "kind": "", "order": line["t"]})

    for line in lines:
        one = entry(line)
        one |= {"kind": line["kind"], "state": line["state"], "max_duration_s": line["max_duration_s"]}
        one["one_shot"] = bool(line.get("one_shot", line["kind"] in _ONE_SHOT))
        one["instances"] = list(line["instances"])
        if line["state"] == "INJECTING":
            one["injected_at"] = float(line["t"])
        if line["state"] == "UNDONE":
            one["undone_at"] = float(line["t"])
    for event in events:
        if event.get("kind") == "gate":
            entry(event).update(gate=bool(event["passed"]), gate_why=str(event.get("why", "")))
        elif event.get("kind") == "witness" and event.get("of") == "there":
            entry(event).update(witnessed=bool(event["seen"]), witness_what=str(event.get("what", "")))
        elif event.get("kind") == "witness" and event.get("of") == "gone":
            entry(event)["gone_what"] = str(event.get("what", ""))
        elif event.get("what") == "not_injected" and "fault" in event:
            entry(event).update(gate=False, gate_why=str(event.get("text", "")))
    ordered = sorted(found.values(), key=lambda one: float(one.get("injected_at") or one["order"]))
    return [FaultTimes(**{key: value for key, value in one.items() if key != "order"}) for one in ordered]
