"""Counts in `events.jsonl` for tables that a test wrote, as load processes and the telemetry leave them."""

from __future__ import annotations

from collections import defaultdict

from faultload.record.counts import Entry
from faultload.record.directory import RunDirectory
from faultload.record.recorded import Recorded
from faultload.record.tables import SCHEMAS


def count(run: RunDirectory, health: int = 0, *, last: bool = True) -> None:
    """Count what every worker's tables hold, one event a second, after `health` health events of each worker."""
    record = Recorded(run)
    rows: dict[int | None, dict[str, list[Entry]]] = defaultdict(dict)
    for table in SCHEMAS:
        for stem, tally in record.held(table).items():
            worker = None if table == "metrics" else int(stem.rpartition("-")[2])
            rows[worker][table] = tally.entries()
    for worker, tables in rows.items():
        who = {} if worker is None else {"worker": worker, "health": health}
        seconds = sorted({entry[0] for entries in tables.values() for entry in entries})
        for n, second in enumerate(seconds):
            part = {table: [one for one in entries if one[0] == second] for table, entries in tables.items()}
            filled = {table: entries for table, entries in part.items() if entries}
            run.event("count", t=second + 1.0, **who, n=n, rows=filled, last=False)
        if last:
            made = {table: sum(one[1] for one in entries) for table, entries in tables.items()}
            run.event("count", t=seconds[-1] + 1.5, **who, n=len(seconds), made=made, last=True)
