"""Quantities as people write them: 500ms, 10000/min, 99.9%, 100MB/h, 3x."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Literal

Dimension = Literal["number", "time", "rate", "share", "bytes", "byte_rate", "share_rate", "factor"]

_SECONDS = {
    "ns": 1e-9,
    "us": 1e-6,
    "µs": 1e-6,
    "ms": 1e-3,
    "s": 1.0,
    "m": 60.0,
    "min": 60.0,
    "h": 3600.0,
    "d": 86400.0,
    "w": 604800.0,
}
_BYTES = {"B": 1.0, "kB": 1e3, "KB": 1e3, "MB": 1e6, "GB": 1e9, "TB": 1e12}
_BYTES |= {"KiB": 2.0**10, "MiB": 2.0**20, "GiB": 2.0**30, "TiB": 2.0**40}
_NUMBER = r"[+-]?(?:\d[\d_]*(?:\.\d+)?|\.\d+)(?:[eE][+-]?\d+)?"
_QUANTITY = re.compile(rf"\s*({_NUMBER})\s*([A-Za-zµ%]*)(?:/([a-zµ]+))?\s*\Z")


class UnitError(ValueError):
    """A text that is not a quantity, or one of the wrong dimension."""


@dataclass(frozen=True, slots=True)
class Quantity:
    """A number with its unit; `value` is in base units (seconds, per second, share of one, bytes)."""

    value: float
    dimension: Dimension
    unit: str
    scale: float

    def shown(self, value: float) -> float:
        """A value in base units, as a number in this quantity's own unit."""
        return value / self.scale

    def format(self, value: float) -> str:
        """A value in base units, as text in this quantity's own unit."""
        shown = self.shown(value)
        return (format_percent(shown) if self.dimension == "share" else format_number(shown)) + self.unit

    def __str__(self) -> str:
        return self.format(self.value)


def _unit(symbol: str, per: str | None) -> tuple[Dimension, float]:
    if per is not None and per not in _SECONDS:
        raise UnitError(f"unknown unit of time '/{per}'")
    by = 1.0 if per is None else _SECONDS[per]
    if symbol == "":
        return ("number", 1.0) if per is None else ("rate", 1.0 / by)
    if symbol == "%":
        return ("share", 0.01) if per is None else ("share_rate", 0.01 / by)
    if symbol in _BYTES:
        return ("bytes", _BYTES[symbol]) if per is None else ("byte_rate", _BYTES[symbol] / by)
    if symbol == "x" and per is None:
        return "factor", 1.0
    if symbol in _SECONDS and per is None:
        return "time", _SECONDS[symbol]
    raise UnitError(f"unknown unit '{symbol}{'/' + per if per else ''}'")


def parse(text: str) -> Quantity:
    """Read a quantity. Raises UnitError, which says what was wrong with the text."""
    match = _QUANTITY.match(text)
    if match is None:
        raise UnitError(f"'{text}' is not a number with a unit")
    number, symbol, per = match.groups()
    dimension, scale = _unit(symbol, per)
    value = _exact(float(number.replace("_", "")), scale)
    if not math.isfinite(value):
        raise UnitError(f"'{text}' is not a finite number")
    return Quantity(value, dimension, symbol + (f"/{per}" if per else ""), scale)


def _exact(value: float, scale: float) -> float:
    """`value * scale`, as a division where that is exact: 99.9 % is 0.999 to the last bit."""
    inverse = round(1.0 / scale)
    return value / inverse if scale < 1.0 and math.isclose(inverse * scale, 1.0) else value * scale


def duration(text: object) -> float:
    """Seconds from a text such as `500ms`, `3m` or `30d`; not negative."""
    return _of(text, "time", "a duration with a unit, such as 500ms, 30s or 5m")


def rate(text: object) -> float:
    """Events per second from a text such as `50/s` or `10000/min`; not negative."""
    return _of(text, "rate", "a rate, such as 50/s or 10000/min")


_FAILURES = re.compile(rf"\s*({_NUMBER})\s*/\s*({_NUMBER})\s*([a-zµ]+)\s*\Z")


def failure_rate(text: object) -> float:
    """Failures per second from a text such as `1/720h`, `4/365d` or `2/d`; above 0."""
    wanted = "a rate of failures, such as 1/720h or 4/365d"
    match = _FAILURES.match(text) if isinstance(text, str) else None
    found = (
        _of(text, "rate", wanted)
        if match is None
        else (float(match[1]) / duration(f"{match[2]}{match[3]}") if duration(f"{match[2]}{match[3]}") > 0 else 0.0)
    )
    if not 0 < found < math.inf:
        raise UnitError(f"{text!r} is not above 0; wanted {wanted}")
    return found


def factor(text: object) -> float:
    """A multiple from a text such as `3x`; not negative."""
    return _of(text, "factor", "a multiple, such as 3x")


def share(text: object) -> float:
    """A share of one from a text such as `50%`; not negative."""
    return _of(text, "share", "a share such as 50%")


def size(value: object) -> int:
    """Bytes from a number or a text such as `256MB` or `1GiB`; not negative."""
    wanted = "a size such as 256MB or 1GiB, or a number of bytes"
    if isinstance(value, int | float) and not isinstance(value, bool):
        if not 0 <= value < math.inf:
            raise UnitError(f"{value!r} is not {wanted}")
        return int(value)
    return int(_of(value, "bytes", wanted))


def _of(text: object, dimension: Dimension, wanted: str) -> float:
    if not isinstance(text, str):
        raise UnitError(f"{text!r} is not {wanted}")
    try:
        quantity = parse(text)
    except UnitError as error:
        raise UnitError(f"{error}; wanted {wanted}") from None
    if quantity.dimension != dimension:
        raise UnitError(f"'{text}' is not {wanted}")
    if quantity.value < 0:
        raise UnitError(f"'{text}' is negative")
    return quantity.value


def format_number(value: float) -> str:
    """A number for people: up to four significant digits, no exponent for everyday sizes."""
    if math.isinf(value):
        return "∞" if value > 0 else "-∞"
    if value == 0 or 1e-3 <= abs(value) < 1e15:
        if abs(value) >= 1000 or value == int(value):
            return f"{value:.0f}"
        return _without_zeros(f"{value:.4g}")
    return f"{value:.3g}"


def format_percent(percent: float) -> str:
    """A percentage for people, without its sign: between 90 and 100 the nines count, so it has more digits."""
    if not 90 < percent < 100:
        return format_number(percent)
    texts = (f"{percent:.{digits}g}" for digits in (6, 9, 12))
    return next((_without_zeros(text) for text in texts if float(text) < 100), repr(percent))


def _without_zeros(text: str) -> str:
    return text.rstrip("0").rstrip(".") if "." in text else text


def format_seconds(seconds: float) -> str:
    """A duration for people: 340 ms, 2.4 s, 3 min 20 s, 2 h 5 min."""
    if math.isinf(seconds):
        return "∞"
    if abs(seconds) < 1:
        return f"{format_number(round(seconds * 1000, 1))} ms"
    if abs(seconds) < 120:
        return f"{format_number(round(seconds, 1))} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 120:
        return f"{minutes} min {rest} s" if rest else f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if minutes else f"{hours} h"


def write_duration(seconds: float) -> str:
    """A duration that `duration` reads back to the same float."""
    return f"{seconds!r}s"
