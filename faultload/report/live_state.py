"""The state of a run at one moment: figures of the last seconds, and the words for them."""

from __future__ import annotations

from dataclasses import dataclass

from faultload.report import values


@dataclass(frozen=True, slots=True)
class LiveState:
    """A run at one moment. Rates, latencies and `error_share` are over the last seconds.

    `status` is what the run is doing ("load", "reading writes back"). `budget_left` is the share of the error
    budget that is still left, negative when it is overspent. None: not known, or not defined for this run.
    """

    scenario: str
    profile: str
    status: str
    elapsed_s: float
    total_s: float | None
    phase: str
    offered_per_s: float | None
    achieved_per_s: float | None
    p50_ms: float | None
    p99_ms: float | None
    error_share: float | None
    failed: int
    users: int | None
    budget_left: float | None
    open_faults: tuple[str, ...]

    @property
    def clock(self) -> str:
        total = "" if self.total_s is None else f" / {values.seconds(self.total_s)}"
        return f"{self.elapsed_s:.1f} s{total}"

    def measures(self) -> list[tuple[str, str]]:
        """What was measured in the last seconds: a name and a text each."""
        return [
            ("offered", values.rate(self.offered_per_s)),
            ("achieved", values.rate(self.achieved_per_s)),
            ("p50", values.quantity(self.p50_ms, " ms")),
            ("p99", values.quantity(self.p99_ms, " ms")),
            ("errors", values.share(self.error_share)),
            ("failed", values.count(self.failed)),
            ("users", values.count(self.users)),
            ("budget left", values.share(self.budget_left)),
        ]

    def line(self) -> str:
        """The state in one line."""
        where = [self.clock, self.status]
        if self.phase and self.phase != self.status:
            where.append(self.phase)
        measured = [f"{name} {text}" for name, text in self.measures()]
        return "  ".join([*where, *measured, f"open faults {', '.join(self.open_faults) or 'none'}"])
