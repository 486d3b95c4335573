"""A summary of one or several runs in GitHub-flavoured Markdown, ready for a CI job summary."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from faultload.record.visible import visible
from faultload.report import values, wording


def render_summary(results: Sequence[tuple[Path, Mapping[str, Any]]]) -> str:
    """The runs as Markdown: an overview when there are several, then each run's objectives and faults."""
    parts = []
    if len(results) != 1:
        parts.append(_overview(results))
    parts += [_run(path, verdict, "##" if len(results) == 1 else "###") for path, verdict in results]
    return "\n\n".join(parts) + "\n"


def _word(verdict: object) -> str:
    return f"{wording.mark(verdict)} {verdict}"


def _cell(value: object) -> str:
    """Text for a table cell or a line: what Markdown or HTML would read as a sign is shown as it is."""
    text = visible(" ".join(str(value).split()))
    for sign in "\\`*_[]|~#":
        text = text.replace(sign, f"\\{sign}")
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _table(head: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[int] = ()) -> str:
    rule = ["---:" if i in right else "---" for i in range(len(head))]
    return "\n".join(f"| {' | '.join(row)} |" for row in (head, rule, *rows))


def _overview(results: Sequence[tuple[Path, Mapping[str, Any]]]) -> str:
    if not results:
        return "## faultload\n\nNo scenario was run."
    rows = []
    for path, verdict in results:
        every = wording.objectives_of(verdict)
        met = wording.objectives_of(verdict, "PASS")
        name = str(verdict.get("name") or path.name)
        rows.append(
            [
                _cell(name),
                _cell(verdict.get("profile") or values.MISSING),
                _word(verdict.get("verdict")),
                f"{len(met)} of {len(every)}",
                _cell(wording.headline(verdict)),
            ]
        )
    return "## faultload\n\n" + _table(["scenario", "profile", "verdict", "objectives met", "why"], rows)


def _run(path: Path, verdict: Mapping[str, Any], level: str) -> str:
    name, profile = verdict.get("name") or path.name, verdict.get("profile")
    title = f"{level} {_word(verdict.get('verdict'))}: {_cell(name)}" + (f" ({_cell(profile)})" if profile else "")
    parts = [title, _cell(wording.headline(verdict))]
    scaled = verdict.get("scaled") or {}
    if scaled:
        parts.append("Scaled by the profile: " + _cell("; ".join(map(str, scaled.values()))) + ".")
    objectives = wording.objectives_of(verdict)
    if objectives:
        parts.append(_objectives(objectives))
    reasons = verdict.get("reasons") or []
    undecided = wording.objectives_of(verdict, "FAIL", "INVALID", "INCONCLUSIVE")
    lines = [f"- {_cell(reason)}" for reason in reasons]
    lines += [f"- **{one['verdict']}** {_cell(one.get('objective'))}: {_cell(one.get('why'))}" for one in undecided]
    if lines:
        parts.append("\n".join(lines))
    if verdict.get("faults"):
        parts.append(_faults(verdict["faults"]))
    if verdict.get("warmup"):
        parts.append(f"Warm-up: {_cell(verdict['warmup']['why'])}.")
    if verdict.get("alerts"):
        parts.append(
            "\n".join(f"- alert {_cell(a['alert'])}: {_cell(wording.alert(a))}" for a in verdict["alerts"])
        )
    for label, text in (("Writes", wording.writes(verdict)), ("Load generator", wording.generator(verdict))):
        if text:
            parts.append(f"{label}: {_cell(text)}.")
    parts.append(f"Run directory: {_cell(path.name)}")
    return "\n\n".join(parts)


def _objectives(objectives: Sequence[Mapping[str, Any]]) -> str:
    rows = [
        [
            _word(one.get("verdict")),
            _cell(one.get("objective")),
            _cell(wording.estimate(one)),
            _cell(wording.bounds(one)),
            values.count(one.get("n")),
        ]
        for one in objectives
    ]
    return _table(["verdict", "objective", "estimate", "95 % bounds", "n"], rows, right=(2, 3, 4))


def _faults(faults: Sequence[Mapping[str, Any]]) -> str:
    rows = [
        [
            _cell(wording.fault_name(fault)),
            values.moment(fault.get("injected_at")),
            values.seconds(fault.get("impact_s")),
            _cell(wording.detected(fault)),
            _cell(wording.recover(fault)),
            wording.witnessed(fault),
            _cell(wording.fault_outcome(fault)),
        ]
        for fault in faults
    ]
    head = ["fault", "injected", "impact", "detect", "recover", "witnessed", "outcome"]
    return _table(head, rows, right=(1, 2, 3, 4))
