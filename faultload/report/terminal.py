"""What a run prints at its end: objectives, recoveries, writes, generator, and finally the verdict."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TextIO

from faultload.report import values, wording
from faultload.report.streams import Printer, columns


def print_verdict(verdict: Mapping[str, Any], run_path: Path, stream: TextIO | None = None) -> None:
    """Print a run's verdict; every objective that is not PASS is named with its reason."""
    printer = Printer(stream or sys.stdout)
    word = str(verdict.get("verdict", "INVALID"))
    if wording.statements(verdict):
        printer.line(wording.statements(verdict))
    _objectives(printer, verdict)
    for reason in verdict.get("reasons") or []:
        printer.line(f"reason: {reason}")
    _faults(printer, verdict)
    if verdict.get("warmup"):
        printer.line(f"warm-up: {verdict['warmup']['why']}")
    for one in verdict.get("alerts") or []:
        printer.line(f"alert {one['alert']}: {wording.alert(one)}")
    for name, text in (("writes", wording.writes(verdict)), ("generator", wording.generator(verdict))):
        if text:
            printer.line(f"{name}: {text}")
    path = _short(run_path)
    printer.line()
    printer.line(f"{word}  {path}  (report: {path / 'report.html'})", verdict=word)
    printer.flush()


def _objectives(printer: Printer, verdict: Mapping[str, Any]) -> None:
    objectives = wording.objectives_of(verdict)
    if not objectives:
        printer.line("no objective was judged")
        return
    rows = [["", "objective", "estimate", "95 % bounds", "target", "n"]]
    for one in objectives:
        word = str(one.get("verdict"))
        cells = [wording.estimate(one), wording.bounds(one), wording.target(one), values.count(one.get("n"))]
        rows.append([f"{wording.mark(word)} {word}", str(one.get("objective")), *cells])
    head, *lines = columns(rows, right=(2, 3, 5))
    printer.line()
    printer.line(head)
    for line, one in zip(lines, objectives, strict=True):
        printer.line(line, verdict=str(one.get("verdict")))
    open_ones = wording.objectives_of(verdict, "FAIL", "INVALID", "INCONCLUSIVE")
    if open_ones:
        printer.line()
    for one in open_ones:
        word = str(one.get("verdict"))
        printer.line(f"{word}  {one.get('objective')}", verdict=word)
        printer.line(f"    {one.get('why') or 'no reason was given'}")
    printer.line()


def _faults(printer: Printer, verdict: Mapping[str, Any]) -> None:
    faults = verdict.get("faults") or []
    if not faults:
        return
    rows = [["fault", "injected", "impact", "detect", "recover", "witnessed", "outcome"]]
    rows += [
        [
            wording.fault_name(fault),
            values.moment(fault.get("injected_at")),
            values.seconds(fault.get("impact_s")),
            wording.detected(fault),
            wording.recover(fault),
            wording.witnessed(fault),
            wording.fault_outcome(fault),
        ]
        for fault in faults
    ]
    for line in columns(rows, right=(1, 2, 3)):
        printer.line(line)
    printer.line()


def _short(path: Path) -> Path:
    try:
        return path.absolute().relative_to(Path.cwd())
    except ValueError:
        return path
