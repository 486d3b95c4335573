"""writes.json: what the verifiers found of the acknowledged writes after the load."""

from __future__ import annotations

from faultload.record.entry import Entry


class VerifierCheck(Entry):
    """What one verifier found."""

    name: str = ""
    missing_count: int = 0
    """How many acknowledged keys it did not find."""
    missing: tuple[str, ...] = ()
    """Some of them."""
    missing_acknowledged_s: tuple[float, ...] = ()
    """When each of them was acknowledged, on the run's clock."""
    began_s: float | None = None
    """When it began to look, on the run's clock."""
    error: str | None = None
    """Why it could not look at all keys."""


class WriteChecks(Entry):
    """The write ledger and what each verifier found of it."""

    acknowledged: int = 0
    indeterminate: int = 0
    """How many keys were attempted, and never acknowledged."""
    checks: tuple[VerifierCheck, ...] = ()
