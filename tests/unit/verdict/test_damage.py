"""A record that lost, doubled or changed something is never judged as if it were whole."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from faultload.cli import main
from faultload.errors import InvalidInput
from faultload.record import tables
from faultload.record.complete import missing_parts
from faultload.record.directory import RunDirectory
from faultload.record.measured import read_measured
from faultload.record.sealed import parquet_writer, seal
from faultload.spec.stages import Stage
from faultload.verdict.judge import judge
from tests.helpers.counted import count

NS = 1_000_000_000
READERS = {
    "samples": "p50(latency) <= 500ms",
    "iterations": "iterations(failed) == 0",
    "observations": "mean(cache_hit) >= 0.5",
    "writes": "lost_writes == 0",
    "metrics": "max(rss) <= 100MB",
}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sealed run of 40 s by two workers, 20 requests a second each, in which everything went well."""
    run = RunDirectory.create(tmp_path_factory.mktemp("whole") / "run")
    write(run)
    seal(run.path)
    return run.path


def write(run: RunDirectory) -> None:
    scenario = {
        "name": "whole",
        "target": {"url": "http://127.0.0.1:8080"},
        "load": {"journeys": "j.py", "rate": [{"step": "40/s", "for": "40s"}]},
        "objectives": list(READERS.values()),
    }
    stages = [Stage("step", 0, 40, 40, 40).to_json()]
    run.begin({"scenario": scenario, "load": {"stages": stages, "workers": 2}, "load_start_s": 2.0})
    for worker in (0, 1):
        due = 2.0 + np.arange(800) / 20 + 0.025 * worker
        _table(run, worker, due)
        for n in range(40):
            told = {"loop_lag_p99_ms": 1.0, "cpu_percent": 20.0, "p50_ms": 5.0}
            run.event("health", t=3.0 + n, worker=worker, n=n, **told)
    at = np.arange(2, 42) * NS
    values = 5e7 + 1e6 * np.random.default_rng(3).normal(size=40)
    names = {"service": ["api"] * 40, "instance": ["api-0"] * 40, "name": ["rss_bytes"] * 40}
    _write(run, "metrics", None, {"t_ns": at, **names, "value": values})
    count(run, health=40)
    checks = [{"name": "api", "missing_count": 0, "missing": []}]
    run.write_checks_path.write_text(json.dumps({"acknowledged": 1600, "indeterminate": 0, "checks": checks}))
    run.update({"ended": 45.0, "duration_s": 45.0})


def _table(run: RunDirectory, worker: int, due: Any) -> None:
    at = np.round(due * 1e9).astype(np.int64)
    n = at.size
    service_us = np.random.default_rng(worker).integers(4000, 6000, n)
    texts = {"journey": ["Visit"] * n, "variant": [None] * n, "outcome": ["ok"] * n}
    zeros = np.zeros(n, np.int64)
    samples = {"started_ns": at, "service_us": service_us, "request": ["GET /"] * n, **texts}
    _write(run, "samples", worker, {"intended_ns": at, **samples, "status": zeros + 200, "bytes": zeros})
    ended = at + 1000 * service_us
    iterations = {"ended_ns": ended, "waited_us": zeros, "slip_us": zeros, **texts}
    _write(run, "iterations", worker, {"intended_ns": at, **iterations})
    told = {"name": ["cache_hit"] * n, "value": np.ones(n), "journey": ["Visit"] * n, "variant": [None] * n}
    _write(run, "observations", worker, {"t_ns": ended, **told})
    _write(
        run, "writes", worker, {"t_ns": ended, "key": [f"k{i}" for i in range(n)], "state": ["acknowledged"] * n}
    )


def _write(run: RunDirectory, table: str, worker: int | None, columns: dict[str, Any]) -> None:
    writer = tables.TableWriter(run.path, table, worker)
    for first in range(0, len(columns["name" if table == "metrics" else next(iter(columns))]), 200):
        writer.write({name: values[first : first + 200] for name, values in columns.items()})
    writer.close()


@pytest.fixture
def run(whole: Path, tmp_path: Path) -> RunDirectory:
    return RunDirectory(Path(shutil.copytree(whole, tmp_path / "run")))


def rewritten(path: Path, change: Callable[[pa.Table], pa.Table]) -> None:
    """Write a sealed table anew with other rows, as whole a file as before."""
    with pq.ParquetFile(path) as file:
        table = change(file.read())
    with parquet_writer(path, table.schema) as writer:
        writer.write_table(table)


