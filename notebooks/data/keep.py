"""Keeps what a notebook needs of a run: `python notebooks/data/keep.py RUN_DIR NAME [--without TABLE ...]`.

The copy stands beside this file under NAME and is read like any other run directory. It holds run.json, the
events, the fault journal, what became of the writes, and the tables, smaller: no keys of writes, no status codes,
no sizes of answers. Whatever names a machine, a person or a path is left out; a copy that still does is refused.

The recordings here, from the repository's root:

    failover    faultload run scenarios/memory/database_failover.yaml
    capacity    faultload run scenarios/memory/capacity.yaml
                (kept --without observations metrics writes)
    builds/*    a ramp of 3 s and 20 s at 60 iterations a second of the same journeys, in turn base-1, new-1,
                base-2, ...; the new build has `--defect cache-off` (kept --without writes)
"""

from __future__ import annotations

import argparse
import getpass
import json
import re
import shutil
import socket
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

HERE = Path(__file__).parent
TABLES = ("samples", "iterations", "observations", "metrics", "writes")
FORGOTTEN_KEYS = ("file", "command", "machine", "secrets", "started_target")
FORGOTTEN_COLUMNS = {"samples": ("status", "bytes"), "writes": ("key",)}
LARGEST_BYTES = 1_200_000
_ROOTS = "etc|home|media|mnt|opt|private|root|run|srv|tmp|usr|Users|var|work"
_PATH = re.compile(rf"(?<![\w.:/])(/(?:{_ROOTS})/[^\s'\",;]*)")
_DRIVE = re.compile(r"\b[A-Za-z]:\\[^\s'\",;]*")


def main() -> None:
    parser = argparse.ArgumentParser(description="Keep a run for the notebooks.")
    parser.add_argument("run", type=Path, help="a finished run directory")
    parser.add_argument("name", help="the name of the copy, such as failover or builds/base-1")
    parser.add_argument("--without", nargs="*", default=[], choices=TABLES, help="tables to leave out")
    asked = parser.parse_args()
    target = (HERE / asked.name).resolve()
    if HERE.resolve() not in target.parents:
        sys.exit(f"{asked.name} does not lie in {HERE.name}/")
    if not (asked.run / "run.json").is_file() or any(asked.run.glob("*.arrows")):
        sys.exit(f"{asked.run} is not a finished run directory")
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    try:
        keep(asked.run, target, [table for table in TABLES if table not in asked.without])
        refuse_traces(target, asked.run)
    except BaseException:
        shutil.rmtree(target)
        raise
    total = sum(path.stat().st_size for path in target.iterdir())
    if total > LARGEST_BYTES:
        shutil.rmtree(target)
        sys.exit(
            f"{asked.name} would be {total:,} bytes, more than {LARGEST_BYTES:,}: leave tables out, or run shorter"
        )
    print(f"{asked.name}: {total:,} bytes")


def keep(run: Path, target: Path, tables: list[str]) -> None:
    """Copy a run directory, cleaned."""
    info = json.loads((run / "run.json").read_text())
    info = {key: value for key, value in info.items() if key not in FORGOTTEN_KEYS}
    for load in (info.get("load", {}), info["scenario"].get("load", {})):
        if "journeys" in load:
            load["journeys"] = relative(str(load["journeys"]))
    (target / "run.json").write_text(json.dumps(cleaned(info), indent=1) + "\n")
    for name in ("events.jsonl", "faults.jsonl"):
        if (run / name).exists():
            lines = [json.loads(line) for line in (run / name).read_text().splitlines()]
            kept = [cleaned({**line, "undo": {}} if "undo" in line else line) for line in lines]
            (target / name).write_text("".join(json.dumps(line, separators=(",", ":")) + "\n" for line in kept))
    if "writes" in tables and (run / "writes.json").exists():
        checks = json.loads((run / "writes.json").read_text())
        for one in checks.get("checks", []):
            one["missing"] = one.get("missing", [])[:3]
        (target / "writes.json").write_text(json.dumps(cleaned(checks)) + "\n")
    for table in tables:
        for path in sorted([*run.glob(f"{table}-*.parquet"), *run.glob(f"{table}.parquet")]):
            keep_table(path, target / path.name, FORGOTTEN_COLUMNS.get(table, ()))


def keep_table(path: Path, target: Path, forgotten: tuple[str, ...]) -> None:
    """Copy a table with the same columns and order; `forgotten` ones are empty."""
    table = pq.read_table(path)
    for name in forgotten:
        at = table.schema.get_field_index(name)
        table = table.set_column(at, table.schema.field(at), pa.nulls(len(table), table.schema.field(at).type))
    text = [field.name for field in table.schema if pa.types.is_string(field.type)]
    whole = [field.name for field in table.schema if pa.types.is_integer(field.type)]
    pq.write_table(
        table.replace_schema_metadata(None),
        target,
        compression="zstd",
        compression_level=19,
        use_dictionary=text,
        column_encoding=dict.fromkeys(whole, "DELTA_BINARY_PACKED"),
        data_page_version="2.0",
        store_schema=False,
    )


def relative(path: str) -> str:
    """A path as it would be written in a scenario: its last two parts."""
    return "/".join(Path(path).parts[-2:])


def cleaned(value: Any) -> Any:
    """A JSON value with every path of a machine replaced by its last part."""
    if isinstance(value, str):
        return _DRIVE.sub("a file", _PATH.sub(lambda found: Path(found[1]).name, value))
    if isinstance(value, dict):
        return {key: cleaned(item) for key, item in value.items()}
    return [cleaned(item) for item in value] if isinstance(value, list) else value


def refuse_traces(target: Path, run: Path) -> None:
    """Exit when a kept text, also in a table, names this machine, its user or a path."""
    traces = {socket.gethostname(), str(Path.home()), str(Path.cwd()), str(run.resolve())} - {"localhost"}
    if getpass.getuser() != "root":  # a word of its own too
        traces.add(getpass.getuser())
    words = re.compile("|".join(rf"(?<![\w-]){re.escape(one)}(?![\w-])" for one in traces if len(one) > 1))
    for path in sorted(target.iterdir()):
        for text in texts(path):
            if found := _PATH.search(text) or _DRIVE.search(text) or words.search(text):
                sys.exit(f"{path.name} still names {found[0]}")


def texts(path: Path) -> list[str]:
    """Every text of a kept file."""
    if path.suffix != ".parquet":
        return path.read_text().splitlines()
    table = pq.read_table(path)
    columns = [field.name for field in table.schema if pa.types.is_string(field.type)]
    return [text for name in columns for text in pc.unique(table[name]).to_pylist() if text is not None]


if __name__ == "__main__":
    main()
