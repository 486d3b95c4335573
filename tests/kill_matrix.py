"""The kill matrix: every fault kind x who dies x when; afterwards the target is as before and nothing dangles.

    python tests/kill_matrix.py --all [--platform local] [--write docs/kill-matrix.md]
    python tests/kill_matrix.py --all --platform trees|workers|supervisor
    python tests/kill_matrix.py --round 7 [--platform docker]
    python tests/kill_matrix.py --sample 20 --seed 1 [--kinds kill pause]

The moments are exact: the chaos process stops itself (FAULTLOAD_PAUSE_AT), is killed or goes on. `inject`: the
effect is there, the journal says INJECTING. `active`: it was witnessed. `undo`: the journal says UNDOING, nothing
is undone yet.
"""

from __future__ import annotations

import argparse
import math
import os
import random
import signal
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime
from itertools import repeat
from pathlib import Path
from typing import TypeVar

sys.path.insert(0, str(Path(__file__).parent))

from kill_worlds import DatabaseWorld, LocalWorld, SupervisedWorld, TreeWorld, WorkerWorld, World  # isort: skip
from kill_cell import MOMENTS, VICTIMS, Cell, Played, Result, play
from standin import Workspace

from faultload.faults import faults_of


def _worlds(platform: str) -> tuple[type[World], ...]:
    """The stand-ins of a platform; those in containers import the engine's client."""
    if platform == "local":
        return LocalWorld, DatabaseWorld
    if platform in VARIANTS:
        return (VARIANTS[platform],)
    from kill_docker import DockerDatabaseWorld, DockerWorld

    return DockerWorld, DockerDatabaseWorld


def _world_of(platform: str, kind: str) -> type[World]:
    return next(world for world in _worlds(platform) if kind in world.shows)


_HANDFUL = 9
"""At most so many cells one process plays on one stand-in before it takes the next."""
_STARTS = 3
"""How often a stand-in is tried to be started before its cell is bad."""
C = TypeVar("C", bound=Played)
AnyCell = TypeVar("AnyCell")
VARIANTS: dict[str, type[World]] = {"trees": TreeWorld, "workers": WorkerWorld, "supervisor": SupervisedWorld}
"""Local targets of another kind: process trees, one worker of them, a supervisor beside them."""
PLATFORMS = ("local", "docker", *VARIANTS)
EVERY = {"local": 1, "docker": 5, **dict.fromkeys(VARIANTS, 1)}
"""A kind is played in every round on local, in every fifth on docker, where a cell takes longer."""


def cells_of(kinds: Iterable[str]) -> list[Cell]:
    """Every cell of these kinds."""
    return [Cell(kind, victims, moment) for kind in kinds for victims in VICTIMS for moment in MOMENTS]


def run_side_by_side(cells: Sequence[Cell], platform: str, jobs: int) -> list[Result]:
    """Play cells in several processes, each with folders, ports and a state folder of its own."""
    size = min(_HANDFUL, math.ceil(len(cells) / jobs))
    handfuls = [group[at : at + size] for group in _grouped(cells) for at in range(0, len(group), size)]
    with ProcessPoolExecutor(jobs) as pool:
        parts = list(pool.map(run_cells, handfuls, repeat(platform), repeat(_say)))
    return sorted((result for part in parts for result in part), key=lambda result: cells.index(result.cell))


def _say(text: str) -> None:
    print(text, flush=True)


def run_cells(
    cells: Sequence[C],
    platform: str,
    say: Callable[[str], None] = _say,
    play: Callable[[C, World, Workspace], Result] = play,
) -> list[Result]:
    """Play cells one after another, each kind's on one stand-in; a failed cell gets a new one."""
    results: list[Result] = []
    for number, group in enumerate(_grouped(cells)):
        left = list(group)
        starts = 0
        while left:
            with tempfile.TemporaryDirectory(prefix=f"kill-matrix-{number}-") as folder:
                workspace = Workspace(Path(folder))
                world: World | None = None
                try:
                    try:
                        world = _world_of(platform, left[0].kind)(workspace)
                        starts = 0
                    except Exception as error:  # noqa: BLE001 - it says nothing of the cell: tried again, at last bad
                        starts += 1
                        say(f"      {left[0]} the stand-in did not start: {error}")
                        if starts == _STARTS:
                            results.append(Result(left.pop(0), wrong=["the stand-in did not start"]))
                            starts = 0
                    while world is not None and left:
                        result = play(left.pop(0), world, workspace)
                        results.append(result)
                        say(f"{len(results):4}/{len(cells)}  {_line(result)}")
                        if not result.ok:
                            break
                finally:
                    try:
                        workspace.end()
                    finally:
                        if world is not None:
                            world.end()
    return results


def _grouped(cells: Sequence[C]) -> list[list[C]]:
    groups: dict[str, list[C]] = {}
    for cell in cells:
        groups.setdefault(cell.kind, []).append(cell)
    return list(groups.values())


def _line(result: Result) -> str:
    took = "" if result.seconds is None else f"{result.seconds:5.1f} s by {result.by}"
    return f"{result.cell} {'ok  ' if result.ok else 'BAD '} {took} {'; '.join(result.wrong)}".rstrip()


def rows(results: Sequence[Result]) -> dict[str, str]:
    """The counts as rows of a Markdown table, one a kind."""
    found = {}
    for kind in dict.fromkeys(result.cell.kind for result in results):
        of = [result for result in results if result.cell.kind == kind]
        times = [result.seconds for result in of if result.seconds is not None]
        by = Counter(result.by for result in of if result.by)
        slowest, median = (f"{max(times):.1f} s", f"{statistics.median(times):.1f} s") if times else ("", "")
        who = ", ".join(f"{name} {count}" for name, count in sorted(by.items()))
        found[kind] = f"| `{kind}` | {len(of)} | {sum(one.ok for one in of)} | {slowest} | {median} | {who} |"
    return found


