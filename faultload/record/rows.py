"""The rows of a run as arrays, in chunks ordered by time: requests, iterations, observations, metrics."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from faultload.record.counts import Tally

Floats = npt.NDArray[np.float64]
Codes = npt.NDArray[np.int32]
Mask = npt.NDArray[np.bool_]
C = TypeVar("C", "Samples", "Iterations")

Askers = Mapping[str, frozenset[str]]
"""Which journeys made each request, by the request's name."""

OBSERVATION_LABELS = ("journey", "variant")
METRIC_LABELS = ("service", "instance")


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
class IterationEnds:
    """Iterations in order of intended start, only as far as how they ended is concerned; shape (n,) each."""

    intended_s: Floats
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

    def iteration_ends(self) -> Iterator[IterationEnds]:
        """All iterations, only as far as how they ended is concerned."""

    def observations(self) -> Iterator[Series]: ...

    @property
    def askers(self) -> Askers:
        """Which journeys made each request over the whole record."""

    def held(self, table: str) -> Mapping[str, Tally]:
        """What each file of a table holds, by the file's name without its ending."""


@dataclass(frozen=True)
class InMemory:
    """A record that is at hand already."""

    requests: Samples

    def samples(self) -> Iterator[Samples]:
        if len(self.requests):
            yield self.requests

    def times(self, since_s: float | None = None, until_s: float | None = None) -> Iterator[Times]:
        part = between(self.requests, since_s, until_s)
        if len(part):
            yield Times(part.intended_s, part.ended_s, part.latency_s)

    def starts(self) -> Iterator[Starts]:
        return iter(())

    def iterations(self) -> Iterator[Iterations]:
        return iter(())

    def iteration_ends(self) -> Iterator[IterationEnds]:
        return iter(())

    def observations(self) -> Iterator[Series]:
        return iter(())

    @cached_property
    def askers(self) -> Askers:
        return askers_of((part.request, part.journey) for part in self.samples())

    def held(self, table: str) -> Mapping[str, Tally]:
        return {}


def between(samples: Samples, since_s: float | None, until_s: float | None) -> Samples:
    """The requests whose intended start lies in [since_s, until_s)."""
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
