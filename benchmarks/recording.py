"""What recording costs a load process: a request as it is recorded, and a second as it is counted and written.

A row is packed in the event loop, where its cost adds to every request. What is counted and digested of a second
is so in a thread of its own, a batch at a time.

    python benchmarks/recording.py --rate 1000 5000
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from faultload.load.columns import Columns

_ROUNDS = 50


def processor_us(act: Callable[[], object]) -> float:
    """Processor time of this process in microseconds, the least of some rounds."""
    least = float("inf")
    for _ in range(_ROUNDS):
        begun = time.process_time_ns()
        act()
        least = min(least, (time.process_time_ns() - begun) / 1e3)
    return least


def measure(rate: int, folder: Path) -> tuple[float, float, float]:
    """Microseconds: to record a request, to count a second of them, and to write it."""
    table = Columns(folder, "samples", 0)

    def record() -> None:
        code = table.code
        for i in range(rate):
            due = 3_000_000_000 + i * 1_000_000_000 // rate
            table.add(
                due, due + 50_000, 4_000 + i % 997, code("GET /"), code("Visit"), code(None), code("ok"), 200, 512
            )

    recording = processor_us(record) / rate
    table.take()
    record()
    batch = table.take()
    found = recording, processor_us(lambda: batch.entries("samples")), processor_us(lambda: table.write(batch))
    table.close()
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rate", type=int, nargs="+", default=[1000, 5000], help="requests a second")
    print("| requests/s | to record one (µs) | to count a second (µs) | to write it (µs) |")
    print("|---:|---:|---:|---:|")
    for rate in parser.parse_args().rate:
        with tempfile.TemporaryDirectory() as folder:
            each, counting, writing = measure(rate, Path(folder))
        print(f"| {rate:,} | {each:.2f} | {counting:.0f} | {writing:.0f} |", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
