"""Cells that the promise of docs/calibration.md names: by kind and statistic, why no bound can hold there."""

from __future__ import annotations

NAMED: dict[tuple[str, str], str] = {}
