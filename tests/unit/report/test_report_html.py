"""report.html holds everything of a run, needs nothing from elsewhere, and stands when half the data is missing."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from judged import Judged
from synthetic_run import write_run

from faultload.record.directory import RECORD, RunDirectory
from faultload.report import write_reports
from faultload.report.html import render_html
from faultload.verdict.judge import judge

HEADINGS = (
    "Objectives",
    "Timeline",
    "Faults and recovery",
    "Latency",
    "Lost writes",
    "Error budgets",
    "Load generator",
    "What the profile scaled",
    "Instances",
    "Run it again",
)


class Page(HTMLParser):
    """The ids, the addresses that would be fetched, the visible text and the balance of tags."""

    VOID = ("meta", "link", "br")

    def __init__(self, text: str) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.fetched: list[str] = []
        self.tags: list[str] = []
        self.text = ""
        self._open: list[str] = []
        self.feed(text)
        assert not self._open, f"left open: {self._open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag not in self.VOID:
            self._open.append(tag)
        for name, value in attrs:
            if name == "id" and value:
                self.ids.append(value)
            if name in ("src", "href", "xlink:href", "data", "action", "poster") and value:
                self.fetched.append(value)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in self.VOID:
            self._open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self._open:
            self.text += data


@pytest.fixture(scope="module")
def page(whole: Judged) -> Page:
    return Page(render_html(*whole))


def test_every_section_is_there(page: Page) -> None:
    for heading in HEADINGS:
        assert heading in page.text


def test_the_banner_says_why_in_one_sentence(page: Page) -> None:
    assert 'FAIL\n1 of 8 objectives was missed: P99 of latency, request="POST /memories/"' in re.sub(
        r"\n+", "\n", page.text
    )


def test_every_figure_is_drawn_inline(page: Page) -> None:
    assert page.tags.count("svg") == 5
    assert {f"figure-{name}" for name in ("timeline", "recoveries", "quantiles", "instances")} <= set(page.ids)


def test_ids_of_the_figures_do_not_clash(page: Page) -> None:
    assert len(page.ids) == len(set(page.ids))
    inside = {address[1:] for address in page.fetched if address.startswith("#")}
    assert inside <= set(page.ids)


def test_nothing_is_fetched_from_elsewhere(page: Page, whole: Judged) -> None:
    assert all(address.startswith(("#", "data:")) for address in page.fetched)
    text = render_html(*whole)
    assert not re.search(r"@import|url\((?!#)", text)
    assert "script" not in page.tags


def test_text_of_others_is_escaped(page: Page, whole: Judged) -> None:
    text = render_html(*whole)
    for raw in ("<script>alert", "<b>standby", "<i>person", "<refused>"):
        assert raw not in text
        assert raw in page.text


def test_it_shows_what_a_reader_asks_for(page: Page) -> None:
    for text in (
        "not injected: service db has 1 of 2 instances ready",
        "pg2 leads",
        "2,104 acknowledged, 0 lost, 3 indeterminate",
        "Locust, load process 0",
        "arrival rate x 2",
        "faultload run scenarios/memory/database-failover.yaml --seed 7",
        "exact binomial",
        "The cache is warm (critical)",
        "∞",
    ):
        assert text in page.text


def test_a_killed_run_is_reported(killed: Judged) -> None:
    page = Page(render_html(*killed))
    assert "the run was killed before its end" in page.text
    assert "never recovered" in page.text
    assert page.tags.count("svg") == 5


def test_a_run_that_never_began_is_reported_with_the_log_of_what_failed(empty: Judged) -> None:
    page = Page(render_html(*empty))
    assert "svg" not in page.tags
    assert "No request was recorded." in page.text
    assert "failed at 0.5 s: cannot import <journeys>" in page.text
    assert "line 49 of <log>" in page.text
    assert "line 20 of <log>" in page.text
    assert "line 19 of <log>" not in page.text


def test_a_run_with_nothing_but_run_json_is_reported(tmp_path: Path, empty: Judged) -> None:
    run = RunDirectory.create(tmp_path / "bare")
    info = empty[0].info().to_json()
    for name in ("command", "load", "versions", "machine", "t0", "started", "scaled"):
        info.pop(name)
    run.update(info)
    page = Page(render_html(run, judge(run)))
    assert "The command line was not recorded." in page.text


def test_write_reports_writes_all_four_without_secrets(killed: Judged, monkeypatch: pytest.MonkeyPatch) -> None:
    run, judgement = killed
    run.event("process", process="load-0", state="died", why="signal 9")
    run.log("load-0").write_text('token is hunter2&"<hunter2>\n')
    monkeypatch.setenv("FAULTLOAD_SECRETS", "TOKEN")
    monkeypatch.setenv("TOKEN", 'hunter2&"<hunter2>')
    write_reports(run, judge(run))
    for name in ("verdict.json", "junit.xml", "summary.md", "report.html"):
        assert (run.path / name).stat().st_size > 0
        assert "hunter2" not in (run.path / name).read_text()
    assert "token is ***TOKEN***" in (run.path / "report.html").read_text()
    assert (run.verdict() or {})["verdict"] == judgement.verdict["verdict"]


def test_an_older_record_is_judged_as_before_and_the_report_says_so(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run")
    info = run.info().to_json()
    assert info["record"] == RECORD == 2
    numbered, text = judge(run), Page(render_html(run, judge(run))).text
    assert "older than record" not in text
    for number, said in ((1, "older than record 2: whether it is complete"), (None, "older than record 1: rules")):
        other = {**info, "record": number} if number else {key: one for key, one in info.items() if key != "record"}
        (run.path / "run.json").write_text(json.dumps(other))
        old = judge(run)
        assert old.verdict == numbered.verdict
        assert said in Page(render_html(run, old)).text
