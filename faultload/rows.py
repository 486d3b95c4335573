"""The rows of a run as arrays, in chunks in order of time: requests, iterations, observations, metrics."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from faultload import record_tables as tables
from faultload.record import RunDirectory
from faultload.record_sealed import chunks, row_count

Floats = npt.NDArray[np.float64]
Codes = npt.NDArray[np.int32]
Mask = npt.NDArray[np.bool_]

Askers = Mapping[str, frozenset[str]]
"""Which journeys made each request, by the request's name."""

KEPT_ROWS = 1_000_000
"""Runs of up to so many requests are read once and kept; longer ones are read again for each pass."""


@dataclass(frozen=True)
class Labels:
    """A text column: `codes` of shape (n,) into `names`; -1 is missing."""

    codes: Codes
    names: Sequence[str | None]

    def equal(self, name: str) -> Mask:
        wanted = [code for code, known in enumerate(self.names) if known == name]
        if len(wanted) == 1:
            return np.asarray(self.codes == wanted[0], dtype=np.bool_)
        return np.isin(self.codes, wanted)

    def counts(self) -> dict[str, int]:
        """How many rows have each text that occurs; missing ones are not counted."""
        seen = np.bincount(self.codes[self.codes >= 0], minlength=len(self.names))
        found: dict[str, int] = {}
        for name, count in zip(self.names, seen.tolist(), strict=False):
            if count and name is not None:
                found[name] = found.get(name, 0) + count
        return found

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

    def matching(self, filters: Mapping[str, str], askers: Askers) -> Mask:
        """Shape (n,): which samples a term's filters select.

        A dropped slot has no request: it counts in every selection that its journey could have made.
        """
        chosen = np.ones(len(self), dtype=np.bool_)
        for name in ("journey", "variant"):
            if name in filters:
                chosen &= getattr(self, name).equal(filters[name])
        if "request" in filters:
            wanted = self.request.equal(filters["request"])
            for journey in askers.get(filters["request"], ()):
                wanted |= (self.request.codes < 0) & self.journey.equal(journey)
            chosen &= wanted
        return chosen


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


class Record(Protocol):
    """What a run recorded: every call begins anew, at the earliest row."""

    def samples(self, since_s: float | None = None, until_s: float | None = None) -> Iterator[Samples]:
        """Requests whose intended start lies in [since_s, until_s)."""

    def iterations(self) -> Iterator[Iterations]: ...

    def observations(self) -> Iterator[Series]: ...

    @property
    def askers(self) -> Askers:
        """Which journeys made each request over the whole record."""


@dataclass(frozen=True)
class InMemory:
    """A record that is at hand already."""

    requests: Samples

    def samples(self, since_s: float | None = None, until_s: float | None = None) -> Iterator[Samples]:
        part = _between(self.requests, since_s, until_s)
        if len(part):
            yield part

    def iterations(self) -> Iterator[Iterations]:
        return iter(())

    def observations(self) -> Iterator[Series]:
        return iter(())

    @cached_property
    def askers(self) -> Askers:
        return askers_of(self.samples())


def _between(samples: Samples, since_s: float | None, until_s: float | None) -> Samples:
    if since_s is None and until_s is None:
        return samples
    low = 0 if since_s is None else int(np.searchsorted(samples.intended_s, since_s))
    high = len(samples) if until_s is None else int(np.searchsorted(samples.intended_s, until_s))
    return samples[low:high]


def joined(parts: Iterable[Samples]) -> Samples:
    """Consecutive chunks of one record as one."""
    found = list(parts)
    if len(found) == 1:
        return found[0]
    if not found:
        nothing, empty = np.zeros(0), Labels(np.zeros(0, dtype=np.int32), [])
        return Samples(nothing, nothing, nothing, nothing, np.zeros(0, np.bool_), empty, empty, empty, empty)
    columns: dict[str, Any] = {}
    for name in Samples.__dataclass_fields__:
        pieces = [getattr(part, name) for part in found]
        if isinstance(pieces[0], Labels):
            columns[name] = Labels(np.concatenate([piece.codes for piece in pieces]), pieces[-1].names)
        else:
            columns[name] = np.concatenate(pieces)
    return Samples(**columns)


