"""The rows of a run directory, read from its files in chunks; what the files hold is counted on the way."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from faultload.record.counts import DIGESTED, Tally, count_rows
from faultload.record.directory import RunDirectory
from faultload.record.rows import (
    METRIC_LABELS,
    OBSERVATION_LABELS,
    Askers,
    InMemory,
    IterationEnds,
    Iterations,
    Labels,
    Mask,
    Samples,
    Series,
    Starts,
    Times,
    askers_of,
    between,
    joined,
    joined_series,
)
from faultload.record.sealed import Columns, Vocabulary, chunks, row_count
from faultload.record.tables import files

KEPT_ROWS = 1_000_000
"""Runs of up to so many requests are read once and kept; longer ones are read again for each pass."""

_TIMES = ("intended_ns", "started_ns", "service_us", "variant", "outcome")
_NAMES = ("request", "journey")
_ITERATION_COLUMNS = ("intended_ns", "ended_ns", "waited_us", "slip_us", "journey", "variant", "outcome")


@dataclass
class Recorded:
    """The record of a run directory, read from its files in chunks; a short one is kept if `keep`."""

    run: RunDirectory
    keep: bool = True
    _texts: dict[str, Vocabulary] = field(default_factory=dict)
    _held: dict[str, Mapping[str, Tally]] = field(default_factory=dict)

    @cached_property
    def _kept(self) -> Samples | None:
        """All requests, when they are few."""
        few = self.keep and row_count(self.run.path, "samples") <= KEPT_ROWS
        return joined(self._samples(None)) if few else None

    def samples(self, since_s: float | None = None) -> Iterator[Samples]:
        if self._kept is not None:
            yield from InMemory(between(self._kept, since_s, None)).samples()
        else:
            yield from self._samples(since_s)

    def _samples(self, since_s: float | None) -> Iterator[Samples]:
        known = self._vocabulary("samples")
        for columns in self._requests((*_TIMES, *_NAMES), since_s, None, _timed):
            labels = {
                name: Labels(columns[name], known.names(name))
                for name in ("request", "journey", "variant", "outcome")
            }
            latency = columns["latency_s"]
            service = np.where(latency < np.inf, columns["service_us"] / 1e6, np.inf)
            yield Samples(
                columns["intended_ns"] / 1e9,
                columns["ended_ns"] / 1e9,
                latency,
                service,
                latency < np.inf,
                **labels,
            )

    def times(self, since_s: float | None = None, until_s: float | None = None) -> Iterator[Times]:
        if self._kept is not None:
            yield from InMemory(self._kept).times(since_s, until_s)
            return
        for columns in self._requests(_TIMES, since_s, until_s, _only_times):
            yield Times(columns["intended_ns"] / 1e9, columns["ended_ns"] / 1e9, columns["latency_s"])

    def _requests(
        self,
        columns: Sequence[str],
        since_s: float | None,
        until_s: float | None,
        prepare: Callable[[Columns, Mask], Columns] | None = None,
    ) -> Iterator[Columns]:
        """The columns of requests, without those of set-up; `prepare` is told which of them were ok."""
        since, until = (None if t is None else round(t * 1e9) for t in (since_s, until_s))
        known = self._vocabulary("samples")

        def prepared(part: Columns) -> Columns:
            setup = Labels(part["variant"], known.names("variant")).equal("setup")
            if setup.any():
                part = {name: values[~setup] for name, values in part.items()}
            if prepare is None:
                return part
            return prepare(part, Labels(part["outcome"], known.names("outcome")).equal("ok"))

        return self._chunks("samples", columns, since=since, until=until, prepare=prepared)

    def _chunks(self, table: str, columns: Sequence[str], **how: Any) -> Iterator[Columns]:
        """The chunks of a table; what its files hold is counted on the way where all rows are read."""
        known, path = self._vocabulary(table), self.run.path
        whole = how.get("since") is None and how.get("until") is None
        if table in self._held or not whole or not set(DIGESTED[table]) <= set(columns):
            yield from chunks(path, table, columns, known, **how)
            return
        tallies: dict[str, Tally] = {file.stem: Tally() for file in files(path, table)}

        def watch(file: Path, part: Columns) -> None:
            text = [name for name in DIGESTED[table] if name in ("outcome", "state")]
            names = known.names(text[0]) if text else ()
            tallies[file.stem].extend(count_rows(table, part, names))

        yield from chunks(path, table, columns, known, watch=watch, **how)
        self._held[table] = tallies

    def held(self, table: str) -> Mapping[str, Tally]:
        """What each file of a table holds; read for it alone only where no pass over all rows has been made."""
        if table not in self._held:
            for _ in self._chunks(table, DIGESTED[table]):
                pass
        return self._held[table]

    @cached_property
    def askers(self) -> Askers:
        if self._kept is not None:
            return InMemory(self._kept).askers
        known = self._vocabulary("samples")
        columns = ("intended_ns", "variant", *_NAMES)
        return askers_of(
            (Labels(part["request"], known.names("request")), Labels(part["journey"], known.names("journey")))
            for part in self._requests(columns, None, None)
        )

    def starts(self) -> Iterator[Starts]:
        for part in self._chunks("iterations", ("intended_ns", "waited_us", "slip_us")):
            yield Starts(part["intended_ns"] / 1e9, part["waited_us"] / 1e6, part["slip_us"] / 1e6)

    def iterations(self) -> Iterator[Iterations]:
        known = self._vocabulary("iterations")
        for part in self._chunks("iterations", _ITERATION_COLUMNS):
            yield Iterations(
                intended_s=part["intended_ns"] / 1e9,
                ended_s=part["ended_ns"] / 1e9,
                waited_s=part["waited_us"] / 1e6,
                slip_s=part["slip_us"] / 1e6,
                journey=Labels(part["journey"], known.names("journey")),
                variant=Labels(part["variant"], known.names("variant")),
                outcome=Labels(part["outcome"], known.names("outcome")),
            )

    def iteration_ends(self) -> Iterator[IterationEnds]:
        known = self._vocabulary("iterations")
        labels = ("journey", "variant", "outcome")
        for part in self._chunks("iterations", ("intended_ns", *labels)):
            named = {name: Labels(part[name], known.names(name)) for name in labels}
            yield IterationEnds(part["intended_ns"] / 1e9, **named)

    def observations(self) -> Iterator[Series]:
        return self._series("observations", OBSERVATION_LABELS)

    def metrics(self) -> Series:
        """The metrics of all instances, whole: one row a second and instance and metric."""
        return joined_series(self._series("metrics", METRIC_LABELS), METRIC_LABELS)

    def _series(self, table: str, labels: Sequence[str]) -> Iterator[Series]:
        known = self._vocabulary(table)
        for part in self._chunks(table, ("t_ns", "name", "value", *labels)):
            yield Series(
                t_s=part["t_ns"] / 1e9,
                name=Labels(part["name"], known.names("name")),
                value=part["value"],
                labels={name: Labels(part[name], known.names(name)) for name in labels},
            )

    def _vocabulary(self, table: str) -> Vocabulary:
        return self._texts.setdefault(table, Vocabulary())


def _timed(columns: Columns, ok: Mask) -> Columns:
    """With the end, and the latency in seconds, +inf for failed."""
    ended = columns["started_ns"] + 1000 * columns["service_us"]
    latency = (ended - columns["intended_ns"]) / 1e9
    latency[~ok] = np.inf
    rest = {name: values for name, values in columns.items() if name != "started_ns"}
    return rest | {"ended_ns": ended, "latency_s": latency}


def _only_times(columns: Columns, ok: Mask) -> Columns:
    timed = _timed(columns, ok)
    return {name: timed[name] for name in ("intended_ns", "ended_ns", "latency_s")}
