"""The whole table: every kind of traffic, statistic and number of requests, played in parts that resume.

What was played stands in a file of JSON lines: the truth of a kind once, then a line for each part of a cell.
"""

from __future__ import annotations

import json
import math
import subprocess
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cells import STATISTICS, Cell, Tally, Truth, played
from kinds import KINDS
from named import NAMED

LENGTHS = (20, 60, 200, 2_000, 20_000, 200_000)
LONGEST, LONG_RUNS_SHARE = 200_000, 0.2
PARTS = 20
PROMISE, NOISE = 0.05, 3.08
"""A cell is above its promise beyond 5 % and 3.08 standard deviations: 6.5 % of 2,000 runs, 8.4 % of 400."""
FEWEST_TO_JUDGE = 50


@dataclass(frozen=True, slots=True)
class Part:
    """Some of the runs of a cell."""

    kind: str
    n: int
    part: int
    runs: int


def parts(kinds: Iterable[str], lengths: Sequence[int], runs: int) -> Iterator[Part]:
    """The parts of a table: a part of every cell before the next part of any, the short runs first."""
    names = list(kinds)
    for part in range(PARTS):
        for n in sorted(lengths):
            of_cell = runs if n < LONGEST else math.ceil(runs * LONG_RUNS_SHARE)
            some = of_cell * (part + 1) // PARTS - of_cell * part // PARTS
            if some:
                yield from (Part(name, n, part, some) for name in names)


@dataclass
class Kept:
    """What was played: by kind the truth, by kind and number of requests the parts; and seeds, days and commits."""

    truths: dict[str, Truth] = field(default_factory=dict)
    parts: dict[Part, Cell] = field(default_factory=dict)
    seeds: set[int] = field(default_factory=set)
    days: set[str] = field(default_factory=set)
    commits: set[str] = field(default_factory=set)

    @classmethod
    def read(cls, file: Path | None) -> Kept:
        """Read a file of results, if there is one. A last line that was cut off is left out; others raise."""
        kept = cls()
        lines = file.read_text(encoding="utf-8").split("\n") if file is not None and file.exists() else []
        for line in lines[:-1]:
            kept.take(json.loads(line))
        return kept

    def take(self, record: dict[str, Any]) -> None:
        if "truth" in record:
            self.truths[record["kind"]] = Truth(record["truth"], record["over"])
            return
        self.seeds.add(record["seed"])
        self.days.add(record["day"])
        self.commits.add(record["commit"])
        self.parts[Part(record["kind"], record["n"], record["part"], record["runs"])] = Cell.from_json(record)

    def cells(self) -> dict[tuple[str, int], Cell]:
        """The parts of each cell together."""
        joined: dict[tuple[str, int], Cell] = {}
        for part, cell in self.parts.items():
            key = part.kind, part.n
            joined[key] = joined[key].joined(cell) if key in joined else cell
        return joined


def play(wanted: Iterable[Part], seed: int, file: Path | None, statistics: Sequence[str] = STATISTICS) -> Kept:
    """Play the parts that `file` does not hold yet and add each to it.

    ValueError if it holds another seed, or other statistics.
    """
    kept = Kept.read(file)
    if kept.seeds - {seed}:
        raise ValueError(f"{file} holds runs of seed {', '.join(map(str, kept.seeds))}, not {seed}")
    if any(cell.tallies.keys() != kept.truths[cell.kind].judges(statistics).keys() for cell in kept.parts.values()):
        raise ValueError(f"{file} holds other statistics")
    commit = _commit()

    def keep(record: dict[str, Any]) -> None:
        kept.take(record)
        if file is not None:
            _append(file, json.dumps(record))

    for part in wanted:
        if part in kept.parts:
            continue
        kind = KINDS[part.kind]
        if part.kind not in kept.truths:
            truth = Truth.of(kind)
            keep({"kind": part.kind, "truth": truth.values, "over": truth.over})
        cell = played(kind, kept.truths[part.kind], part.n, part.runs, (seed, part.part), statistics)
        day = datetime.now(UTC).strftime("%Y-%m-%d")
        keep({**cell.as_json(), "part": part.part, "seed": seed, "day": day, "commit": commit})
    return kept


def _append(file: Path, line: str) -> None:
    """Add a line, after cutting off one that was not finished."""
    with file.open("ab+") as lines:
        lines.seek(0)
        text = lines.read()
        lines.truncate(text.rfind(b"\n") + 1)
        lines.write(line.encode() + b"\n")