def table(counted: Mapping[str, str], platform: str) -> list[str]:
    """The rows in the order of the vocabulary, and their sum."""
    ordered = [counted[kind] for kind in kinds_shown(platform) if kind in counted]
    cells, good = (sum(int(row.split("|")[column]) for row in ordered) for column in (2, 3))
    return [
        f"| {platform}: fault | cells | as before | slowest | median | undone by |",
        "|---|---|---|---|---|---|",
        *ordered,
        f"| all | {cells} | {good} | | | |",
    ]


def kinds_shown(platform: str) -> list[str]:
    """The kinds that the platform makes, all of which some stand-in can show; of a variant, those it is about."""
    if platform in VARIANTS:
        return [kind for kind in faults_of("local") if kind in VARIANTS[platform].shows]
    made = list(faults_of(platform))
    missing = [kind for kind in made if not any(kind in world.shows for world in _worlds(platform))]
    if missing:
        raise LookupError(f"no stand-in on {platform} shows {', '.join(missing)}")
    return made


def round_of(platform: str, number: int) -> list[Cell]:
    """The cells of a round: a Latin square of kinds, victims and moments, one cell a kind.

    All cells come round in 18 rounds on local, in 90 on docker.
    """
    every = EVERY[platform]
    turn, due = divmod(number, every)
    found = []
    for row, kind in enumerate(kinds_shown(platform)):
        if row % every == due:
            step = row // every
            _, victims = divmod(turn + step, len(VICTIMS))
            moment = (turn // len(VICTIMS) + step) % len(MOMENTS)
            found.append(Cell(kind, VICTIMS[victims], MOMENTS[moment]))
    return found


def failures(results: Iterable[Result]) -> list[str]:
    """The bad cells, each with what is wrong."""
    return [f"{one.cell}: {one.wrong}" for one in results if not one.ok]


def parser_of(description: str | None, moments: Sequence[str]) -> argparse.ArgumentParser:
    """The options by which cells of a matrix are chosen."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--all", action="store_true", help="every cell")
    parser.add_argument("--sample", type=int, metavar="N", help="so many cells, chosen by --seed")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--round", type=int, metavar="N", help="the cells that CI plays in this round")
    parser.add_argument("--moments", nargs="+", choices=moments, default=moments)
    return parser


def sampled(cells: list[AnyCell], options: argparse.Namespace) -> list[AnyCell]:
    """The cells, or so many of them as `--sample` says, in their order."""
    if options.sample is None:
        return cells
    chosen = random.Random(options.seed).sample(cells, min(options.sample, len(cells)))
    return sorted(chosen, key=cells.index)


def main() -> int:
    """Entry of the script; exit code 1 when a cell is bad."""
    parser = parser_of(__doc__, MOMENTS)
    parser.add_argument("--kinds", nargs="+", metavar="KIND")
    parser.add_argument("--platform", default="local", choices=PLATFORMS)
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="cells played side by side")
    parser.add_argument("--write", type=Path, metavar="FILE", help="keep the counts in docs/kill-matrix.md")
    options = parser.parse_args()
    if not options.all and options.sample is None and options.kinds is None and options.round is None:
        parser.error("say --all, --round N, --sample N or --kinds ...")
    if options.write is not None and (
        options.sample is not None or options.round is not None or tuple(options.moments) != MOMENTS
    ):
        parser.error("--write keeps whole kinds: leave out --round, --sample and --moments")
    kinds = [kind for kind in kinds_shown(options.platform) if options.kinds is None or kind in options.kinds]
    cells = [cell for cell in cells_of(kinds) if cell.moment in options.moments]
    if options.round is not None:
        cells = [cell for cell in round_of(options.platform, options.round) if cell in cells]
    cells = sampled(cells, options)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # whatever is started is ended
    started = time.monotonic()
    results = (
        run_side_by_side(cells, options.platform, options.jobs)
        if options.jobs > 1
        else run_cells(cells, options.platform)
    )
    counted = rows(results)
    minutes = (time.monotonic() - started) / 60
    print("\n".join(["", *table(counted, options.platform), "", f"{len(cells)} cells in {minutes:.0f} min"]))
    if options.write is not None:
        write(options.write, options.platform, counted)
    return 0 if all(result.ok for result in results) else 1


def write(page: Path, platform: str, counted: Mapping[str, str]) -> None:
    """Put the rows of the kinds that were played into the platform's part of the page; the others stay."""
    kept = {row.split("`")[1]: row for row in part_of(page, f": {platform}") if row.startswith("| `")}
    put_part(page, f": {platform}", table({**kept, **counted}, platform))


def part_of(page: Path, which: str) -> list[str]:
    """The lines between a page's marks for a table."""
    text = page.read_text()
    return text[text.index(f"<!-- matrix{which} -->") : text.index(f"<!-- end{which} -->")].splitlines()


def put_part(page: Path, which: str, lines: Sequence[str]) -> None:
    """Put a table and today's date between a page's marks."""
    text = page.read_text()
    start, end = (text.index(f"<!-- {mark}{which} -->") for mark in ("matrix", "end"))
    part = [f"<!-- matrix{which} -->", "", f"Last played on {datetime.now(UTC):%Y-%m-%d}.", "", *lines, "", ""]
    page.write_text(text[:start] + "\n".join(part) + text[end:])


if __name__ == "__main__":
    os.environ.pop("FAULTLOAD_RUN", None)
    sys.exit(main())
