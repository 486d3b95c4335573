"""The rows of a run as arrays, in chunks ordered by time: requests, iterations, observations, metrics."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import cached_property
from typing import Any, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from faultload.record.directory import RunDirectory
from faultload.record.sealed import Columns, Vocabulary, chunks, row_count

Floats = npt.NDArray[np.float64]
Codes = npt.NDArray[np.int32]
Mask = npt.NDArray[np.bool_]
C = TypeVar("C", "Samples", "Iterations")

Askers = Mapping[str, frozenset[str]]
"""Which journeys made each request, by the request's name."""

OBSERVATION_LABELS = ("journey", "variant")
METRIC_LABELS = ("service", "instance")

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

    def matching(self, filters: Mapping[str, str], record: Record) -> Mask:
        """Shape (n,): which samples a term's filters select.

        A dropped slot has no request: it counts in every selection that its journey could have made, as the
        whole record shows.
        """
        chosen = np.ones(len(self), dtype=np.bool_)
        for name in ("journey", "variant"):
            if name in filters:
                chosen &= getattr(self, name).equal(filters[name])
        if "request" in filters:
            wanted, dropped = self.request.equal(filters["request"]), self.request.codes < 0
            if dropped.any():
                for journey in record.askers.get(filters["request"], ()):
                    wanted |= dropped & self.journey.equal(journey)
            chosen &= wanted
        return chosen


@dataclass(frozen=True)
class Iterations:
    """Iterations in order of intended start, shape (n,) each; times in seconds since the run's zero.

    `waited_s` is how long an iteration waited for a free user, `slip_s` how late the generator started it.
    """

    intended_s: Floats
    ended_s: Floats
    waited_s: Floats
    slip_s: Floats
    journey: Labels
    variant: Labels
    outcome: Labels


@dataclass(frozen=True)
class Series:
    """Named values over time, shape (n,) each: observations, or metrics of instances; `t_s` in seconds.

    `labels` has one column for each label: `journey` and `variant`, or `service` and `instance`.
    """

    t_s: Floats
    name: Labels
    value: Floats
    labels: Mapping[str, Labels]


@dataclass(frozen=True)
class Times:
    """Requests in order of intended start, without their names; seconds, `latency_s` +inf for failed."""

    intended_s: Floats
    ended_s: Floats
    latency_s: Floats

    @property
    def ok(self) -> Mask:
        return self.latency_s < np.inf

    def __len__(self) -> int:
        return int(self.intended_s.size)


@dataclass(frozen=True)
class Starts:
    """Iterations in order of intended start, as the generator began them; seconds."""

    intended_s: Floats
    waited_s: Floats
    slip_s: Floats


class Record(Protocol):
    """What a run recorded: every call begins anew, at the earliest row."""

    def samples(self) -> Iterator[Samples]:
        """All requests."""

    def times(self, since_s: float | None = None, until_s: float | None = None) -> Iterator[Times]:
        """Requests whose intended start lies in [since_s, until_s), without their names."""

    def starts(self) -> Iterator[Starts]:
        """All iterations, only as far as the generator is concerned."""

    def iterations(self) -> Iterator[Iterations]: ...

    def observations(self) -> Iterator[Series]: ...

    @property
    def askers(self) -> Askers:
        """Which journeys made each request over the whole record."""


@dataclass(frozen=True)
class InMemory:
    """A record that is at hand already."""

    requests: Samples

    def samples(self) -> Iterator[Samples]:
        if len(self.requests):
            yield self.requests

    def times(self, since_s: float | None = None, until_s: float | None = None) -> Iterator[Times]:
        part = _between(self.requests, since_s, until_s)
        if len(part):
            yield Times(part.intended_s, part.ended_s, part.latency_s)

    def starts(self) -> Iterator[Starts]:
        return iter(())

    def iterations(self) -> Iterator[Iterations]:
        return iter(())

    def observations(self) -> Iterator[Series]:
        return iter(())

    @cached_property
    def askers(self) -> Askers:
        return askers_of((part.request, part.journey) for part in self.samples())


def _between(samples: Samples, since_s: float | None, until_s: float | None) -> Samples:
    if since_s is None and until_s is None:
        return samples
    low = 0 if since_s is None else int(np.searchsorted(samples.intended_s, since_s))
    high = len(samples) if until_s is None else int(np.searchsorted(samples.intended_s, until_s))
    return samples[low:high]


def joined(parts: Iterable[Samples]) -> Samples:
    """Consecutive chunks of one record as one."""
    return _whole(Samples, list(parts))


def joined_iterations(parts: Iterable[Iterations]) -> Iterations:
    """Consecutive chunks of one record as one."""
    return _whole(Iterations, list(parts))