def every_second(table: pa.Table) -> pa.Table:
    return table.take(pa.array(range(0, table.num_rows, 2)))


def hole(table: pa.Table) -> pa.Table:
    times = table.column(0)
    inside = pc.and_(pc.greater_equal(times, 10 * NS), pc.less(times, 20 * NS))
    return table.filter(pc.invert(inside))


def doubled(table: pa.Table) -> pa.Table:
    return pa.concat_tables([table, table]).sort_by(table.column_names[0])


def faster(table: pa.Table) -> pa.Table:
    place = table.column_names.index("service_us")
    return table.set_column(place, "service_us", pc.divide(table["service_us"], 2))


def verdicts(run: RunDirectory) -> tuple[str, dict[str, str], str]:
    """The verdict of a run and of each of its objectives by table, and all reasons in one text."""
    found = judge(run).verdict
    each = dict(zip(READERS, (one["verdict"] for one in found["objectives"]), strict=True))
    said = [*found["reasons"], *(one["why"] for one in found["objectives"]), *found.get("missing", ())]
    return found["verdict"], each, "\n".join(said)


def test_a_whole_record_passes_and_lacks_nothing(run: RunDirectory) -> None:
    found = judge(run).verdict
    assert {one["verdict"] for one in found["objectives"]} == {"PASS"}, found["objectives"]
    assert (found["verdict"], found["exit_code"], found["reasons"]) == ("PASS", 0, [])
    assert "missing" not in found


@pytest.mark.parametrize(
    ("table", "change", "said"),
    [
        ("samples", every_second, "samples-1: 400 of 800 rows are missing, between 2 and 42 s"),
        ("samples", hole, "samples-1: 200 of 800 rows are missing, between 10 and 20 s of the run, in 10 seconds"),
        ("samples", doubled, "samples-1: 800 rows more than load-1 counted"),
        ("samples", faster, "samples-1: 800 rows are not those that load-1 counted"),
        ("iterations", every_second, "iterations-1: 400 of 800 rows are missing"),
        ("observations", every_second, "observations-1: 400 of 800 rows are missing"),
        ("observations", hole, "observations-1: 200 of 800 rows are missing, between 10 and 20 s"),
        ("writes", every_second, "writes-1: 400 of 800 rows are missing"),
        ("metrics", every_second, "metrics: 20 of 40 rows are missing"),
        ("metrics", hole, "metrics: 10 of 40 rows are missing, between 10 and 20 s"),
    ],
)
def test_rows_that_are_gone_doubled_or_changed_are_named(
    run: RunDirectory, table: str, change: Callable[[pa.Table], pa.Table], said: str
) -> None:
    rewritten(run.path / f"{table}{'' if table == 'metrics' else '-1'}.parquet", change)
    verdict, each, text = verdicts(run)
    assert verdict == "INVALID" and said in text
    concerned = set(READERS) - {"writes", "metrics"} if table in ("samples", "iterations") else {table}
    assert {name for name, one in each.items() if one == "INVALID"} >= {table}
    if table not in ("samples", "iterations"):
        assert {name for name, one in each.items() if one != "PASS"} == concerned


@pytest.mark.parametrize("table", READERS)
def test_a_table_that_is_gone_makes_invalid_what_reads_it(run: RunDirectory, table: str) -> None:
    name = "metrics" if table == "metrics" else f"{table}-1"
    (run.path / f"{name}.parquet").unlink()
    verdict, each, text = verdicts(run)
    assert (verdict, each[table]) == ("INVALID", "INVALID")
    assert f"{name} is gone, or empty: {40 if table == 'metrics' else 800} rows are missing" in text


def test_the_whole_ledger_or_all_observations_may_be_gone_and_nothing_else_is_said_of(run: RunDirectory) -> None:
    for path in [*run.path.glob("writes-*.parquet"), *run.path.glob("observations-*.parquet")]:
        path.unlink()
    verdict, each, _ = verdicts(run)
    wanted = {"samples": "PASS", "iterations": "PASS", "metrics": "PASS"}
    assert (verdict, each) == ("INVALID", {**wanted, "observations": "INVALID", "writes": "INVALID"})


