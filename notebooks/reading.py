"""What the notebooks share: tables, and estimates as text. The numbers come from the library."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from IPython.display import Markdown

from faultload.report.values import seconds
from faultload_analysis.evidence.verdict import Estimate

Text = Callable[[float], str]


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
