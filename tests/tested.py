"""Writes docs/tested.md: what the last `make test-all`, and the tests on Kubernetes, played; counts and date.

    python tests/tested.py COUNTS

COUNTS is the file to which each session added its line (FAULTLOAD_TEST_COUNTS, see tests/parts.py). The sessions in
it replace those of the page that played the same tests; the others keep their date.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "tested.md"
HEAD = """# What was tested, and when

`make test-all` plays every test but those on Kubernetes, and writes the counts here. The kill matrix has its own
page, [kill-matrix.md](kill-matrix.md). The tests on Kubernetes need a cluster that `KUBECONFIG` names:

```sh
FAULTLOAD_TEST_COUNTS=counts.jsonl python -m pytest -m kubernetes tests/kubernetes
python tests/tested.py counts.jsonl
```

| tests | passed | failed | skipped | date | commit |
|---|---:|---:|---:|---|---|
"""
_ROW = re.compile(r"^\| (?P<tests>[^|]+) \| (?P<rest>\d.*) \|$", re.MULTILINE)
_WHY = re.compile(r"^- (?P<tests>`[^`]+`: [^:]+): (?P<rest>.+)$", re.MULTILINE)


def name_of(session: Mapping[str, Any]) -> str:
    """What a session played: its folders, and the marks that chose its tests."""
    where = [Path(one).resolve() for one in session["where"]]
    folders = ", ".join(str(one.relative_to(ROOT)) if one.is_relative_to(ROOT) else one.name for one in where)
    return f"`{folders}`: {session['of']}"


def rows(sessions: Sequence[Mapping[str, Any]], when: str, commit: str) -> Iterator[tuple[str, str]]:
    """By what was played: the rest of its row."""
    for one in sessions:
        bad, skipped = one["failed"] + one["error"], sum(one["skipped"].values())
        yield name_of(one), f"{one['passed']} | {bad} | {skipped} | {when} | {commit}"


def page(old: str, sessions: Sequence[Mapping[str, Any]], when: str, commit: str) -> str:
    """The page with these sessions in it."""
    table = {found["tests"]: found["rest"] for found in _ROW.finditer(old)}
    table |= dict(rows(sessions, when, commit))
    played = {name_of(one) for one in sessions}
    why = {f["tests"]: f["rest"] for f in _WHY.finditer(old) if f["tests"] not in played}
    for one in sessions:
        if one["skipped"]:
            why[name_of(one)] = "; ".join(f"{reason} ({n})" for reason, n in sorted(one["skipped"].items()))
    text = HEAD + "".join(f"| {tests} | {rest} |\n" for tests, rest in sorted(table.items()))
    if why:
        text += "\nSkipped:\n\n" + "".join(f"- {tests}: {reasons}\n" for tests, reasons in sorted(why.items()))
    return text


def main() -> None:
    sessions = [json.loads(line) for line in Path(sys.argv[1]).read_text().splitlines()]
    commit = subprocess.run(
        ["git", "rev-parse", "--short=10", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    old = PAGE.read_text() if PAGE.exists() else ""
    PAGE.write_text(page(old, sessions, f"{datetime.now(UTC):%Y-%m-%d}", commit.stdout.strip()))
    print(f"{PAGE.relative_to(ROOT)}: {len(sessions)} sessions")


if __name__ == "__main__":
    main()
