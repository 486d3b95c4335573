"""What others wrote (names, reasons, logs) commands no terminal, page or parser that shows a report."""

from __future__ import annotations

import dataclasses
import io
import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from judged import Judged
from synthetic_run import write_run

from faultload.record.directory import RunDirectory
from faultload.record.visible import visible
from faultload.report import write_reports, write_summary
from faultload.report.drawings import _svg
from faultload.report.terminal import print_verdict
from faultload.verdict.judge import judge

HOSTILE = "\x1b[2J\x1b]0;title\x07 \x00 \x9b31m \x7f \u202eSSAP \ud83d <b>\x08"
FORBIDDEN = [*map(chr, (*range(9), 11, 12, *range(14, 32), *range(127, 160))), "\u202e", "\ud83d"]
WORDS = ("objective", "why", "fault", "reasons", "name", "kind", "gate", "method", "profile", "scaled")


def hostile(value: Any, key: str = "") -> Any:
    if isinstance(value, dict):
        return {name: hostile(item, name) for name, item in value.items()}
    if isinstance(value, list):
        return [hostile(item, key) for item in value]
    return f"{value} {HOSTILE}" if key in WORDS and isinstance(value, str) else value


def raw_in(text: str) -> list[str]:
    return [repr(sign) for sign in FORBIDDEN if sign in text]


@pytest.fixture(params=["whole", "killed", "empty"])
def attacked(request: pytest.FixtureRequest, tmp_path: Path) -> Judged:
    """A run whose names, reasons, notes and logs hold all that a terminal obeys."""
    run = write_run(tmp_path / request.param, **({} if request.param == "whole" else {request.param: True}))
    run.event("note", what="late", text=HOSTILE)
    run.log("load-0").write_bytes(HOSTILE.encode(errors="surrogatepass"))
    info = run.info()
    run.update({"scenario": {**(info.scenario or {}), "description": HOSTILE, "system": f"memory{HOSTILE}"}})
    run.update({"command": ["faultload", "run", HOSTILE.replace("\ud83d", "")]})
    judgement = judge(run)
    found = hostile({"reasons": ["x"], **judgement.verdict})
    return run, dataclasses.replace(judgement, verdict=found)


def test_no_report_holds_a_control_character(attacked: Judged) -> None:
    run, judgement = attacked
    write_reports(run, judgement)
    write_summary(run.path.parent, [(run.path, judgement.verdict)])
    for folder in (run.path, run.path.parent):
        for name in ("junit.xml", "summary.md", "report.html", "verdict.json"):
            file = folder / name
            if folder == run.path or file.exists():
                assert raw_in(file.read_text()) == [], file
        ElementTree.parse(folder / "junit.xml")
    assert "\ufffd[2J" in (run.path / "summary.md").read_text().replace("\\", "")
    json.loads((run.path / "verdict.json").read_text())


def test_the_terminal_is_commanded_by_nobody(attacked: Judged) -> None:
    run, judgement = attacked
    stream = io.StringIO()
    print_verdict(judgement.verdict, run.path, stream)
    assert raw_in(stream.getvalue()) == [] and "\r" not in stream.getvalue()


def test_a_result_file_is_utf_8_and_clean_whoever_made_its_text(tmp_path: Path) -> None:
    run = RunDirectory.create(tmp_path / "run")
    file = run.write_text("report.html", f"ü∞{HOSTILE}\n\tend")
    assert raw_in(file.read_text(encoding="utf-8")) == []
    assert file.read_text(encoding="utf-8").startswith("ü∞\ufffd[2J") and file.read_text().endswith("\n\tend")


def test_a_figure_with_such_a_name_is_drawn() -> None:
    figure = pytest.importorskip("matplotlib.figure").Figure()
    figure.suptitle(HOSTILE.replace("\ud83d", ""))
    assert raw_in(_svg(figure, "x", "caption")) == []


def test_text_in_any_language_stays() -> None:
    text = "Größe 秘密 🔑 עברית عربى a\tb\r\n100 µs – ∞ ✓"
    assert visible(text) == text
