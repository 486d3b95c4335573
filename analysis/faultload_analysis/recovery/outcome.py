"""What one fault did to users: the result of `recover`."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Recovery:
    """What one fault did to the users. Times `_at_s` are on the run's clock, all others are durations.

    `impact_s` from injection to impact; `detect_s`, `mitigate_s`, `recover_s` from impact; each None when it
    did not happen or cannot be told. `absorbed`: no impact (recover_s 0). `recovered` is True for absorbed
    ones. `censored_s`: when never recovered, how long it was watched from impact. `low_s`, `high_s` bracket
    `recover_s` by the requests around both ends (what lies between arrivals is not seen), `resolution_s` is
    their distance; of one that never recovered `low_s` is the last bad moment. `baseline_ok` False: not
    measurable, and everything else is empty. `incidents` counts separate ones until the end, `later`: when those
    after this one began and ended (None: not before the end of the watch). `hold_end_s`: when the hold after
    recovery was over. `worst_bad_share`: of the worst slice. `alerted`: an alert was firing already at the impact.
    `until_s`: when the watch of it ended.
    """

    impact_s: float | None
    detect_s: float | None
    mitigate_s: float | None
    recover_s: float | None
    absorbed: bool
    recovered: bool
    censored_s: float | None
    resolution_s: float | None
    baseline_ok: bool
    why: str
    impact_at_s: float | None = None
    recovered_at_s: float | None = None
    hold_end_s: float | None = None
    low_s: float | None = None
    high_s: float | None = None
    incidents: int = 0
    worst_bad_share: float | None = None
    later: tuple[tuple[float, float | None], ...] = ()
    alerted: bool = False
    until_s: float | None = None

    @property
    def measurable(self) -> bool:
        """Whether anything can be said: absorbed, recovered, or watched without recovering."""
        return self.recovered or self.censored_s is not None
