"""`alerts:` of a scenario: alert rules of a team's own, which are replayed over the run."""

from __future__ import annotations

from functools import cached_property
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, model_validator

from faultload.spec.measures import measure_of
from faultload.spec.mistakes import MistakeAt
from faultload.spec.objective import parse_objective
from faultload.spec.scenario_types import Duration, Name, Share
from faultload.spec.term import LATENCIES, Objective, ObjectiveError
from faultload.spec.units import format_number, format_percent, format_seconds

_SHORTEST_WINDOW_S = 1.0
"""Alerts are replayed second by second."""


class AlertRule(BaseModel):
    """Fires while too many requests were bad over both windows, once that has held `for` so long.

    `objective` says which requests are watched, when one is bad, and how many may be. Too many: `burn_rate` times
    that share, or the share `threshold`. Without `short`, the long window stands alone.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    name: Name
    objective: str
    long: Duration
    short: Duration | None = None
    burn_rate: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    threshold: Share | None = None
    for_: Duration = Field(0.0, alias="for")

    @cached_property
    def parsed(self) -> Objective:
        """What it watches."""
        return parse_objective(self.objective)

    @property
    def short_s(self) -> float:
        """The shorter of its windows, in seconds."""
        return self.long if self.short is None else self.short

    @property
    def allowed(self) -> float:
        """The share of requests that its objective lets be bad."""
        allowance = measure_of(self.parsed.term).allowance(self.parsed)
        return 0.0 if allowance is None else round(float(allowance.share), 12)

    @property
    def bad_over(self) -> float | None:
        """The seconds above which a request is bad; None: only one that failed is."""
        allowance = measure_of(self.parsed.term).allowance(self.parsed)
        return None if allowance is None else allowance.over

    @property
    def too_many(self) -> float:
        """The share of bad requests above which it fires."""
        return self.threshold if self.threshold is not None else (self.burn_rate or 0.0) * self.allowed

    @property
    def shortest_outage_s(self) -> float:
        """How long a total outage lasts at least that fires it, at an even rate."""
        return self.too_many * self.long + self.for_

    @property
    def text(self) -> str:
        """The rule in words: `over 1.44 % bad in 1 h and in 5 min, for 2 min`."""
        short = "" if self.short is None else f" and in {format_seconds(self.short)}"
        wait = f", for {format_seconds(self.for_)}" if self.for_ else ""
        return f"over {format_percent(100 * self.too_many)} % bad in {format_seconds(self.long)}{short}{wait}"

    def before_the_load(self, load_s: float) -> str:
        """What it takes for granted where its long window is longer than the load; empty where it is not."""
        if self.long <= load_s:
            return ""
        clean = f"its window of {format_seconds(self.long)} is longer than the load ({format_seconds(load_s)})"
        if self.shortest_outage_s >= load_s:
            return f"{clean}, all of which could be an outage without firing it"
        return f"{clean}: what came before counts as free of bad requests, at the run's own rate"

    @model_validator(mode="after")
    def _sound(self) -> AlertRule:
        self._watches()
        for key, window_s in (("long", self.long), ("short", self.short_s)):
            if window_s < _SHORTEST_WINDOW_S:
                raise MistakeAt((key,), "a window must be at least 1s long: alerts are replayed second by second")
        if self.short_s > self.long:
            raise MistakeAt(("short",), f"the short window must not be longer than the long one ({self.long:g}s)")
        if (self.burn_rate is None) == (self.threshold is None):
            raise ValueError("give `burn_rate`, such as 14.4, or `threshold`, such as 5%, one of them")
        if not 0 < self.too_many < 1:
            key = "threshold" if self.burn_rate is None else "burn_rate"
            most = "below 100%" if self.burn_rate is None else f"below {format_number(1 / self.allowed)}"
            raise MistakeAt(
                (key,),
                f"it would fire above {format_percent(100 * self.too_many)} % bad requests, which is no share "
                f"between 0 % and 100 %: wanted a {key.replace('_', ' ')} above 0 and {most}",
            )
        return self

    def _watches(self) -> None:
        try:
            objective = self.parsed
        except ObjectiveError as error:
            raise MistakeAt(("objective",), str(error)) from None
        measure = measure_of(objective.term)
        counted = measure.of_requests(objective.term) and objective.term.measured in ("", *LATENCIES)
        if not counted or measure.allowance(objective) is None:
            raise MistakeAt(
                ("objective",),
                "an alert watches availability, error_rate, share or a quantile of latency, held against a limit "
                "that lets few requests be bad, such as availability >= 99.9%",
            )
        if objective.phase is not None or objective.statement is not None:
            raise MistakeAt(("objective",), "an alert watches the whole load: leave out `during` and `of`")
        if objective.term.selection != objective.term.filters:
            raise MistakeAt(("objective",), "an alert counts requests, and takes no stall: leave it out")
        if not 0 < self.allowed < 1:
            raise MistakeAt(("objective",), f"'{objective}' leaves no budget: wanted a limit such as 99.9%")
