"""junit.xml reads in every CI server, and nothing undecided passes in it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

from judged import Judged

from faultload.record.directory import RunDirectory
from faultload.report.junit import render_junit

# the attributes and children of Jenkins' junit-10.xsd that its parser knows
ATTRIBUTES = {
    "testsuites": {"name", "time", "tests", "failures", "disabled", "errors"},
    "testsuite": {
        "name",
        "tests",
        "failures",
        "errors",
        "group",
        "time",
        "skipped",
        "timestamp",
        "hostname",
        "id",
        "package",
        "file",
        "log",
        "url",
        "version",
    },
    "testcase": {"name", "time", "classname", "group"},
    "failure": {"type", "message"},
    "error": {"type", "message"},
    "property": {"name", "value"},
    "properties": set(),
    "system-out": set(),
}
CHILDREN = {
    "testsuites": {"testsuite"},
    "testsuite": {"properties", "testcase"},
    "testcase": {"failure", "error", "system-out"},
    "properties": {"property"},
}


def parsed(run: RunDirectory | Path, verdict: Mapping[str, Any]) -> ET.Element:
    return ET.fromstring(render_junit([(run, verdict)]).encode())


def case_of(root: ET.Element, name: str) -> ET.Element:
    return next(case for case in root.iter("testcase") if case.get("name") == name)


def one(verdict: str, **fields: Any) -> dict[str, Any]:
    objective = {"objective": "p99(latency) <= 1s", "verdict": verdict, "why": "because", "n": 1} | fields
    return {"verdict": verdict, "name": "one", "objectives": [objective]}


def test_it_has_the_shape_of_the_jenkins_schema(whole: Judged, killed: Judged, empty: Judged) -> None:
    for run, judgement in (whole, killed, empty):
        root = parsed(run, judgement.verdict)
        for element in root.iter():
            assert set(element.attrib) <= ATTRIBUTES[element.tag]
            assert {child.tag for child in element} <= CHILDREN.get(element.tag, set())
        for suite in root.iter("testsuite"):
            cases = list(suite.iter("testcase"))
            assert int(suite.attrib["tests"]) == len(cases)
            assert int(suite.attrib["failures"]) == len(list(suite.iter("failure")))
            assert int(suite.attrib["errors"]) == len(list(suite.iter("error")))
            assert all(float(case.attrib["time"]) >= 0 and case.get("classname") for case in cases)


def test_a_suite_is_a_run_and_a_case_an_objective(whole: Judged) -> None:
    run, judgement = whole
    root = parsed(run, judgement.verdict)
    suite = root.find("testsuite")
    assert suite is not None
    assert suite.get("name") == "faultload.memory.database-failover"
    assert suite.get("time") == "68.500"
    names = [case.get("name") for case in suite.iter("testcase")]
    assert names == ["measurement", *(one["objective"] for one in judgement.verdict["objectives"])]
    missed = case_of(root, 'p99(latency, request="POST /memories/") <= 20ms during baseline')
    failure = missed.find("failure")
    assert failure is not None
    assert failure.get("type") == "FAIL"
    assert "the target is at most 20ms" in str(failure.get("message"))


def test_faults_are_properties(whole: Judged) -> None:
    found = {one.get("name"): one.get("value") for one in parsed(whole[0], whole[1].verdict).iter("property")}
    assert str(found["fault.db-failover#1"]).startswith("recovered; injected at 32.0 s; witnessed: yes")
    assert found["fault.db-failover#2"] == "not injected: service db has 1 of 2 instances ready"


def test_inconclusive_is_a_failure_that_says_so(tmp_path: Path) -> None:
    failure = parsed(tmp_path, one("INCONCLUSIVE")).find(".//failure")
    assert failure is not None
    assert failure.get("type") == "INCONCLUSIVE"


def test_invalid_is_an_error(tmp_path: Path) -> None:
    error = parsed(tmp_path, one("INVALID")).find(".//error")
    assert error is not None
    assert error.get("type") == "INVALID"


def test_pass_has_neither(tmp_path: Path) -> None:
    root = parsed(tmp_path, one("PASS"))
    assert root.get("failures") == root.get("errors") == "0"


def test_reasons_of_the_run_fail_the_measurement(tmp_path: Path) -> None:
    verdict = one("PASS") | {"verdict": "INCONCLUSIVE", "reasons": ["the run was killed before its end"]}
    failure = case_of(parsed(tmp_path, verdict), "measurement").find("failure")
    assert failure is not None
    assert failure.get("message") == "the run was killed before its end"
    verdict["verdict"] = "INVALID"
    assert case_of(parsed(tmp_path, verdict), "measurement").find("error") is not None


def test_a_run_without_objectives_does_not_pass(tmp_path: Path) -> None:
    assert parsed(tmp_path, {"verdict": "INVALID"}).get("errors") == "1"


def test_characters_that_xml_cannot_hold_are_replaced(tmp_path: Path) -> None:
    root = parsed(tmp_path, one("FAIL", why='\x1b[31m<&"\x00 ü\ud800'))
    failure = root.find(".//failure")
    assert failure is not None
    assert failure.get("message") == '\ufffd[31m<&"\ufffd ü\ufffd'


def test_several_runs_add_up(whole: Judged, tmp_path: Path) -> None:
    root = ET.fromstring(render_junit([(whole[0], whole[1].verdict), (tmp_path, one("INVALID"))]).encode())
    assert len(root) == 2
    assert root.get("tests") == "11"
    assert root.get("errors") == "1"
