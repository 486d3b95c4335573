"""What is missing from a record that counted what it should hold, and what is in it that nobody counted."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from faultload.record.counts import Tally
from faultload.record.directory import RunDirectory
from faultload.record.events import Count, Health, SamplerNote
from faultload.record.lines import damaged_lines
from faultload.record.measured import Measured
from faultload.record.tables import SCHEMAS, stem

COUNTED = 2
"""From this number of the record on everything that tables hold is counted."""
_LONGEST_GAP_S = 5.0
"""The telemetry looks once a second; what is longer than this without a look is a gap."""


@dataclass(frozen=True, slots=True)
class Missing:
    """Something that the record lacks, or holds and should not; `text` says what, for people.

    `table` None: whatever reads the load of the run cannot be trusted, else what reads this table between `since_s`
    and `until_s`, seconds on the run's clock; of metrics those of one service, where there is one.
    """

    text: str
    table: str | None = None
    since_s: float = -math.inf
    until_s: float = math.inf
    service: str | None = None


def missing_parts(run: RunDirectory, measured: Measured) -> list[Missing]:
    """What a record lacks; nothing of one below record 2, which did not count. Raises InvalidInput for damage.

    Tables that no pass has read yet are read for it.
    """
    if measured.promises < COUNTED:
        return []
    return [*_lines(run, measured), *_tables(run, measured), *_health(measured), *_unsampled(measured)]


def _lines(run: RunDirectory, measured: Measured) -> Iterator[Missing]:
    for path, read in ((run.events_path, len(measured.events)), (run.faults_path, None)):
        bad = damaged_lines(path, read)
        if bad:
            some = ", ".join(map(str, bad[:5])) + (", ..." if len(bad) > 5 else "")
            yield Missing(f"{path.name} is damaged in {_of(len(bad), 'line')}: {some}")


def _tables(run: RunDirectory, measured: Measured) -> Iterator[Missing]:
    held = {table: measured.record.held(table) for table in SCHEMAS}
    if _grows(run, measured):
        return
    known: set[str] = set()
    for worker, counts in _writers(measured).items():
        known.update(stem(table, worker) for table in _tables_of(worker))
        unsure = _uncounted(measured, worker, counts)
        if unsure is not None:
            yield unsure
            continue
        for table in _tables_of(worker):
            counted = Tally([entry for one in counts for entry in one.rows.get(table, ())])
            yield from _compared(table, worker, counted, held[table].get(stem(table, worker), Tally()))
            made = counts[-1].made.get(table)
            if made is not None and made != len(counted):
                text = f"{_who(worker)} made {_of(made, 'row')} of {table} and wrote {len(counted):,}"
                yield _about(text, table)
    for table, files in held.items():
        for name, tally in files.items():
            if name not in known and len(tally):
                yield _about(f"{name} holds {_of(len(tally), 'row')} that nobody counted", table)


def _grows(run: RunDirectory, measured: Measured) -> bool:
    """Whether a run that has not ended is still written to: what is there now is more than was read of it."""
    if measured.info.ended is not None:
        return False
    return len(run.events_of(Count)) > sum(1 for _ in measured.of_kind(Count))


def _writers(measured: Measured) -> Mapping[int | None, Sequence[Count]]:
    """The counts of each writer in order: of every worker that had the time for one, and of whoever counted."""
    began = measured.info.load_start_s is not None and measured.info.ended is not None
    found: dict[int | None, list[Count]] = {
        worker: [] for worker in (range(measured.info.load.workers) if began else ())
    }
    for one in measured.of_kind(Count):
        found.setdefault(one.worker, []).append(one)
    if None not in found and any(len(held) for held in measured.record.held("metrics").values()):
        found[None] = []
    return {worker: sorted(counts, key=lambda one: one.n) for worker, counts in found.items()}


def _tables_of(worker: int | None) -> list[str]:
    return ["metrics"] if worker is None else [table for table in SCHEMAS if table != "metrics"]


def _who(worker: int | None) -> str:
    """What to call a writer of tables."""
    return "the telemetry" if worker is None else f"load-{worker}"


def _uncounted(measured: Measured, worker: int | None, counts: Sequence[Count]) -> Missing | None:
    """Why what a writer left cannot be checked; None where it can be."""
    about = "metrics" if worker is None else "samples"
    if not counts:
        return _about(f"events.jsonl has no count of what {_who(worker)} wrote: nothing says what it lacks", about)
    numbers = [one.n for one in counts]
    lost = numbers[-1] + 1 - len(set(numbers))
    if lost or len(set(numbers)) < len(numbers):
        what = f"lacks {lost:,} of the {numbers[-1] + 1:,} counts" if lost else "has more than once the same counts"
        return _about(f"events.jsonl {what} of {_who(worker)}: what it wrote cannot be checked", about)
    if not counts[-1].last and measured.info.ended is not None:
        text = f"{_who(worker)} never said that it was done: what it recorded after {counts[-1].t:.1f} s is missing"
        if worker is None:
            return Missing(text, "metrics", since_s=counts[-1].t)
        return _about(text, about)
    return None


def _compared(table: str, worker: int | None, counted: Tally, held: Tally) -> Iterator[Missing]:
    differing = list(held.differing(counted))
    if not differing:
        return
    name = stem(table, worker)
    since, until = differing[0][0], differing[-1][0] + 1
    there = sum(here for _, here, _ in differing)
    wanted = sum(expected for _, _, expected in differing)
    short = sum(max(0, expected - here) for _, here, expected in differing)
    beyond = sum(max(0, here - expected) for _, here, expected in differing)
    if not len(held):
        text = f"{name} is gone, or empty: {_of(wanted, 'row')} are missing"
    else:
        parts = [
            f"{short:,} of {len(counted):,} rows are missing" if short else "",
            f"{_of(beyond, 'row')} more than {_who(worker)} counted" if beyond else "",
            f"{there:,} rows are not those that {_who(worker)} counted" if not (short or beyond) else "",
        ]
        text = f"{name}: {' and '.join(filter(None, parts))}"
    where = f"between {since} and {until} s"
    yield _about(f"{text}, {where} of the run, in {_of(len(differing), 'second')}", table, since, until)


def _about(text: str, table: str, since_s: float = -math.inf, until_s: float = math.inf) -> Missing:
    """What requests and iterations lack concerns all that reads the load: phases and recoveries come from them."""
    if table in ("samples", "iterations"):
        return Missing(text)
    return Missing(text, table, since_s, until_s)


def _health(measured: Measured) -> Iterator[Missing]:
    """The generator's health, without which nobody knows whether it was the limit."""
    written: dict[int, int] = {}
    for one in measured.of_kind(Count):
        if one.worker is not None:
            written[one.worker] = max(written.get(one.worker, 0), one.health)
    numbers: dict[int, set[int | None]] = {}
    for event in measured.of_kind(Health):
        numbers.setdefault(event.worker, set()).add(event.n)
    for worker in sorted(written.keys() | numbers.keys()):
        seen = {n for n in numbers.get(worker, ()) if n is not None}
        total = max(written.get(worker, 0), max(seen, default=-1) + 1)
        if lost := total - len(seen):
            yield Missing(f"events.jsonl lacks {lost:,} of the {total:,} health events of load-{worker}")


def _unsampled(measured: Measured) -> Iterator[Missing]:
    """When the instances of a service could not be sampled, or nobody looked at any."""
    looks = [one.t for one in measured.of_kind(Count) if one.worker is None and not one.last]
    for before, after in pairwise(looks):
        if after - before > _LONGEST_GAP_S:
            text = f"no instance was sampled between {before:.1f} and {after:.1f} s of the run"
            yield Missing(text, "metrics", before, after)
    failing: dict[str | None, SamplerNote] = {}
    for note in measured.of_kind(SamplerNote):
        if note.state == "failed":
            failing.setdefault(note.service, note)
        elif (began := failing.pop(note.service, None)) is not None and note.t - began.t > _LONGEST_GAP_S:
            yield Missing(f"{began.text} (until {note.t:.1f} s)", "metrics", began.t, note.t, note.service)
    for service, note in failing.items():
        yield Missing(f"{note.text} (until the end)", "metrics", note.t, math.inf, service)


def _of(count: int, what: str) -> str:
    return f"{count:,} {what}" + ("" if count == 1 else "s")
