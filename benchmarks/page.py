"""Tables kept in a page of docs/, between two marks."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path


def keep(path: Path, what: str, lines: Iterable[str]) -> None:
    """Replace what lies between the marks of `what` in `path`. ValueError when it has none."""
    begin, end = f"<!-- {what}, generated in benchmarks/ -->", f"<!-- end of {what} -->"
    page = path.read_text(encoding="utf-8")
    before, begun, rest = page.partition(begin)
    _, ended, after = rest.partition(end)
    if not (begun and ended):
        raise ValueError(f"{path} has no marks {begin} and {end}")
    path.write_text(f"{before}{begin}\n\n" + "\n".join(lines) + f"\n\n{end}{after}", encoding="utf-8")
