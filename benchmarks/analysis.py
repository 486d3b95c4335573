"""How long a full verdict takes and how much memory it needs, by the number of requests in the record.

Writes a synthetic run directory (sealed Parquet, one request a millisecond, four requests in two journeys, one load
process, one iteration for two requests, three faults of 20 s), judges it in a process of its own with
objectives of every kind that reads requests, and prints time, peak memory and both per request. The limits
are those the project holds itself to: 5 s and 1 GB for ten million requests, 30 s and 2 GB for a hundred
million; the exit code is 1 when one is missed.

    python benchmarks/analysis.py                       # 1 and 10 million
    python benchmarks/analysis.py --millions 1 10 100   # the hundred needs 1.5 GB of disk for a while
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from faultload.record.counts import Entry, Tally, count_rows
from faultload.record.directory import RunDirectory
from faultload.record.lines import append_line
from faultload.record.sealed import parquet_writer
from faultload.record.tables import SCHEMAS
from faultload.spec.profile import scale
from faultload.spec.scenario import Scenario

RATE = 1000.0
START_S = 2.0
CHUNK = 1_000_000
REQUESTS = ("GET /memories/search", "POST /memories/", "GET /analytics/insights/{user}", "GET /health")
JOURNEYS = ("RememberAndSearch", "Insights")
OUTCOMES = ("ok", "http_error", "timeout")
OUTAGE_S = 20.0
LIMITS = {10: (5.0, 1.0), 100: (30.0, 2.0)}
OBJECTIVES = [
    "p99(latency) <= 500ms during baseline",
    "p99.9(latency) <= 2s",
    'p95(latency, request="POST /memories/") <= 20ms during baseline',
    "p95(service_time, journey=Insights) <= 40ms",
    "mean(latency) <= 100ms during baseline",
    "availability >= 99.9% during baseline",
    "error_rate <= 5%",
    "budget(99.9%, 30d) <= 90%",
    "burn_rate(99%) <= 1 during baseline",
    "throughput >= 900/s during baseline",
    "iterations(failed) <= 1000000",
    "ratio(p50(latency, journey=Insights), p50(latency, journey=RememberAndSearch)) <= 2",
    "ttr(cut) <= 25s",
    "mttr <= 60s",
]


def write_run(path: Path, count: int, workers: int = 1) -> None:
    """A sealed run directory with `count` requests; made in chunks, so that it needs little memory itself."""
    duration = count / RATE
    faults = [round(duration * share) for share in (0.25, 0.5, 0.75)]
    run = RunDirectory.create(path)
    scenario = {
        "name": "benchmark",
        "target": {"url": "http://127.0.0.1:8080"},
        "load": {"journeys": "loadtests/memory.py", "rate": [{"step": f"{RATE / 2}/s", "for": f"{duration}s"}]},
        "faults": [
            {
                "name": "cut",
                "experiment": "experiments/memory/partition_api_db.yaml",
                "at": f"{faults[0]}s",
                "repeat": {"count": 3, "every": f"{faults[1] - faults[0]}s"},
            }
        ],
        "objectives": OBJECTIVES,
    }
    scaled = scale(Scenario.model_validate(scenario), "full").scenario
    stages = [stage.to_json() for stage in scaled.load.stages]
    run.begin(
        {
            "scenario": scaled.to_json(),
            "profile": "full",
            "scaled": {},
            "seed": 1,
            "load": {"stages": stages, "workers": workers},
        }
    )
    outages = [(START_S + at, START_S + at + OUTAGE_S) for at in faults]
    for worker in range(workers):
        _count(run, worker, _write_tables(run.path, worker, count // workers, duration, outages))
    for k, (start, end) in enumerate(outages, start=1):
        _write_fault(run, k, start, end)
    for n, second in enumerate(range(int(START_S) + 1, int(START_S + duration) + 2)):
        for worker in range(workers):
            told = {"loop_lag_p99_ms": 1.1, "cpu_percent": 34.0, "users": 12}
            run.event("health", t=float(second), worker=worker, n=n, **told)
    run.update({"load_start_s": START_S, "load_end_s": START_S + duration, "duration_s": duration, "ended": "now"})


def _count(run: RunDirectory, worker: int, held: Mapping[str, Tally]) -> None:
    """What the load process would have said of its tables: an event a second."""
    by_second: dict[int, dict[str, list[Entry]]] = {}
    for table, tally in held.items():
        for entry in tally.entries():
            by_second.setdefault(entry[0], {})[table] = [entry]
    for n, second in enumerate(sorted(by_second)):
        run.event("count", t=second + 1.0, worker=worker, n=n, rows=by_second[second], health=n)
    run.event("count", worker=worker, n=len(by_second), health=len(by_second), last=True)


def _write_tables(
    path: Path, worker: int, count: int, duration: float, outages: list[tuple[float, float]]
) -> Mapping[str, Tally]:
    held = {"samples": Tally(), "iterations": Tally()}
    rng = np.random.default_rng(worker)
    with _writer(path, "samples", worker) as samples, _writer(path, "iterations", worker) as iterations:
        for low, size in _pieces(count):
            times = START_S + np.sort(rng.uniform(low, low + size, size)) / count * duration
            down = np.zeros(size, dtype=np.bool_)
            for start, end in outages:
                down |= (times >= start) & (times < end)
            failed = np.where(down, rng.random(size) < 0.9, rng.random(size) < 1e-4)
            service = (rng.lognormal(np.log(0.008), 0.45, size) * 1e6).astype(np.int64)
            slip = rng.exponential(3e-4, size)
            intended = (times * 1e9).astype(np.int64)
            journey = (rng.random(size) < 0.2).astype(np.int32)
            outcome = np.where(failed, rng.integers(1, 3, size), 0).astype(np.int32)
            columns = {
                "intended_ns": intended,
                "started_ns": intended + (slip * 1e9).astype(np.int64),
                "service_us": service,
                "request": _text(rng.choice(4, size, p=[0.6, 0.25, 0.1, 0.05]), REQUESTS),
                "journey": _text(journey, JOURNEYS),
                "variant": pa.nulls(size, pa.string()),
                "outcome": _text(outcome, OUTCOMES),
                "status": np.where(failed, 503, 200).astype(np.int16),
                "bytes": rng.integers(200, 2000, size).astype(np.int32),
            }
            samples.write_table(pa.table(columns, schema=SCHEMAS["samples"]), row_group_size=CHUNK)
            held["samples"].extend(count_rows("samples", {**columns, "outcome": outcome}, OUTCOMES))
            every = slice(None, None, 2)
            columns = {
                "intended_ns": intended[every],
                "ended_ns": intended[every] + 2000 * service[every],
                "waited_us": np.zeros(intended[every].size, np.int64),
                "slip_us": (slip[every] * 1e6).astype(np.int64),
                "journey": _text(journey[every], JOURNEYS),
                "variant": pa.nulls(intended[every].size, pa.string()),
                "outcome": _text(outcome[every], OUTCOMES),
            }
            iterations.write_table(pa.table(columns, schema=SCHEMAS["iterations"]), row_group_size=CHUNK)
            held["iterations"].extend(count_rows("iterations", columns))
    return held


def _pieces(count: int) -> Iterator[tuple[int, int]]:
    for low in range(0, count, CHUNK):
        yield low, min(CHUNK, count - low)


def _text(codes: Any, names: tuple[str, ...]) -> Any:
    return pa.array(names, pa.string()).take(pa.array(np.asarray(codes), pa.int32()))


def _writer(path: Path, table: str, worker: int) -> pq.ParquetWriter:
    return parquet_writer(path / f"{table}-{worker}.parquet", SCHEMAS[table], compression_level=1)


def _write_fault(run: RunDirectory, k: int, start: float, end: float) -> None:
    run.event("gate", t=start - 0.2, fault="cut", k=k, passed=True, why="")
    for state, t in (("INJECTING", start), ("ACTIVE", start + 0.1), ("UNDOING", end - 0.1), ("UNDONE", end)):
        line = {"t": t, "fault": "cut", "k": k, "state": state, "kind": "partition", "platform": "local"}
        rest = {"target_id": "t", "instances": [], "undo": {}, "max_duration_s": OUTAGE_S, "by": "chaos"}
        append_line(run.faults_path, line | rest)
    run.event("witness", t=start + 0.3, fault="cut", k=k, of="there", seen=True, what="no answer")
    run.event("witness", t=end + 0.1, fault="cut", k=k, of="gone", seen=True, what="answers")


def judge_here(path: Path) -> dict[str, Any]:
    """Judge a run in this process; seconds, and the peak of memory in bytes."""
    begun = time.perf_counter()
    from faultload.verdict.judge import judge

    judgement = judge(RunDirectory.existing(path))
    seconds = time.perf_counter() - begun
    peak = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return {
        "seconds": seconds,
        "peak": int(peak.split()[1]) * 1024,
        "verdict": judgement.verdict["verdict"],
        "objectives": [(one["objective"], one["verdict"], one["n"]) for one in judgement.verdict["objectives"]],
        "bins": int(judgement.overview.timeline.total.size),
        "counted": judgement.overview.count,
    }


def measure(millions: int, workers: int, runs: int) -> list[dict[str, Any]]:
    """Judge a run of so many million requests, each time in a new process."""
    folder = Path(tempfile.mkdtemp(prefix="faultload-benchmark-"))
    try:
        write_run(folder / "run", millions * 1_000_000, workers)
        command = [sys.executable, __file__, "--judge", str(folder / "run")]
        found = []
        for _ in range(runs):
            begun = time.perf_counter()
            text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
            found.append(json.loads(text) | {"wall": time.perf_counter() - begun})
        return found
    finally:
        shutil.rmtree(folder)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--millions", type=int, nargs="+", default=[1, 10], help="requests, in millions")
    parser.add_argument("--workers", type=int, default=1, help="load processes, each with files of its own")
    parser.add_argument("--runs", type=int, default=3, help="how often each is judged")
    parser.add_argument("--judge", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.judge is not None:
        print(json.dumps(judge_here(options.judge)))
        return 0
    print("| requests | verdict | judged in (s) | with the start of Python (s) | peak (GB) | µs a request |")
    print("|---|---|---|---|---|---|")
    missed = []
    for millions in options.millions:
        found = measure(millions, options.workers, options.runs)
        times = sorted(one["seconds"] for one in found)
        wall = max(one["wall"] for one in found)
        peak = max(one["peak"] for one in found) / 1e9
        assert all(one["counted"] == millions * 1_000_000 for one in found)
        print(
            f"| {millions},000,000 | {found[0]['verdict']} | {times[0]:.2f} to {times[-1]:.2f} | {wall:.2f} "
            f"| {peak:.2f} | {times[0] / millions:.3f} |",
            flush=True,
        )
        most_s, most_gb = LIMITS.get(millions, (float("inf"), float("inf")))
        if wall > most_s or peak > most_gb:
            limit = f"allowed are {most_s:g} s and {most_gb:g} GB"
            missed.append(f"{millions} million: {wall:.1f} s and {peak:.2f} GB, {limit}")
    print(*missed, sep="\n")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
