"""The verdict on a terminal and in Markdown: in words, complete, with the missed objective by name."""

from __future__ import annotations

import io
import math
from pathlib import Path
from typing import Any

import pytest
from judged import Judged

from faultload.report import values, wording, write_summary
from faultload.report.markdown import render_summary
from faultload.report.terminal import print_verdict

MISSED = 'p99(latency, request="POST /memories/") <= 20ms during baseline'


def printed(verdict: dict[str, Any], path: Path, encoding: str = "utf-8") -> str:
    buffer = io.BytesIO()
    stream = io.TextIOWrapper(buffer, encoding=encoding)
    print_verdict(verdict, path, stream)
    stream.flush()
    return buffer.getvalue().decode(encoding)


def test_the_missed_objective_is_named_on_its_line(whole: Judged) -> None:
    text = printed(whole[1].verdict, whole[0].path)
    assert f"FAIL  {MISSED}\n    P99 of latency" in text
    assert any(line.startswith("✗ FAIL") and MISSED in line for line in text.splitlines())


def test_the_last_line_is_the_verdict_and_where_the_report_is(whole: Judged, monkeypatch: Any) -> None:
    monkeypatch.chdir(whole[0].path.parent.parent)
    last = printed(whole[1].verdict, whole[0].path).splitlines()[-1]
    path = whole[0].path.relative_to(Path.cwd())
    assert last == f"FAIL  {path}  (report: {path}/report.html)"


def test_recovery_writes_and_generator_are_told(whole: Judged) -> None:
    text = printed(whole[1].verdict, whole[0].path)
    for part in ("db-failover#1", "215.7 ms", "recovered", "not injected: service db has 1 of 2", "0 lost"):
        assert part in text
    assert "generator: offered 96.2/s, achieved 96.2/s" in text


def test_reasons_and_open_objectives_are_told(killed: Judged) -> None:
    text = printed(killed[1].verdict, killed[0].path)
    assert "reason: the run was killed before its end" in text
    assert "INCONCLUSIVE  lost_writes == 0" in text
    assert "never recovered (watched 7.8 s)" in text


def test_a_stream_without_unicode_still_gets_it_all(killed: Judged) -> None:
    text = printed(killed[1].verdict, killed[0].path, "ascii")
    assert "x FAIL" in text
    assert "inf" in text


def test_an_empty_verdict_is_printed(tmp_path: Path) -> None:
    text = printed({"verdict": "INVALID", "reasons": ["the target did not start"]}, tmp_path)
    assert "no objective was judged" in text
    assert "the target did not start" in text


def test_the_first_line_says_that_a_run_is_judged_on_what_it_showed(tmp_path: Path) -> None:
    text = printed({"verdict": "PASS", "statements": "run"}, tmp_path)
    assert text.startswith("statements: run: what this run showed is judged, unless an objective speaks of the ")
    assert "statements" not in printed({"verdict": "PASS"}, tmp_path)


def test_a_summary_of_one_run(whole: Judged) -> None:
    text = render_summary([(whole[0].path, whole[1].verdict)])
    assert text.startswith("## ✗ FAIL: database-failover (full)\n")
    assert '| ✗ FAIL | p99(latency, request="POST /memories/") &lt;= 20ms during baseline | 22.15ms |' in text
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert {row.replace("\\|", "").count("|") for row in rows[:10]} == {6}


def test_a_summary_of_several_runs_begins_with_an_overview(whole: Judged, killed: Judged, tmp_path: Path) -> None:
    results = [(run.path, judgement.verdict) for run, judgement in (whole, killed)]
    write_summary(tmp_path, results)
    text = (tmp_path / "summary.md").read_text()
    assert "| database-failover | full | ✗ FAIL | 7 of 8 |" in text
    assert "### ! INVALID: database-failover (full)" in text
    assert "<testsuites" in (tmp_path / "junit.xml").read_text()


def test_markdown_cells_cannot_break_the_table() -> None:
    verdict = {"verdict": "FAIL", "objectives": [{"objective": "a | b <x>\n`c`", "verdict": "FAIL", "why": "w"}]}
    row = next(line for line in render_summary([(Path("r"), verdict)]).splitlines() if "a \\|" in line)
    assert "a \\| b &lt;x&gt; \\`c\\`" in row


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "–"), ("inf", "∞"), (math.inf, "∞"), (math.nan, "–"), (22.354, "22.35ms"), (0, "0ms"), (True, "–")],
)
def test_values_as_text(value: object, text: str) -> None:
    assert values.quantity(value, "ms") == text


def test_an_open_end_of_an_interval_is_shown() -> None:
    assert values.interval([7.79, None], "s") == "[7.79s, –]"
    assert values.interval([None, None], "s") == "–"
    assert values.interval(None) == "–"


@pytest.mark.parametrize(
    ("fault", "text"),
    [
        ({"injected_at": 1.0, "absorbed": True, "recovered": True}, "absorbed"),
        ({"injected_at": 1.0, "recovered": True}, "recovered"),
        ({"injected_at": 1.0, "censored_s": 12.0}, "never recovered (watched 12 s)"),
        ({"injected_at": 1.0, "why": "the baseline was bad"}, "not measurable: the baseline was bad"),
        ({"injected_at": None, "gate": {"passed": False, "why": "not ready"}}, "not injected: not ready"),
        ({"injected_at": None}, "not injected"),
    ],
)
def test_what_became_of_a_fault(fault: dict[str, Any], text: str) -> None:
    assert wording.fault_outcome(fault) == text


def test_headlines() -> None:
    met = {"objective": "a", "verdict": "PASS", "why": "fine"}
    open_one = {"objective": "b", "verdict": "INCONCLUSIVE", "why": "too few requests"}
    assert wording.headline({"verdict": "PASS", "objectives": [met, met]}) == "All 2 objectives were met."
    assert wording.headline({"verdict": "PASS", "objectives": [met]}) == "The one objective was met."
    assert (
        wording.headline({"verdict": "INCONCLUSIVE", "objectives": [met, open_one]})
        == "1 of 2 objectives could not be decided: too few requests."
    )
    assert (
        wording.headline({"verdict": "INCONCLUSIVE", "objectives": [open_one, open_one]})
        == "2 of 2 objectives could not be decided. First of them: too few requests."
    )
    killed = {"verdict": "INCONCLUSIVE", "objectives": [met], "reasons": ["the run was killed before its end"]}
    assert wording.headline(killed) == "the run was killed before its end."
