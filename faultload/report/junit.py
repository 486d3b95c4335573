"""JUnit XML for one or several runs: a suite per run, a test case per objective; nothing undecided passes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

from faultload.record.directory import RunDirectory
from faultload.record.info import RunInfo
from faultload.record.visible import visible
from faultload.report import values, wording

_ELEMENT = {"FAIL": "failure", "INCONCLUSIVE": "failure", "INVALID": "error"}


def render_junit(results: Sequence[tuple[RunDirectory | Path, Mapping[str, Any]]]) -> str:
    """The runs as JUnit XML.

    FAIL and INCONCLUSIVE are failures (with that word as their type), INVALID is an error.
    """
    suites = [_suite(run if isinstance(run, RunDirectory) else RunDirectory(run), one) for run, one in results]
    root = ET.Element("testsuites", name="faultload")
    for name in ("tests", "failures", "errors"):
        root.set(name, str(sum(int(suite.get(name, "0")) for suite in suites)))
    root.set("time", f"{sum(float(suite.get('time', '0')) for suite in suites):.3f}")
    root.extend(suites)
    ET.indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ET.tostring(root, encoding="unicode") + "\n"


def _suite(run: RunDirectory, verdict: Mapping[str, Any]) -> ET.Element:
    info = run.info()
    classname = _classname(info, verdict, run.path)
    lasted = info.duration_s or 0.0
    suite = ET.Element("testsuite", name=_clean(classname), time=f"{lasted:.3f}")
    if info.started:
        suite.set("timestamp", info.started.partition(".")[0].removesuffix("Z"))
    _properties(suite, info, verdict, run.path)
    cases = [_measurement(classname, verdict, lasted)]
    cases += [_objective(classname, one) for one in wording.objectives_of(verdict)]
    suite.extend(cases)
    suite.set("tests", str(len(cases)))
    suite.set("failures", str(sum(case.find("failure") is not None for case in cases)))
    suite.set("errors", str(sum(case.find("error") is not None for case in cases)))
    suite.set("skipped", "0")
    return suite


def _classname(info: RunInfo, verdict: Mapping[str, Any], path: Path) -> str:
    scenario = info.scenario or {}
    name = scenario.get("name") or verdict.get("name") or path.name
    parts = ("faultload", scenario.get("system"), name)
    return ".".join(str(part).replace(".", "_") for part in parts if part)


def _properties(suite: ET.Element, info: RunInfo, verdict: Mapping[str, Any], path: Path) -> None:
    pairs = [
        ("verdict", verdict.get("verdict")),
        ("profile", verdict.get("profile") or info.profile),
        ("statements", verdict.get("statements")),
        ("seed", info.seed),
        ("run", path.name),
    ]
    pairs += [(f"scaled.{name}", text) for name, text in (verdict.get("scaled") or {}).items()]
    pairs += [(f"fault.{wording.fault_name(one)}", _fault(one)) for one in verdict.get("faults") or []]
    properties = ET.SubElement(suite, "properties")
    for name, value in pairs:
        if value is not None:
            ET.SubElement(properties, "property", name=_clean(name), value=_clean(value))


def _fault(fault: Mapping[str, Any]) -> str:
    outcome = wording.fault_outcome(fault)
    if fault.get("injected_at") is None:
        return outcome
    text = f"{outcome}; injected at {values.moment(fault['injected_at'])}; witnessed: {wording.witnessed(fault)}"
    if fault.get("recover_s") is not None:
        text += f"; recovered in {wording.recover(fault)}"
    return text


def _measurement(classname: str, verdict: Mapping[str, Any], lasted: float) -> ET.Element:
    """The run as a whole: whether it could be measured to its end."""
    case = ET.Element("testcase", classname=_clean(classname), name="measurement", time=f"{lasted:.3f}")
    reasons = [str(reason) for reason in verdict.get("reasons") or []]
    if reasons or not wording.objectives_of(verdict):
        kind = "INVALID" if verdict.get("verdict") == "INVALID" else "INCONCLUSIVE"
        _blame(case, kind, "; ".join(reasons) or "no objective was judged", "\n".join(reasons))
    return case


def _objective(classname: str, one: Mapping[str, Any]) -> ET.Element:
    name = _clean(one.get("objective"))
    case = ET.Element("testcase", classname=_clean(classname), name=name, time="0.000")
    found = [
        f"estimate {wording.estimate(one)}",
        f"95 % bounds {wording.bounds(one)}",
        f"target {wording.target(one)}",
        f"n {values.count(one.get('n'))}",
        f"n_eff {values.count(one.get('n_eff'))}",
        *filter(None, [wording.statement(one)]),
        f"method {one.get('method') or values.MISSING}",
    ]
    word = str(one.get("verdict"))
    if word != "PASS":
        why = str(one.get("why") or "no reason was given")
        _blame(case, word, why, "\n".join([f"{word}  {one.get('objective')}", why, *found]))
    else:
        ET.SubElement(case, "system-out").text = _clean("\n".join([str(one.get("why") or ""), *found]).strip())
    return case


def _blame(case: ET.Element, word: str, message: str, text: str) -> None:
    element = ET.SubElement(case, _ELEMENT.get(word, "error"), type=word, message=_clean(message))
    element.text = _clean(text)


def _clean(value: object) -> str:
    """Text without control characters, most of which XML 1.0 cannot hold."""
    return visible(str(value))