def test_the_file_of_one_worker_in_the_place_of_anothers_is_no_record_of_it(run: RunDirectory) -> None:
    """The same number of rows in each second, and the same objectives would be judged."""
    shutil.copy(run.path / "samples-0.parquet", run.path / "samples-1.parquet")
    verdict, _, text = verdicts(run)
    assert verdict == "INVALID" and "samples-1: 800 rows are not those that load-1 counted" in text


def test_rows_of_a_worker_that_never_was_are_of_nobody(run: RunDirectory) -> None:
    shutil.copy(run.path / "samples-0.parquet", run.path / "samples-2.parquet")
    verdict, _, text = verdicts(run)
    assert verdict == "INVALID" and "samples-2 holds 800 rows that nobody counted" in text


def of(line: dict[str, Any], kind: str, worker: int | None) -> bool:
    """Whether a line is of a kind and of a worker; of the telemetry without one."""
    return line["kind"] == kind and line.get("worker") == worker


def _without(run: RunDirectory, gone: Callable[[int, dict[str, Any]], bool]) -> None:
    """Take lines out of events.jsonl."""
    lines = run.events_path.read_text().splitlines(keepends=True)
    run.events_path.write_text("".join(line for n, line in enumerate(lines) if not gone(n, json.loads(line))))


@pytest.mark.parametrize(
    ("gone", "said"),
    [
        (lambda n, line: of(line, "health", 0) and n % 2, "lacks 20 of the 40 health events of load-0"),
        (lambda n, line: of(line, "health", 1), "lacks 40 of the 40 health events of load-1"),
        (lambda n, line: of(line, "count", 1) and line["n"] == 3, "lacks 1 of the 41 counts of load-1"),
        (lambda n, line: of(line, "count", 0) and line["last"], "load-0 never said that it was done"),
        (lambda n, line: line["kind"] == "count", "events.jsonl has no count of what load-0 wrote"),
        (lambda n, line: True, "events.jsonl has no count of what load-1 wrote"),
    ],
)  # fmt: skip
def test_events_that_are_gone_are_missed(
    run: RunDirectory, gone: Callable[[int, dict[str, Any]], bool], said: str
) -> None:
    _without(run, gone)
    verdict, _, text = verdicts(run)
    assert verdict == "INVALID" and said in text


def test_a_line_that_cannot_be_read_is_damage_unless_a_crash_tore_the_last_one(run: RunDirectory) -> None:
    whole = run.events_path.read_bytes()
    run.events_path.write_bytes(whole + b'{"t": 45.0, "kind": "no')
    assert verdicts(run)[0] == "PASS"
    lines = whole.splitlines(keepends=True)
    lines[4] = lines[4].replace(b'"kind"', b'"ki\x00d')
    run.events_path.write_bytes(b"".join(lines))
    verdict, _, text = verdicts(run)
    assert verdict == "INVALID" and "events.jsonl is damaged in 1 line: 5" in text
    run.events_path.write_bytes(whole)
    run.faults_path.write_bytes(b"half a line\n")
    assert "faults.jsonl is damaged in 1 line: 1" in verdicts(run)[2]


@pytest.mark.parametrize("table", READERS)
def test_flipped_bits_in_a_page_are_damage_of_that_file(run: RunDirectory, table: str) -> None:
    path = run.path / ("metrics.parquet" if table == "metrics" else f"{table}-0.parquet")
    with pq.ParquetFile(path) as file:
        pages = file.metadata.row_group(0).column(0)
    data = bytearray(path.read_bytes())
    data[pages.data_page_offset + pages.total_compressed_size - 3] ^= 4
    path.write_bytes(data)
    with pytest.raises(InvalidInput, match=rf"{path.name}: cannot be read: .*(CRC|checksum)"):
        judge(run)


