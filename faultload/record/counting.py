"""The counts that writers of tables leave in `events.jsonl` before they write: what goes missing is missed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from faultload.record.counts import Entry
from faultload.record.directory import RunDirectory


class CountEvents:
    """Writes the `count` events of one writer: of a load process, or of the telemetry (no worker)."""

    def __init__(self, run: RunDirectory, worker: int | None) -> None:
        self._run = run
        self._worker = worker
        self._n = self._health = 0

    def write(
        self,
        rows: Mapping[str, Sequence[Entry]],
        *,
        made: Mapping[str, int] | None = None,
        last: bool = False,
        even_nothing: bool = False,
    ) -> None:
        """Say what is about to be written: the entries of each table that gets any.

        Nothing is said of nothing, but for the last time and where `even_nothing` is to be known.
        """
        if not (rows or last or even_nothing):
            return
        fields = {"made": made} if last else {}
        who = {} if self._worker is None else {"worker": self._worker}
        self._run.event("count", **who, n=self._n, rows=rows, health=self._health, last=last, **fields)
        self._n += 1

    def health(self, fields: Mapping[str, Any]) -> None:
        """Write a `health` event, numbered."""
        self._run.event("health", n=self._health, **fields)
        self._health += 1