def _commit() -> str:
    asked = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"],
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
        check=False,
    )
    return asked.stdout.strip() or "unknown"


def most(runs: int) -> float:
    """The share of `runs` runs beyond which a cell is above its promise."""
    return PROMISE + NOISE * math.sqrt(PROMISE * (1.0 - PROMISE) / runs)


@dataclass(frozen=True, slots=True)
class Share:
    """How often a statistic was wrong at the truth, of the runs that count."""

    count: int
    of: int

    @property
    def above_promise(self) -> bool:
        return self.of >= FEWEST_TO_JUDGE and self.count > most(self.of) * self.of


def shares_at_truth(cell: Cell, tally: Tally) -> tuple[Share, Share]:
    """PASS and FAIL at the truth of the runs with ten events.

    Where fewer than half of the runs hold so many, those that do hold more events than usual, and miss the truth
    rightly more often: FAIL is counted of all runs there, but where next to none hold so many.
    """
    unusual = FEWEST_TO_JUDGE <= cell.enough < cell.runs / 2
    failed = Share(tally.failed, cell.runs) if unusual else Share(tally.failed_with_events, cell.enough)
    return Share(tally.passed_with_events, cell.enough), failed


def broken(kept: Kept) -> list[str]:
    """The cells above their promise whose kind the promise does not name."""
    return [
        f"{cell.kind}, {name}, n {cell.n}: {word} in {share.count / share.of:.1%} of {share.of} runs"
        for cell in kept.cells().values()
        for name, tally in cell.tallies.items()
        for word, share in zip(("PASS", "FAIL"), shares_at_truth(cell, tally), strict=True)
        if share.above_promise and (cell.kind, name) not in NAMED
    ]


def text(kept: Kept, of: Sequence[Part]) -> Iterator[str]:
    """The table of these parts as Markdown, with what was not played."""
    cells = kept.cells()
    wanted = {(part.kind, part.n): 0 for part in of}
    for part in of:
        wanted[part.kind, part.n] += part.runs
    whole = sum(key in cells and cells[key].runs >= of_cell for key, of_cell in wanted.items())
    played_of = wanted.keys() & cells.keys()
    seeds, days = ", ".join(map(str, sorted(kept.seeds))), " and ".join(sorted(kept.days))
    yield f"{len(wanted)} cells of {max(wanted.values())} runs (a fifth at n {LONGEST}), seed {seeds}, played on"
    yield f"{days} with {', '.join(sorted(kept.commits))}: {whole} are whole, {len(played_of) - whole} hold fewer"
    yield f"runs, {len(wanted) - len(played_of)} were not played."
    yield ""
    names = [name for name in STATISTICS if any(name in cell.tallies for cell in cells.values())]
    head = ("kind", "n", "runs", "hold 10 events", "hold none", *names)
    yield f"| {' | '.join(head)} |"
    yield "|" + "---|" * len(head)
    for (kind, n), _ in sorted(wanted.items(), key=lambda item: (list(KINDS).index(item[0][0]), item[0][1])):
        if (kind, n) in cells:
            yield f"| {' | '.join(row(cells[kind, n], names))} |"


def row(cell: Cell, names: Iterable[str] = STATISTICS) -> list[str]:
    """The cell's shares in percent: PASS and FAIL at the truth as the promise counts them; of the others PASS."""
    statistics = [_shares(cell, cell.tallies.get(name)) for name in names]
    has_events = f"{cell.enough / cell.runs:.2f}", f"{cell.none / cell.runs:.2f}"
    return [cell.kind, f"{cell.n}", f"{cell.runs}", *has_events, *statistics]


def _shares(cell: Cell, tally: Tally | None) -> str:
    if tally is None:
        return ""
    few = cell.runs - cell.enough
    said = []
    if cell.enough >= FEWEST_TO_JUDGE:
        said.append(" / ".join(map(_percent, shares_at_truth(cell, tally))))
    if few:
        said.append(f"({100 * (tally.passed - tally.passed_with_events) / few:.0f})")
    return " ".join(said)


def _percent(share: Share) -> str:
    text = f"{100 * share.count / share.of:.1f}"
    return f"**{text}**" if share.above_promise else text


def power_text(cell: Cell) -> str:
    """How often it passes at multiples of the truth, in words."""
    shares = (
        f"{name} " + ", ".join(f"{passed / of:.2f} at {times} x" for times, (of, passed) in tally.off.items() if of)
        for name, tally in cell.tallies.items()
    )
    return f"PASS: {'; '.join(shares)}."
