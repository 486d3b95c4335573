"""The files of a run as anybody reads them: JSON, and lines of it."""

from __future__ import annotations

import json
from typing import Any

from faultload.record.directory import RunDirectory


def info(run: RunDirectory) -> dict[str, Any]:
    """What run.json says."""
    found: dict[str, Any] = json.loads((run.path / "run.json").read_text())
    return found


def events(run: RunDirectory, kind: str | None = None) -> list[dict[str, Any]]:
    """The events of one kind, or all."""
    path = run.path / "events.jsonl"
    lines = path.read_text().splitlines() if path.exists() else []
    found = [json.loads(line) for line in lines]
    return [one for one in found if kind in (None, one["kind"])]


def faults(run: RunDirectory) -> list[dict[str, Any]]:
    """The lines of the fault journal."""
    return [json.loads(line) for line in (run.path / "faults.jsonl").read_text().splitlines()]
