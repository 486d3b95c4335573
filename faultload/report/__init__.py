"""Presents a judged run to people and CI: terminal, HTML, JUnit, Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from faultload.record.directory import RunDirectory
from faultload.report.junit import render_junit
from faultload.report.markdown import render_summary

if TYPE_CHECKING:
    from faultload.verdict.judge import Judgement


def write_reports(run: RunDirectory, judgement: Judgement) -> None:
    """Write verdict.json, junit.xml, summary.md and report.html into the run directory, the verdict first."""
    from faultload.report.html import render_html

    verdict = judgement.verdict
    run.write_verdict(verdict)
    run.write_text("junit.xml", render_junit([(run, verdict)]))
    run.write_text("summary.md", render_summary([(run.path, verdict)]))
    run.write_text("report.html", render_html(run, judgement))


def write_summary(folder: Path, results: Sequence[tuple[Path, Mapping[str, Any]]]) -> None:
    """Write one junit.xml and one summary.md of several runs into `folder`."""
    together = RunDirectory(folder)
    together.write_text("junit.xml", render_junit(list(results)))
    together.write_text("summary.md", render_summary(results))