def joined_series(parts: Iterable[Series], labels: Sequence[str]) -> Series:
    """Consecutive chunks of one record as one, with these labels also where there is none."""
    found = list(parts)
    return Series(
        t_s=_one_array([part.t_s for part in found]),
        name=_one_label([part.name for part in found]),
        value=_one_array([part.value for part in found]),
        labels={name: _one_label([part.labels[name] for part in found]) for name in labels},
    )


def _whole(kind: type[C], parts: Sequence[C]) -> C:
    """The columns of several chunks one after another; the only chunk as it is."""
    if len(parts) == 1:
        return parts[0]
    columns: dict[str, Any] = {}
    for column in fields(kind):
        pieces = [getattr(part, column.name) for part in parts]
        if column.type == "Labels":
            columns[column.name] = _one_label(pieces)
        else:
            columns[column.name] = _one_array(pieces, np.bool_ if column.type == "Mask" else np.float64)
    return kind(**columns)


def _one_array(pieces: Sequence[npt.NDArray[Any]], dtype: npt.DTypeLike = np.float64) -> npt.NDArray[Any]:
    return np.concatenate(pieces) if pieces else np.zeros(0, dtype)


def _one_label(pieces: Sequence[Labels]) -> Labels:
    """The last piece knows every name that the ones before it had."""
    codes = _one_array([piece.codes for piece in pieces], np.int32)
    return Labels(codes, pieces[-1].names if pieces else [])


def joined_times(parts: Iterable[Times]) -> Times:
    """Consecutive chunks of one record as one."""
    found = list(parts)
    nothing = [np.zeros(0)]
    return Times(
        np.concatenate([part.intended_s for part in found] or nothing),
        np.concatenate([part.ended_s for part in found] or nothing),
        np.concatenate([part.latency_s for part in found] or nothing),
    )


def askers_of(parts: Iterable[tuple[Labels, Labels]]) -> Askers:
    """Which journeys made each request, from the labels of requests and journeys; dropped slots aside."""
    found: dict[str, set[str]] = {}
    for requests, journeys in parts:
        width = len(journeys.names) + 1
        both = requests.codes.astype(np.int64) * width + journeys.codes
        seen = np.bincount(both[(requests.codes >= 0) & (journeys.codes >= 0)])
        for code in np.flatnonzero(seen).tolist():
            request, journey = requests.names[code // width], journeys.names[code % width]
            if request is not None and journey is not None:
                found.setdefault(request, set()).add(journey)
    return {request: frozenset(journeys) for request, journeys in found.items()}


_TIMES = ("intended_ns", "started_ns", "service_us", "variant", "outcome")
_NAMES = ("request", "journey")
_ITERATION_COLUMNS = ("intended_ns", "ended_ns", "waited_us", "slip_us", "journey", "variant", "outcome")


@dataclass
class Recorded:
    """The record of a run directory, read from its files in chunks; a short one is kept if `keep`."""

    run: RunDirectory
    keep: bool = True
    _texts: dict[str, Vocabulary] = field(default_factory=dict)

    @cached_property
    def _kept(self) -> Samples | None:
        """All requests, when they are few."""
        few = self.keep and row_count(self.run.path, "samples") <= KEPT_ROWS
        return joined(self._samples(None)) if few else None

    def samples(self, since_s: float | None = None) -> Iterator[Samples]:
        if self._kept is not None:
            yield from InMemory(_between(self._kept, since_s, None)).samples()
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

        return chunks(self.run.path, "samples", columns, known, since=since, until=until, prepare=prepared)

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
        for part in chunks(self.run.path, "iterations", ("intended_ns", "waited_us", "slip_us")):
            yield Starts(part["intended_ns"] / 1e9, part["waited_us"] / 1e6, part["slip_us"] / 1e6)

    def iterations(self) -> Iterator[Iterations]:
        known = self._vocabulary("iterations")
        for part in chunks(self.run.path, "iterations", _ITERATION_COLUMNS, known):
            yield Iterations(
                intended_s=part["intended_ns"] / 1e9,
                ended_s=part["ended_ns"] / 1e9,
                waited_s=part["waited_us"] / 1e6,
                slip_s=part["slip_us"] / 1e6,
                journey=Labels(part["journey"], known.names("journey")),
                variant=Labels(part["variant"], known.names("variant")),
                outcome=Labels(part["outcome"], known.names("outcome")),
            )

    def observations(self) -> Iterator[Series]:
        return self._series("observations", OBSERVATION_LABELS)

    def metrics(self) -> Series:
        """The metrics of all instances, whole: one row a second and instance and metric."""
        return joined_series(self._series("metrics", METRIC_LABELS), METRIC_LABELS)

    def _series(self, table: str, labels: Sequence[str]) -> Iterator[Series]:
        known = self._vocabulary(table)
        for part in chunks(self.run.path, table, ("t_ns", "name", "value", *labels), known):
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
