"""The load side: Locust journeys on an open-model schedule, recorded; the only code that imports Locust.

Journey files can use `Journey`, `observe`, `attempt`, `acknowledge` and `verifies`. Locust is imported only when
`Journey` is used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from faultload.load.words import acknowledge, attempt, observe, verifies

if TYPE_CHECKING:
    from faultload.load.journey import Journey

__all__ = ["Journey", "acknowledge", "attempt", "observe", "verifies"]


def __getattr__(name: str) -> Any:
    if name == "Journey":
        from faultload.load.journey import Journey

        return Journey
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
