"""Alert rules of a scenario's own: when they fire, which fault they tell of, and what `ttd` says without any."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
from drawn_run import Stretch, Strike, draw

from faultload.report.html import render_html
from faultload.report.markdown import render_summary
from faultload.report.terminal import print_verdict
from faultload.verdict.judge import judge

OUT = Stretch(30, 36, 0.01, "http_error")
"""Six seconds in which every request fails, on the run's clock; the load lasts from 2 to 62."""
STRIKE = Strike(30, 33)
FAST: dict[str, Any] = {
    "name": "Fast", "objective": "availability >= 99%", "long": "20s", "short": "2s", "burn_rate": 10, "for": "1s",
}  # fmt: skip
"""Above 10 % of 20 s: after 2 s of a total outage, and the second that it waits."""
SLUGGISH: dict[str, Any] = {"name": "Sluggish", "objective": "error_rate <= 1%", "long": "1h", "threshold": "1%"}
"""1 % of an hour: 36 s of a total outage."""


def judged(path: Path, *objectives: str, rules: list[dict[str, Any]], **drawn: Any) -> dict[str, Any]:
    drawn = {"stretches": [OUT], "strikes": [STRIKE], **drawn}
    return judge(draw(path / "run", *objectives, scenario={"alerts": rules}, **drawn)).verdict


def test_the_verdict_names_each_rule_and_when_it_fired(tmp_path: Path) -> None:
    """From 30 s on all fail: at 33 s more than a tenth of 20 s are bad, and after a second it fires.

    The short window holds nothing bad two seconds after the outage.
    """
    fast, sluggish = judged(tmp_path, rules=[FAST, SLUGGISH])["alerts"]
    assert fast["alert"] == "Fast"
    assert fast["rule"] == "over 10 % bad in 20 s and in 2 s, for 1 s"
    assert fast["fired"] == [{"at": 34.0, "until": 38.0}]
    assert fast["why"] == ""
    assert (sluggish["fired"], sluggish["objective"]) == ([], "error_rate <= 1%")


def test_a_window_longer_than_the_load_says_what_it_takes_for_granted(tmp_path: Path) -> None:
    hour = {**SLUGGISH, "threshold": "0.1%"}
    (rule,) = judged(tmp_path, rules=[hour])["alerts"]
    assert rule["why"] == (
        "its window of 60 min is longer than the load (60 s): what came before counts as free of bad requests, "
        "at the run's own rate"
    )
    assert rule["fired"] == [{"at": 34.0, "until": None}]  # 3.6 s of an hour
    (never,) = judged(tmp_path / "never", rules=[{**SLUGGISH, "threshold": "5%"}])["alerts"]
    assert never["why"].endswith("all of which could be an outage without firing it")


def test_ttd_takes_the_first_of_the_scenarios_own_rules(tmp_path: Path) -> None:
    verdict = judged(tmp_path, "ttd <= 5s", "ttd(cut, alert=Fast) <= 3s", rules=[SLUGGISH, FAST])
    first, named = verdict["objectives"]
    assert (first["verdict"], first["estimate"]) == ("PASS", pytest.approx(4.0, abs=0.02))
    assert (named["verdict"], named["estimate"]) == ("FAIL", pytest.approx(4.0, abs=0.02))
    assert "Sluggish: its window of 60 min is longer than the load" in first["why"]
    assert "Sluggish" not in named["why"]
    (fault,) = verdict["faults"]
    assert (fault["detected_by"], fault["detect_s"]) == ("Fast", first["estimate"])


def test_an_outage_too_short_for_a_rule_is_seen_by_nobody(tmp_path: Path) -> None:
    one, every = judged(tmp_path, "ttd(alert=Sluggish) <= 60s", "ttd <= 60s", rules=[SLUGGISH])["objectives"]
    assert (one["verdict"], one["estimate"]) == ("FAIL", float("inf"))
    assert "Sluggish did not fire for cut#1 (6.0 s): it takes a total outage of 36 s" in one["why"]
    assert "so an operator would have seen nothing" in one["why"]
    assert every["estimate"] == float("inf")
    two = judged(tmp_path / "two", "ttd <= 60s", rules=[SLUGGISH, {**FAST, "for": "20s"}])
    assert "too little for any rule of `alerts:` (Fast takes a total outage of 22 s)" in two["objectives"][0]["why"]
    assert two["faults"][0]["detected_by"] is None


def test_a_rule_that_was_firing_already_told_an_operator_before(tmp_path: Path) -> None:
    """3 s of 30 fire the long rule in the first outage, and it fires still when the second begins; the fast one
    tells of both."""
    lasting = {"name": "Lasting", "objective": "availability >= 99%", "long": "30s", "burn_rate": 10}
    verdict = judged(
        tmp_path,
        "ttd(alert=Lasting) <= 60s",
        "ttd(alert=Fast) <= 60s",
        rules=[lasting, FAST],
        stretches=[Stretch(20, 26, 0.01, "http_error"), Stretch(45, 49, 0.01, "http_error")],
        strikes=[Strike(20, 23), Strike(45, 46, k=2)],
    )
    before, both = verdict["objectives"]
    assert (before["estimate"], before["n"]) == (pytest.approx(4.0, abs=0.02), 1)
    assert before["why"].endswith(
        "Lasting was firing already when cut#2 had its impact: an operator knew of it before"
    )
    assert (both["estimate"], both["n"]) == (pytest.approx(4.0, abs=0.02), 2)
    assert [one["detected_by"] for one in verdict["faults"]] == ["Lasting", "Fast"]


def test_a_rule_watches_the_requests_and_the_limit_that_it_names(tmp_path: Path) -> None:
    """400 ms are bad to a limit of 300 ms, not to one of 500 ms, nor on a request that nobody made slow."""
    limits = [
        "share(latency <= 300ms) >= 99%",
        "p99(latency) <= 300ms",
        "p99(latency) <= 500ms",
        "availability >= 99%",
    ]
    rules = [{**FAST, "name": f"R{k}", "objective": limit} for k, limit in enumerate(limits)]
    for name in ("GET /", "GET /slow"):
        objective = f'p99(service_time, request="{name}") <= 300ms'
        rules.append({**FAST, "name": f"R{len(rules)}", "objective": objective})
    slow = Stretch(45, 50, 0.4, request="GET /slow")
    fired = [bool(one["fired"]) for one in judged(tmp_path, rules=rules, stretches=[slow], strikes=[])["alerts"]]
    assert fired == [True, True, False, False, False, True]


def test_without_rules_nothing_of_them_is_said(tmp_path: Path) -> None:
    verdict = judged(tmp_path, "ttd <= 60s", "ttd(alert=Fast) <= 60s", rules=[])
    assert verdict["objectives"][1]["verdict"] == "INCONCLUSIVE"
    assert verdict["objectives"][1]["why"] == "the scenario declares no alert 'Fast'"
    assert "alerts" not in verdict
    assert "detected_by" not in verdict["faults"][0]


def test_every_report_says_which_rule_fired_when(tmp_path: Path) -> None:
    rules = {"alerts": [FAST, SLUGGISH]}
    run = draw(tmp_path / "run", "ttd <= 9s", scenario=rules, stretches=[OUT], strikes=[STRIKE])
    judgement = judge(run)
    printed = io.StringIO()
    print_verdict(judgement.verdict, run.path, printed)
    texts = [printed.getvalue(), render_summary([(run.path, judgement.verdict)]), render_html(run, judgement)]
    for text in texts:
        assert "fired at 34.0 s, to 38.0 s" in text
        assert "did not fire; its window of 60 min is longer than the load" in text
        assert "4 s (Fast)" in text
