"""The fault matrix: what is wrong with the machine x when; afterwards the target is as before and nothing dangles.

    python tests/fault_matrix.py --all [--write docs/fault-matrix.md]
    python tests/fault_matrix.py --round 7
    python tests/fault_matrix.py --sample 5 --seed 1 [--troubles "run folder full" SIGHUP] [--moments undo]

`before`: the load runs, the fault is due in a few seconds. `active`: the fault is there and was witnessed. `undo`:
the journal says UNDOING, nothing is undone yet.
"""

from __future__ import annotations

import math
import os
import random
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from fault_cell import MOMENTS, FaultCell, Played, play
from fault_troubles import TROUBLES, cannot
from kill_matrix import parser_of, part_of, put_part, run_cells, sampled

KINDS = ("pause", "latency")
"""Dealt to the cells by turns: a frozen process, and a rule in the link proxy."""
CELLS = [
    FaultCell(trouble, moment, KINDS[(row + column) % len(KINDS)])
    for row, trouble in enumerate(TROUBLES)
    for column, moment in enumerate(MOMENTS)
]


SIZE = 2
"""Cells of a round: each takes half a minute or more, most of it waiting."""
ROUNDS = math.ceil(len(CELLS) / SIZE)


def round_of(number: int) -> list[FaultCell]:
    """The cells of a round, in an order that is drawn anew when all have come."""
    turn, step = divmod(number, ROUNDS)
    order = random.Random(turn).sample(CELLS, len(CELLS))
    return order[step * SIZE : (step + 1) * SIZE]


def play_cells(cells: Sequence[FaultCell]) -> list[Played]:
    """Play those that can be played on this machine; the others are named."""
    able = []
    for cell in cells:
        why = cannot(cell.trouble)
        if why is None:
            able.append(cell)
        else:
            print(f"      {cell} left out: {why}", flush=True)
    results = run_cells(able, "local", play=play)
    return [result for result in results if isinstance(result, Played)]


def row(trouble: str, results: Sequence[Played], kept: str | None) -> str:
    """A row of the table; a moment that was not played now keeps what it had."""
    parts = [""] * len(MOMENTS) if kept is None else [part.strip() for part in kept.split("|")[2:-1]]
    for result in results:
        if result.cell.trouble == trouble:
            took = f"{result.seconds:.0f} s, {result.by}, " if result.seconds and result.by else ""
            parts[MOMENTS.index(result.cell.moment)] = (
                f"{took}exit {result.code}" if result.ok else f"BAD: {took}exit {result.code}"
            )
    return f"| {trouble} | {' | '.join(parts)} |"


def write(page: Path, results: Sequence[Played]) -> None:
    """Put what was played into the page's table; what was not stays."""
    kept = {line.split("|")[1].strip(): line for line in part_of(page, "") if line.startswith("| ")}
    put_part(page, "", table(results, kept))


def table(results: Sequence[Played], kept: Mapping[str, str]) -> list[str]:
    """The rows in order of the troubles."""
    rows = [row(trouble, results, kept.get(trouble)) for trouble in TROUBLES]
    return [f"| from then on | {' | '.join(MOMENTS)} |", "|---|---|---|---|", *rows]


def main() -> int:
    """Entry of the script; exit code 1 when a cell is bad."""
    parser = parser_of(__doc__, MOMENTS)
    parser.add_argument("--troubles", nargs="+", metavar="TROUBLE", choices=list(TROUBLES))
    parser.add_argument("--write", type=Path, metavar="FILE", help="keep what was played in docs/fault-matrix.md")
    options = parser.parse_args()
    if not options.all and options.sample is None and options.troubles is None and options.round is None:
        parser.error("say --all, --round N, --sample N or --troubles ...")
    wanted = options.troubles or list(TROUBLES)
    cells = [cell for cell in CELLS if cell.trouble in wanted and cell.moment in options.moments]
    if options.round is not None:
        cells = [cell for cell in round_of(options.round) if cell in cells]
    cells = sampled(cells, options)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # whatever is started is ended
    results = play_cells(cells)
    print("\n".join(["", *table(results, {})]))
    if options.write is not None:
        write(options.write, results)
    return 0 if all(result.ok for result in results) else 1


if __name__ == "__main__":
    os.environ.pop("FAULTLOAD_RUN", None)
    sys.exit(main())
