"""What happened to acknowledged writes: which were lost, and the recovery point a fault really had."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from faultload_analysis.evidence.dependence import Array, Mask
from faultload_analysis.evidence.inputs import checked_flags
from faultload_analysis.evidence.verdict import Estimate, exact, no_data


def lost_writes(acknowledged: int, lost: int, indeterminate: int, verified: bool) -> Estimate:
    """The exact count of acknowledged writes that are gone; `n` is the acknowledged ones.

    Indeterminate writes (no answer came) may be there or not and count neither way. Not read back, or
    nothing acknowledged: value None, since zero lost of zero proves nothing (Jepsen set-full says unknown).
    ValueError for negative counts or more lost than acknowledged.
    """
    if min(acknowledged, lost, indeterminate) < 0 or lost > acknowledged:
        raise ValueError(f"{lost} of {acknowledged} lost, {indeterminate} indeterminate: not counts")
    if not verified:
        return no_data("the writes were not read back", n=acknowledged)
    if acknowledged == 0:
        return no_data("no write was acknowledged, so none could be lost")
    return exact(float(lost), acknowledged, why=f"{indeterminate} indeterminate left out" if indeterminate else "")


@dataclass(frozen=True, slots=True)
class WriteFates:
    """What became of each write, masks of shape (n,): every write is in exactly one of the first four.

    `stable`: acknowledged and found. `lost`: acknowledged, and not found by a read that began after that.
    `never_read`: acknowledged, not found, and no read began after that. `indeterminate`: attempted and never
    acknowledged; it may be there or not. `acknowledged_s`: shape (n,), seconds, NaN for indeterminate ones.
    """

    acknowledged_s: Array
    stable: Mask
    lost: Mask
    never_read: Mask
    indeterminate: Mask

    @property
    def lost_writes(self) -> Estimate:
        """The exact count of lost writes; with none lost and none stable unknown, never 0 (Jepsen set-full)."""
        lost, stable = int(self.lost.sum()), int(self.stable.sum())
        notes = [f"{int(mask.sum())} {name}" for name, mask in self._apart() if mask.any()]
        if not (lost or stable):
            return no_data("; ".join(["no acknowledged write was read back", *notes]))
        return exact(float(lost), lost + stable, why=", ".join(notes) + " left out" if notes else "")

    def _apart(self) -> tuple[tuple[str, Mask], ...]:
        return (("never read", self.never_read), ("indeterminate", self.indeterminate))


def write_fates(
    acknowledged_s: npt.ArrayLike, found: npt.ArrayLike, *, read_s: float | npt.ArrayLike | None
) -> WriteFates:
    """Sort the writes of a ledger as Jepsen's set-full checker does.

    `acknowledged_s`: shape (n,), seconds, NaN for attempted writes that were never acknowledged. `found`: shape
    (n,), bool: whether the read-back saw the write. `read_s`: when that read began, seconds, one for all or shape
    (n,), NaN for writes that were not read back; None: nothing was. A write acknowledged while the read was
    already going on and not found may have come after it: never read.
    ValueError for differing shapes, infinite times, or `found` other than true and false.
    """
    acked, seen = np.asarray(acknowledged_s, dtype=np.float64), checked_flags(found, "found")
    if acked.shape != seen.shape:
        raise ValueError(f"acknowledgements {acked.shape} and found {seen.shape} must be one shape (n,)")
    begun = np.broadcast_to(np.asarray(np.nan if read_s is None else read_s, dtype=np.float64), acked.shape)
    if np.isinf(acked).any() or np.isinf(begun).any():
        raise ValueError("times must be finite; NaN says that there was no acknowledgement, or no read")
    known = ~np.isnan(acked)
    stable = known & seen & ~np.isnan(begun)
    lost = known & ~seen & (begun >= acked)
    return WriteFates(acked, stable, lost, known & ~stable & ~lost, ~known)


def recovery_point(fates: WriteFates, fault_s: float) -> Estimate:
    """The actual recovery point of a fault (RPO), seconds of acknowledged writes that it lost.

    fault time - acknowledgement of the oldest lost write; 0 when none acknowledged before the fault was
    lost. What lies between two writes is not seen: `high` goes back to the last stable write before that
    (before the fault, when none was lost). Of several faults, the last one before the read-back gives the
    largest answer. `n`: the writes that were read back. None lost and none stable, or none acknowledged
    before the fault: value None; zero stable writes prove nothing. ValueError for a fault time that is not finite.
    """
    if not np.isfinite(fault_s):
        raise ValueError(f"the fault needs a time, not {fault_s}")
    acked = fates.acknowledged_s
    n = int(fates.lost.sum() + fates.stable.sum())
    before = acked <= fault_s
    lost, stable = acked[fates.lost & before], acked[fates.stable & before]
    if lost.size + stable.size == 0:
        return no_data("no write acknowledged before the fault was read back", n=n)
    oldest = float(lost.min()) if lost.size else fault_s
    kept = stable[stable <= oldest]
    notes = []
    if late := int((fates.lost & ~before).sum()):
        notes.append(f"{late} acknowledged after the fault {'is' if late == 1 else 'are'} lost as well")
    for name, mask in (("never read", fates.never_read), ("indeterminate", fates.indeterminate)):
        if mask.any():
            notes.append(f"{int(mask.sum())} {name} left out")
    return Estimate(
        fault_s - oldest,
        fault_s - oldest,
        fault_s - float(kept.max()) if kept.size else None,
        n,
        None,
        "seen between writes",
        "; ".join(notes),
    )
