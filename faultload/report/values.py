"""The values in verdict.json as text for people: a missing one is –, an infinite one ∞."""

from __future__ import annotations

import math
from collections.abc import Sequence

from faultload.spec.units import format_number, format_percent, format_seconds

MISSING = "–"


def number(value: object) -> float | None:
    """A value of verdict.json as a float: "inf" is infinite; None, NaN and anything else is missing."""
    if value in ("inf", "-inf"):
        return math.inf if value == "inf" else -math.inf
    if isinstance(value, bool) or not isinstance(value, int | float) or math.isnan(value):
        return None
    return float(value)


def quantity(value: object, unit: str = "") -> str:
    """A number in its unit as scenarios write it: 31.2ms, 99.97%."""
    known = number(value)
    if known is None:
        return MISSING
    text = format_percent(known) if unit == "%" else format_number(known)
    return text + (unit if math.isfinite(known) else "")


def interval(bounds: object, unit: str = "") -> str:
    """Two one-sided bounds; an open end is –."""
    if not isinstance(bounds, Sequence) or isinstance(bounds, str) or len(bounds) != 2:
        return MISSING
    if bounds[0] is None and bounds[1] is None:
        return MISSING
    return f"[{quantity(bounds[0], unit)}, {quantity(bounds[1], unit)}]"


def seconds(value: object) -> str:
    """A duration: 340 ms, 2.4 s, 3 min 20 s."""
    known = number(value)
    return MISSING if known is None else format_seconds(known)


def moment(value: object) -> str:
    """A moment on the run's clock, to a tenth of a second."""
    known = number(value)
    return MISSING if known is None else f"{known:.1f} s"


def share(value: object) -> str:
    """A share of one in percent."""
    known = number(value)
    return MISSING if known is None else quantity(known * 100, "%")


def rate(value: object) -> str:
    """Events per second, to a tenth."""
    known = number(value)
    return MISSING if known is None else quantity(round(known, 1) if abs(known) >= 10 else known, "/s")


def milliseconds(value: object) -> str:
    """Milliseconds without the unit, for a column that names it."""
    return quantity(value)


def count(value: object) -> str:
    """A whole number with thousands apart."""
    known = number(value)
    if known is None or math.isinf(known):
        return quantity(known)
    return f"{known:,.0f}" if known == round(known) or abs(known) >= 1000 else format_number(known)


def size(value: object) -> str:
    """A number of bytes."""
    known = number(value)
    if known is None:
        return MISSING
    for limit, unit in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if abs(known) >= limit:
            return f"{format_number(round(known / limit, 1))} {unit}"
    return f"{known:.0f} B"
