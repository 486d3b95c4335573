"""What a report shows beside the verdict: Locust's own figures, logs of failed processes, notes, the machine."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass

from faultload.record.directory import RunDirectory
from faultload.record.events import Abort, LocustTable, Note, ProcessEvent, Slots
from faultload.record.info import RunInfo
from faultload.record.measured import Measured
from faultload.report import values
from faultload.verdict.judge import Judgement
from faultload_analysis.latency.rank import rank

LOG_LINES = 30
_LOG_TAIL_BYTES = 65_536
_LONGEST_LINE = 500
_LOCUST_COLUMNS = ("p50", "p90", "p95", "p99")
_MOST_NOTES = 200


@dataclass(frozen=True, slots=True)
class Comparison:
    """One row of the table that sets Locust's own figures beside ours; milliseconds."""

    source: str
    requests: str
    failures: str
    cells: tuple[str, ...]


def beside_locust(judgement: Judgement) -> list[Comparison]:
    """Locust's own table of each load process, then ours over all of them; empty when Locust left none."""
    rows = []
    for table in judgement.measured.of_kind(LocustTable):
        cells = tuple(values.milliseconds(getattr(table, column)) for column in _LOCUST_COLUMNS)
        counts = values.count(table.requests), values.count(table.failures)
        rows.append(Comparison(f"Locust, load process {table.worker}", *counts, cells))
    for source, ranked in judgement.overview.made.items() if rows else ():
        if not ranked.n:
            continue
        cells = tuple(
            values.milliseconds(ranked.order_statistic(rank(ranked.n, int(name[1:]) / 100)) * 1e3)
            for name in _LOCUST_COLUMNS
        )
        counts = values.count(ranked.n), values.count(ranked.n_failed)
        rows.append(Comparison(f"faultload, {source}", *counts, cells))
    return rows


@dataclass(frozen=True, slots=True)
class FailedProcess:
    """A process that failed or died, with the last lines of its log."""

    name: str
    what: str
    lines: str


def failed_processes(run: RunDirectory, measured: Measured) -> list[FailedProcess]:
    """The processes of the run that failed or died, each once, in order of time."""
    found: dict[str, FailedProcess] = {}
    for event in measured.of_kind(ProcessEvent):
        if event.state in ("failed", "died"):
            what = f"{event.state} at {values.moment(event.t)}" + (f": {event.why}" if event.why else "")
            found.setdefault(event.process, FailedProcess(event.process, what, last_lines(run, event.process)))
    return list(found.values())


def last_lines(run: RunDirectory, process: str) -> str:
    """The last lines of a process's log, or a sentence when there are none."""
    path = run.log(process)
    if path.parent != run.path / "logs" or not path.is_file():
        return "It left no log."
    with open(path, "rb") as file:
        file.seek(max(0, path.stat().st_size - _LOG_TAIL_BYTES))
        tail = file.read().decode(errors="replace")
    lines = [line if len(line) <= _LONGEST_LINE else line[:_LONGEST_LINE] + " …" for line in tail.splitlines()]
    return "\n".join(lines[-LOG_LINES:]) or "Its log is empty."


_OLDER = {
    0: "This record is older than record 1: rules added later do not apply, and it is judged as it was then.",
    1: "This record is older than record 2: whether it is complete was not recorded; it is judged as it was then.",
}
"""What to know about a record of a number."""


@dataclass(frozen=True, slots=True)
class Remark:
    """Something that was noted while the run went on."""

    at: str
    text: str


def notes(measured: Measured, missing: Sequence[str] = ()) -> list[Remark]:
    """Notes and aborts of the run in order of time; first, that its record is an old one, or what it lacks."""
    older = _OLDER.get(measured.promises)
    found = [Remark(values.MISSING, text) for text in ([] if older is None else [older])]
    found += [Remark(values.MISSING, f"missing: {text}") for text in missing]
    for event in measured.events:
        if isinstance(event, Abort):
            found.append(Remark(values.moment(event.t), f"abort: {event.why or event.kind}"))
        elif isinstance(event, Note) and not isinstance(event, Slots | LocustTable):
            found.append(Remark(values.moment(event.t), event.text or event.what or event.kind))
    if len(found) > _MOST_NOTES:
        left_out = len(found) - _MOST_NOTES
        return [*found[:_MOST_NOTES], Remark(values.MISSING, f"{left_out} more are in events.jsonl")]
    return found


def command(info: RunInfo) -> str:
    """The command line that makes this run again; empty when it was not kept."""
    return info.command if isinstance(info.command, str) else shlex.join(info.command)


def facts(info: RunInfo) -> list[tuple[str, str]]:
    """When, how long, with which seed, on what machine and with which versions."""
    pairs = [
        ("started", info.started or None),
        ("lasted", values.seconds(info.duration_s)),
        ("profile", info.profile),
        ("seed", info.seed),
        ("load processes", info.load.workers),
        ("system", info.machine.get("system")),
        ("architecture", info.machine.get("architecture")),
        ("processors", info.machine.get("cpus")),
        ("memory", values.size(info.machine.get("memory_bytes"))),
    ]
    pairs += [(str(name), str(version)) for name, version in info.versions.items()]
    return [(name, str(value)) for name, value in pairs if value not in (None, values.MISSING)]
