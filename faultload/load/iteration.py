"""A running iteration and its requests."""

from __future__ import annotations

from typing import Any

KEY = "faultload"
"""Where a request's context carries its `Call`, or the iteration for a client that we do not know."""


class Iteration:
    """One task execution of a user, from claiming a slot to the next wait."""

    __slots__ = ("claimed", "failed", "intended_ns", "journey", "requests", "slip_us", "variant", "waited_us")

    def __init__(
        self, journey: str, variant: str | None, intended_ns: int, waited_us: int = 0, slip_us: int = 0
    ) -> None:
        self.journey = journey
        self.variant = variant
        self.intended_ns = intended_ns
        self.waited_us = waited_us
        self.slip_us = slip_us
        self.claimed = False
        self.requests = 0
        self.failed: str | None = None

    def intended(self, started_ns: int) -> int:
        """The intended start of the next request: the slot's for the first, its own start for later ones."""
        if self.claimed:
            return started_ns
        self.claimed = True
        return min(self.intended_ns, started_ns)


class Call:
    """One request, from its start to its event."""

    __slots__ = ("ended_ns", "intended_ns", "iteration", "name", "recorded", "started_ns")

    def __init__(self, iteration: Iteration | None, name: str, started_ns: int) -> None:
        self.iteration = iteration
        self.name = name
        self.started_ns = started_ns
        self.intended_ns = started_ns if iteration is None else iteration.intended(started_ns)
        self.ended_ns = 0
        self.recorded = False


def call_of(context: dict[str, Any] | None) -> Call | Iteration | None:
    """What a request's context carries of ours."""
    found = context.get(KEY) if context else None
    return found if isinstance(found, Call | Iteration) else None