@pytest.mark.parametrize("damaged", ["samples-0.parquet", "run.json"])
def test_a_report_that_fails_names_the_file_and_takes_the_old_verdict_away(
    run: RunDirectory, damaged: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    results = {"verdict.json", "junit.xml", "summary.md", "report.html"}
    for name in results:
        (run.path / name).write_text("PASS")
    run.update({"verdict": "PASS"})
    (run.path / damaged).write_bytes((run.path / damaged).read_bytes()[:-40])
    monkeypatch.setattr("sys.argv", ["faultload", "report", str(run.path)])
    with pytest.raises(SystemExit) as left:
        main()
    assert left.value.code == 2 and damaged in capsys.readouterr().err
    assert not {path.name for path in run.path.iterdir()} & {
        "verdict.json",
        "junit.xml",
        "summary.md",
        "report.html",
    }
    if damaged != "run.json":
        assert run.info().verdict is None


def test_telemetry_that_ends_too_early_makes_invalid_what_reads_the_rest(run: RunDirectory) -> None:
    _without(run, lambda n, line: of(line, "count", None) and line["t"] > 20)
    rewritten(run.path / "metrics.parquet", lambda table: table.slice(0, 18))
    verdict, each, text = verdicts(run)
    assert {name for name, one in each.items() if one != "PASS"} == {"metrics"}
    assert (
        verdict == "INVALID" and "the telemetry never said that it was done: what it recorded after 20.0 s" in text
    )


def test_half_of_a_stream_is_sealed_as_half_and_its_rest_is_kept(tmp_path: Path) -> None:
    run = RunDirectory.create(tmp_path / "run")
    write(run)
    live = run.path / "samples-1.arrows"
    data = bytearray(live.read_bytes())
    data[len(data) // 2] ^= 255
    data[len(data) // 2 + 1 : len(data) // 2 + 60] = bytes(59)
    live.write_bytes(data)
    seal(run.path)
    verdict, _, text = verdicts(run)
    assert verdict == "INVALID" and "samples-1: " in text and "of 800 rows are missing" in text
    assert (run.path / "samples-1.arrows.torn").read_bytes() == data


def test_a_run_under_way_is_not_held_against_what_was_counted_while_it_was_read(tmp_path: Path) -> None:
    run = RunDirectory.create(tmp_path / "run")
    write(run)
    run.update({"ended": None})
    measured = read_measured(run)
    (run.path / "samples-1.arrows").unlink()
    run.event("count", worker=1, n=42)
    assert missing_parts(run, measured) == []


def test_of_a_killed_run_what_it_wrote_is_still_held_against_its_counts(tmp_path: Path) -> None:
    run = RunDirectory.create(tmp_path / "run")
    write(run)
    run.update({"ended": None})
    _without(run, lambda n, line: line["kind"] == "count" and line["last"])
    assert missing_parts(run, read_measured(run)) == []
    (run.path / "samples-1.arrows").unlink()
    (missing,) = missing_parts(run, read_measured(run))
    assert missing.text.startswith("samples-1 is gone, or empty: 800 rows are missing")


def test_a_record_of_before_it_counted_is_judged_as_it_was(run: RunDirectory) -> None:
    rewritten(run.path / "samples-1.parquet", every_second)
    _without(run, lambda n, line: line["kind"] == "count")
    run.update({"record": 1})
    found = judge(run).verdict
    assert "missing" not in found and not [one for one in found["reasons"] if "count" in one]


# -- what the telemetry could not see


@pytest.mark.parametrize(("service", "concerned"), [("api", True), (None, True), ("db", False)])
def test_what_the_telemetry_could_not_see_makes_invalid_what_reads_it(
    run: RunDirectory, service: str | None, concerned: bool
) -> None:
    run.event("note", t=10.0, what="sampler", service=service, state="failed", text="could not be sampled: why not")
    run.event("note", t=16.0, what="sampler", service=service, state="again", text="")
    run.event("note", t=20.0, what="sampler", service=service, state="failed", text="not for long")
    run.event("note", t=21.0, what="sampler", service=service, state="again", text="")
    scenario = dict(run.info().scenario or {})
    run.update({"scenario": {**scenario, "objectives": ["max(rss, service=api) <= 100MB"]}})
    (one,) = judge(run).verdict["objectives"]
    assert "not for long" not in one["why"]
    assert (one["verdict"] == "INVALID", "could not be sampled: why not (until 16.0 s)" in one["why"]) == (
        concerned,
        concerned,
    )


def test_seconds_in_which_nobody_looked_are_a_gap(run: RunDirectory) -> None:
    lines = [json.loads(line) for line in run.events_path.read_text().splitlines()]
    for line in lines:
        if of(line, "count", None) and 10 < line["t"] < 20:
            line["t"] = 10.0
    run.events_path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    verdict, each, text = verdicts(run)
    assert (verdict, each["metrics"], each["samples"]) == ("INVALID", "INVALID", "PASS")
    assert "no instance was sampled between 10.0 and 20.0 s of the run" in text
