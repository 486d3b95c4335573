"""Presents a judged run to people and CI: terminal, HTML, JUnit, Markdown."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from faultload.errors import in_words, of_the_machine
from faultload.record.directory import RunDirectory
from faultload.report.junit import render_junit
from faultload.report.markdown import render_summary

if TYPE_CHECKING:
    from faultload.verdict.judge import Judgement


def write_reports(run: RunDirectory, judgement: Judgement) -> dict[str, str]:
    """Write verdict.json, junit.xml, summary.md and report.html into the run directory, the verdict first.

    Returns which reports the machine has no room for, and why. Raises OSError where that is the verdict.
    """
    from faultload.report.html import render_html

    verdict = judgement.verdict
    run.write_verdict(verdict)
    reports: dict[str, Callable[[], str]] = {
        "junit.xml": lambda: render_junit([(run, verdict)]),
        "summary.md": lambda: render_summary([(run.path, verdict)]),
        "report.html": lambda: render_html(run, judgement),
    }
    missing = {}
    for name, render in reports.items():
        try:
            run.write_text(name, render())
        except Exception as error:
            if not of_the_machine(error):
                raise
            missing[name] = in_words(error)
    return missing


def write_summary(folder: Path, results: Sequence[tuple[Path, Mapping[str, Any]]]) -> None:
    """Write one junit.xml and one summary.md of several runs into `folder`."""
    together = RunDirectory(folder)
    together.write_text("junit.xml", render_junit(list(results)))
    together.write_text("summary.md", render_summary(results))
