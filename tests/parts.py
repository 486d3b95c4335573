"""A part of the tests that are too many for every commit: `pytest -m long --part 3/7`.

The tests are dealt to the parts by how long each took when that was last kept (`--keep-seconds`), so that all parts
take about as long; CI plays the part whose turn it is by the number of commits. Tests that are not `long` are in
every part, and so are those marked `round`: they choose by that number themselves. What failed is named with the
command that plays it again.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

KEPT = Path(__file__).parent / "seconds.json"
ROUND_ENV = "FAULTLOAD_TEST_ROUND"
COUNTS_ENV = "FAULTLOAD_TEST_COUNTS"
"""A file to which every session adds a line of its counts: tests/tested.py makes a page of them."""
_UNKNOWN_S = 3.0
_WORTH_KEEPING_S = 1.0


def round_number() -> int:
    """The number of commits, unless the environment names another round; 0 where there is no history."""
    if named := os.environ.get(ROUND_ENV):
        return int(named)
    argv = ["git", "rev-list", "--count", "HEAD"]
    done = subprocess.run(argv, cwd=KEPT.parent, capture_output=True, text=True, check=False)
    return int(done.stdout) if done.returncode == 0 else 0


def _part(text: str) -> tuple[int, int]:
    """`3/7`, or `turn/7` for the part whose turn it is."""
    which, _, of = text.partition("/")
    try:
        parts = int(of)
        part = round_number() % parts + 1 if which == "turn" else int(which)
    except (ValueError, ZeroDivisionError):
        raise argparse.ArgumentTypeError(f"{text!r} is not PART/PARTS, such as 3/7 or turn/7") from None
    if not 1 <= part <= parts:
        raise argparse.ArgumentTypeError(f"there is no part {part} of {parts}")
    return part, parts


def deal(names: dict[str, float], parts: int, *, last_first: bool = False) -> dict[str, int]:
    """A part from 1 for every test, by its seconds: the longest first, each to the part that has least so far.

    Of parts that have as little the first, or with `last_first` the last.
    """
    numbers = range(1, parts + 1)
    filled = dict.fromkeys(reversed(numbers) if last_first else numbers, 0.0)
    dealt = {}
    for name in sorted(names, key=lambda one: (-names[one], hashlib.sha256(one.encode()).digest())):
        dealt[name] = min(filled, key=lambda part: filled[part])
        filled[dealt[name]] += names[name]
    return dealt


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--part", type=_part, metavar="K/M", help="only the Kth of M parts; turn/M: by commits")
    parser.addoption("--last-first", action="store_true", help="the longest tests go to the last parts")
    parser.addoption("--none-is-fine", action="store_true", help="a part that has no test is no failure")
    parser.addoption("--keep-seconds", action="store_true", help=f"keep how long each test took in {KEPT.name}")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    wanted: tuple[int, int] | None = config.getoption("--part")
    if wanted is None:
        return
    kept = json.loads(KEPT.read_text()) if KEPT.exists() else {}
    dealt_out = [one for one in items if one.get_closest_marker("long") and not one.get_closest_marker("round")]
    free = {one.nodeid: kept.get(one.nodeid, _UNKNOWN_S) for one in dealt_out}
    dealt = deal(free, wanted[1], last_first=config.getoption("--last-first"))
    left_out = [item for item in items if dealt.get(item.nodeid, wanted[0]) != wanted[0]]
    items[:] = [item for item in items if dealt.get(item.nodeid, wanted[0]) == wanted[0]]
    config.hook.pytest_deselected(items=left_out)


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    if exitstatus == pytest.ExitCode.NO_TESTS_COLLECTED and session.config.getoption("--none-is-fine"):
        session.exitstatus = pytest.ExitCode.OK


def _counts(terminalreporter: Any, config: pytest.Config) -> dict[str, Any]:
    """What a session played: its folders, how many tests ended how, and why any was skipped."""
    stats = terminalreporter.stats
    reasons = Counter(one.longrepr[2].removeprefix("Skipped: ") for one in stats.get("skipped", ()))
    return {
        "where": config.args,
        "of": config.getoption("-m") or "all",
        **{kind: len(stats.get(kind, ())) for kind in ("passed", "failed", "error")},
        "skipped": dict(reasons),
    }


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    reports = [one for found in terminalreporter.stats.values() for one in found if hasattr(one, "duration")]
    bad = [one.nodeid for kind in ("failed", "error") for one in terminalreporter.stats.get(kind, ())]
    for name in dict.fromkeys(bad):
        terminalreporter.write_line(f'again: {ROUND_ENV}={round_number()} python -m pytest "{name}"')
    counts = os.environ.get(COUNTS_ENV)
    if counts and not hasattr(config, "workerinput"):
        with Path(counts).open("a") as file:
            file.write(json.dumps(_counts(terminalreporter, config)) + "\n")
    if config.getoption("--keep-seconds"):
        took: dict[str, float] = {}
        for one in reports:
            took[one.nodeid] = took.get(one.nodeid, 0.0) + one.duration
        kept = json.loads(KEPT.read_text()) if KEPT.exists() else {}
        kept |= {name: round(seconds, 1) for name, seconds in took.items() if seconds >= _WORTH_KEEPING_S}
        KEPT.write_text(json.dumps(dict(sorted(kept.items())), indent=0) + "\n")
