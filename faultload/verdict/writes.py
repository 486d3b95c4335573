"""The write ledger after reading back: what was lost, and how far back each fault reached."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from faultload.record import tables
from faultload.record.directory import RunDirectory
from faultload.record.measured import FaultTimes, Measured
from faultload.record.writes import WriteChecks
from faultload_analysis.recovery.durability import WriteFates, recovery_point, write_fates


@dataclass(frozen=True, slots=True)
class WriteCounts:
    """The write ledger after it was read back."""

    acknowledged: int
    lost: int
    indeterminate: int
    verified: bool
    problem: str


def write_counts(measured: Measured) -> WriteCounts | None:
    """Lost writes: acknowledged keys that a verifier did not find, the most that any of them missed."""
    checks = measured.write_checks
    if checks is None:
        return None
    parts = checks.checks
    broken = [f"{one.name} could not read the writes back: {one.error}" for one in parts if one.error]
    named = [
        f"{one.name} misses {one.missing_count}, such as {', '.join(one.missing[:3])}"
        for one in parts
        if one.missing_count
    ]
    lost = max((one.missing_count for one in parts), default=0)
    return WriteCounts(
        acknowledged=checks.acknowledged,
        lost=lost,
        indeterminate=checks.indeterminate,
        verified=bool(parts) and (not broken or lost > 0),
        problem="; ".join([*named, *broken]),
    )


def recovery_points(run: RunDirectory, measured: Measured) -> Mapping[str, float]:
    """The actual recovery point (RPO) of each fault by label, seconds; only where writes were read back.

    A lost write counts for the fault that came next after its acknowledgement, and for none when it was
    acknowledged after the last fault.
    """
    fates = None if measured.write_checks is None else _fates(run, measured.write_checks)
    if fates is None:
        return {}
    found: dict[str, float] = {}
    since = -np.inf
    injected = [fault for fault in measured.faults if fault.injected_at is not None]
    for fault in sorted(injected, key=_injected_s):
        at = _injected_s(fault)
        rows = ~(fates.acknowledged_s <= since)
        part = WriteFates(
            fates.acknowledged_s[rows],
            fates.stable[rows],
            fates.lost[rows],
            fates.never_read[rows],
            fates.indeterminate[rows],
        )
        point = recovery_point(part, at)
        if point.value is not None:
            found[fault.label] = point.value
        since = at
    return found


def _injected_s(fault: FaultTimes) -> float:
    assert fault.injected_at is not None
    return fault.injected_at


def _fates(run: RunDirectory, checks: WriteChecks) -> WriteFates | None:
    """The fate of every acknowledged write by the verifier that missed most; None when none could read."""
    parts = [one for one in checks.checks if not one.error and one.began_s is not None]
    if not parts:
        return None
    worst = max(parts, key=lambda one: one.missing_count)
    assert worst.began_s is not None
    table = tables.read(run.path, "writes")
    states = np.array(table["state"].to_pylist())
    acknowledged = np.sort(tables.numbers(table["t_ns"])[states == "acknowledged"] / 1e9)
    lost = Counter(worst.missing_acknowledged_s)
    present = np.ones(acknowledged.size, dtype=np.bool_)
    for row, moment in enumerate(acknowledged.tolist()):
        if lost[moment]:
            lost[moment] -= 1
            present[row] = False
    return write_fates(acknowledged, present, read_s=worst.began_s)
