"""What the notebooks share: tables, and estimates as text. The numbers come from the library."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from IPython.display import Markdown

from faultload_analysis.evidence.verdict import Estimate

_UNITS = ((86400.0, "d"), (3600.0, "h"), (60.0, "min"), (1.0, "s"), (1e-3, "ms"))

Text = Callable[[float], str]


def seconds(value: float | None) -> str:
    """A duration in a unit that fits: 12 ms, 2.4 s, 15 min."""
    if value is None or math.isinf(value):
        return "–" if value is None else "∞"
    size, unit = next((one for one in _UNITS if abs(value) >= one[0]), _UNITS[-1])
    return f"{value / size:.3g} {unit}"


def share(value: float | None) -> str:
    """A share of one in percent."""
    return "–" if value is None else f"{value * 100:.4g} %"


def rate(value: float | None) -> str:
    """Events per second."""
    return "–" if value is None else f"{value:.4g}/s"


def count(value: float) -> str:
    """A whole number with thousands apart."""
    return f"{value:,.0f}"


def shown(estimate: Estimate, text: Text = seconds) -> str:
    """A value with its two one-sided 95 % bounds, such as "12 ms [10 ms, 15 ms]"; an open end is –."""
    value, low, high = (_text(x, text) for x in (estimate.value, estimate.low, estimate.high))
    return f"{value} [{low}, {high}]"


def _text(value: float | None, text: Text) -> str:
    if value is None:
        return "–"
    return "∞" if math.isinf(value) else text(value)


def table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> Markdown:
    """A table, as a notebook shows it."""
    lines = [header, ["---"] * len(header), *rows]
    return Markdown(  # type: ignore[no-untyped-call]
        "\n".join(f"| {' | '.join(_cell(cell) for cell in line)} |" for line in lines)
    )


def _cell(value: object) -> str:
    return "–" if value is None else str(value).replace("|", "\\|").replace("\n", " ")
