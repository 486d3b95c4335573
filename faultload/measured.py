"""What a run measured, as arrays: samples, iterations, observations, writes, metrics, faults, health."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from faultload import record_tables as tables
from faultload.record import OPEN_STATES, RunDirectory
from faultload.stages import Stage, cooldown_start, end_of, warmup_end

Floats = npt.NDArray[np.float64]
Codes = npt.NDArray[np.int32]
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Labels:
    """A text column: `codes` of shape (n,) into `names`; -1 is missing."""

    codes: Codes
    names: list[str | None]

    def equal(self, name: str) -> Mask:
        wanted = [code for code, known in enumerate(self.names) if known == name]
        return np.isin(self.codes, wanted)

    def __getitem__(self, rows: Any) -> Labels:
        return Labels(self.codes[rows], self.names)


@dataclass(frozen=True)
class Samples:
    """Requests in order of intended start; times in seconds since the run's zero.

    `latency_s` and `service_s` are +inf for a request that was not ok. Requests of `on_start` and `on_stop`
    are left out.
    """

    intended_s: Floats
    ended_s: Floats
    latency_s: Floats
    service_s: Floats
    ok: Mask
    request: Labels
    journey: Labels
    variant: Labels
    outcome: Labels

    def __len__(self) -> int:
        return int(self.intended_s.size)

    def __getitem__(self, rows: Any) -> Samples:
        parts = {name: getattr(self, name)[rows] for name in self.__dataclass_fields__}
        return Samples(**parts)

    def matching(self, filters: Mapping[str, str]) -> Mask:
        """Shape (n,): which samples a term's filters select.

        A dropped slot has no request: it counts in every selection that its journey could have made.
        """
        chosen = np.ones(len(self), dtype=np.bool_)
        for name in ("journey", "variant"):
            if name in filters:
                chosen &= getattr(self, name).equal(filters[name])
        if "request" in filters:
            made = self.request.equal(filters["request"])
            journeys = np.unique(self.journey.codes[made])
            dropped = (self.request.codes < 0) & np.isin(self.journey.codes, journeys)
            chosen &= made | dropped
        return chosen

    def request_names(self) -> list[str]:
        """The requests that were made, by name."""
        return sorted(name for name in self.request.names if name is not None)


@dataclass(frozen=True)
class Iterations:
    """Iterations in order of intended start, times in seconds since the run's zero."""

    intended_s: Floats
    ended_s: Floats
    waited_s: Floats
    slip_s: Floats
    journey: Labels
    variant: Labels
    outcome: Labels


@dataclass(frozen=True)
class Series:
    """Named values over time: observations, or metrics of instances."""

    t_s: Floats
    name: Labels
    value: Floats
    labels: Mapping[str, Labels]


@dataclass(frozen=True)
class FaultTimes:
    """One injected (or skipped) fault on the run's clock; None where it did not come that far."""

    fault: str
    k: int
    kind: str
    instances: list[dict[str, Any]] = field(default_factory=list)
    injected_at: float | None = None
    undone_at: float | None = None
    max_duration_s: float | None = None
    state: str = "SKIPPED"
    gate: bool | None = None
    gate_why: str = ""
    witnessed: bool | None = None
    witness_what: str = ""
    gone_what: str = ""

    @property
    def label(self) -> str:
        return f"{self.fault}#{self.k}"

    @property
    def still_open(self) -> bool:
        return self.state in OPEN_STATES


@dataclass(frozen=True)
class Measured:
    """A run directory as arrays."""

    info: Mapping[str, Any]
    events: Sequence[Mapping[str, Any]]
    samples: Samples
    iterations: Iterations
    observations: Series
    metrics: Series
    faults: Sequence[FaultTimes]
    write_checks: Mapping[str, Any] | None

    @property
    def stages(self) -> list[Stage]:
        return [Stage.from_json(stage) for stage in self.info.get("load", {}).get("stages", [])]

    @property
    def load_start_s(self) -> float:
        """Seconds from the run's zero to the load's start; the first sample's when it was not noted."""
        noted = self.info.get("load_start_s")
        if noted is not None:
            return float(noted)
        return float(self.samples.intended_s[0]) if len(self.samples) else 0.0

    @cached_property
    def load_end_s(self) -> float:
        """Where the load ended: as planned, or where it was cut short."""
        planned = self.load_start_s + end_of(self.stages)
        cut = self.info.get("load_end_s")
        if cut is not None:
            return min(planned, float(cut))
        if self.info.get("ended") is None and len(self.samples):
            return min(planned, float(self.samples.ended_s.max()))
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

    def of_kind(self, kind: str) -> Iterable[Mapping[str, Any]]:
        return (event for event in self.events if event.get("kind") == kind)

    def note(self, what: str) -> Mapping[str, Any] | None:
        """The last note of a sort."""
        return next((event for event in reversed(self.events) if event.get("what") == what), None)


def read_measured(run: RunDirectory) -> Measured:
    """Read a run directory, sealed or live. Raises InvalidInput when it is none."""
    info = run.info() or {}
    events = run.events()
    checks = json.loads(run.write_checks_path.read_text()) if run.write_checks_path.exists() else None
    return Measured(
        info=info,
        events=events,
        samples=read_samples(run),
        iterations=_iterations(run),
        observations=_series(run, "observations", ("journey", "variant")),
        metrics=_series(run, "metrics", ("service", "instance")),
        faults=fault_times(run.faults(), events),
        write_checks=checks,
    )


def _labels(column: Any) -> Labels:
    codes, names = tables.texts(column)
    return Labels(codes, names)


def read_samples(run: RunDirectory) -> Samples:
    """The requests of a run so far, in order of intended start, without those of set-up."""
    table = tables.read(run.path, "samples")
    intended = tables.numbers(table["intended_ns"]).astype(np.float64) / 1e9
    started = tables.numbers(table["started_ns"]).astype(np.float64) / 1e9
    service = tables.numbers(table["service_us"]).astype(np.float64) / 1e6
    outcome, variant = _labels(table["outcome"]), _labels(table["variant"])
    ok = outcome.equal("ok")
    samples = Samples(
        intended_s=intended,
        ended_s=started + service,
        latency_s=np.where(ok, started - intended + service, np.inf),
        service_s=np.where(ok, service, np.inf),
        ok=ok,
        request=_labels(table["request"]),
        journey=_labels(table["journey"]),
        variant=variant,
        outcome=outcome,
    )
    kept = np.flatnonzero(~variant.equal("setup"))
    return samples[kept[np.argsort(intended[kept], kind="stable")]]


def _iterations(run: RunDirectory) -> Iterations:
    table = tables.read(run.path, "iterations").sort_by("intended_ns")

    def seconds(name: str, per: float) -> Floats:
        return tables.numbers(table[name]).astype(np.float64) / per

    return Iterations(
        intended_s=seconds("intended_ns", 1e9),
        ended_s=seconds("ended_ns", 1e9),
        waited_s=seconds("waited_us", 1e6),
        slip_s=seconds("slip_us", 1e6),
        journey=_labels(table["journey"]),
        variant=_labels(table["variant"]),
        outcome=_labels(table["outcome"]),
    )


def _series(run: RunDirectory, table_name: str, labels: Sequence[str]) -> Series:
    table = tables.read(run.path, table_name).sort_by("t_ns")
    return Series(
        t_s=tables.numbers(table["t_ns"]).astype(np.float64) / 1e9,
        name=_labels(table["name"]),
        value=tables.numbers(table["value"]).astype(np.float64),
        labels={name: _labels(table[name]) for name in labels},
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