def askers_of(parts: Iterable[Samples]) -> Askers:
    """Which journeys made each request, dropped slots aside."""
    found: dict[str, set[str]] = {}
    for part in parts:
        width = len(part.journey.names) + 1
        both = part.request.codes.astype(np.int64) * width + part.journey.codes
        seen = np.bincount(both[(part.request.codes >= 0) & (part.journey.codes >= 0)])
        for code in np.flatnonzero(seen).tolist():
            request, journey = part.request.names[code // width], part.journey.names[code % width]
            if request is not None and journey is not None:
                found.setdefault(request, set()).add(journey)
    return {request: frozenset(journeys) for request, journeys in found.items()}


_SAMPLE_COLUMNS = ("intended_ns", "started_ns", "service_us", "request", "journey", "variant", "outcome")
_ITERATION_COLUMNS = ("intended_ns", "ended_ns", "waited_us", "slip_us", "journey", "variant", "outcome")


@dataclass
class Recorded:
    """The record of a run directory, read from its files in chunks; a short one is kept if `keep`."""

    run: RunDirectory
    keep: bool = True
    _known: dict[tuple[str, str], list[str | None]] = field(default_factory=dict)
    _kept: Samples | None = None

    def samples(self, since_s: float | None = None, until_s: float | None = None) -> Iterator[Samples]:
        if self.keep and self._kept is None and row_count(self.run.path, "samples") <= KEPT_ROWS:
            self._kept = joined(self._read(None, None))
        if self._kept is not None:
            yield from InMemory(self._kept).samples(since_s, until_s)
        else:
            yield from self._read(since_s, until_s)

    def _read(self, since_s: float | None, until_s: float | None) -> Iterator[Samples]:
        since, until = (None if t is None else round(t * 1e9) for t in (since_s, until_s))
        for table in chunks(self.run.path, "samples", _SAMPLE_COLUMNS, since=since, until=until):
            variant = self._labels("samples", table, "variant")
            intended, started = tables.numbers(table["intended_ns"]), tables.numbers(table["started_ns"])
            service = tables.numbers(table["service_us"]) * 1000
            outcome = self._labels("samples", table, "outcome")
            ok = outcome.equal("ok")
            ended = started + service
            latency, service_s = (ended - intended) / 1e9, service / 1e9
            latency[~ok] = service_s[~ok] = np.inf
            part = Samples(
                intended_s=intended / 1e9,
                ended_s=ended / 1e9,
                latency_s=latency,
                service_s=service_s,
                ok=ok,
                request=self._labels("samples", table, "request"),
                journey=self._labels("samples", table, "journey"),
                variant=variant,
                outcome=outcome,
            )
            setup = variant.equal("setup")
            yield part[~setup] if setup.any() else part

    @cached_property
    def askers(self) -> Askers:
        return askers_of(self.samples())

    def iterations(self) -> Iterator[Iterations]:
        for table in chunks(self.run.path, "iterations", _ITERATION_COLUMNS):
            yield Iterations(
                intended_s=tables.numbers(table["intended_ns"]) / 1e9,
                ended_s=tables.numbers(table["ended_ns"]) / 1e9,
                waited_s=tables.numbers(table["waited_us"]) / 1e6,
                slip_s=tables.numbers(table["slip_us"]) / 1e6,
                journey=self._labels("iterations", table, "journey"),
                variant=self._labels("iterations", table, "variant"),
                outcome=self._labels("iterations", table, "outcome"),
            )

    def observations(self) -> Iterator[Series]:
        return self._series("observations", ("journey", "variant"))

    def metrics(self) -> Series:
        """The metrics of all instances, whole: one row a second and instance and metric."""
        parts = list(self._series("metrics", ("service", "instance")))
        empty = Labels(np.zeros(0, dtype=np.int32), [])
        if not parts:
            return Series(np.zeros(0), empty, np.zeros(0), {"service": empty, "instance": empty})

        def whole(pieces: Iterable[Labels]) -> Labels:
            found = list(pieces)
            return Labels(np.concatenate([piece.codes for piece in found]), found[-1].names)

        return Series(
            t_s=np.concatenate([part.t_s for part in parts]),
            name=whole(part.name for part in parts),
            value=np.concatenate([part.value for part in parts]),
            labels={name: whole(part.labels[name] for part in parts) for name in parts[0].labels},
        )

    def _series(self, table_name: str, labels: Sequence[str]) -> Iterator[Series]:
        for table in chunks(self.run.path, table_name, ("t_ns", "name", "value", *labels)):
            yield Series(
                t_s=tables.numbers(table["t_ns"]) / 1e9,
                name=self._labels(table_name, table, "name"),
                value=tables.numbers(table["value"]).astype(np.float64),
                labels={name: self._labels(table_name, table, name) for name in labels},
            )

    def _labels(self, table_name: str, table: Any, column: str) -> Labels:
        """A text column in codes that are the same in every chunk of a table."""
        codes, names = tables.texts(table[column])
        known = self._known.setdefault((table_name, column), [])
        known += [name for name in dict.fromkeys(names) if name not in known]
        if known[: len(names)] == names:
            return Labels(codes, known)
        mapped = np.array([*(known.index(name) for name in names), -1], dtype=np.int32)
        return Labels(mapped[codes], known)
