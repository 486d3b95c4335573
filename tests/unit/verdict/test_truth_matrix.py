"""Runs of known truth: impact, recovery, phases, budget and verdict are right in all of them, and so is every word.

The truth is written beside each run, or counted from the requests that were drawn, never from what was judged.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from drawn_run import Stretch, Strike, draw

from faultload.record.recorded import Recorded
from faultload.verdict.judge import judge

START, INJECTED, UNDONE, END = 2.0, 32.0, 52.0, 92.0
SLO, WINDOW_S = 0.999, 30 * 86400.0
HOLD = 5.0


@dataclass(frozen=True)
class Case:
    """A run and what is true of it.

    `bad`: from the first bad moment to the last, seconds after the injection; None: absorbed, "" where nothing can
    be dated. `silent`: from when to when no request is made, and `fewer`: which share of them is not. `later`:
    further incidents. `at_least`: of one that never recovered, its last bad moment.
    """

    name: str
    stretches: Sequence[Stretch] = ()
    bad: tuple[float, float] | str | None = None
    rate: float = 100.0
    silent: Sequence[tuple[float, float]] = ()
    fewer: Sequence[tuple[float, float, float]] = ()
    later: Sequence[tuple[float, float]] = ()
    at_least: float | None = None
    within: float | None = None
    words: Sequence[str] = ()
    strikes: Sequence[Strike] = (Strike(INJECTED, UNDONE),)
    ill: dict[float, dict[str, Any]] = field(default_factory=dict)
    drawn: dict[str, Any] = field(default_factory=dict)
    verdict: str | None = None
    allowed: str = "99.9%"

    @property
    def resolution_s(self) -> float:
        """How far off a date may be: two requests, and what the shape of the fault blurs."""
        return 2.0 / self.rate + 0.02 if self.within is None else self.within

    def due(self) -> Any:
        every = np.arange(START + 0.5 / self.rate, END, 1 / self.rate)
        silent = np.zeros(every.size, dtype=np.bool_)
        for since, until in self.silent:
            silent |= (every >= since) & (every < until)
        for since, until, share in self.fewer:
            turn = np.floor((np.arange(every.size) + 1) * share) > np.floor(np.arange(every.size) * share)
            silent |= (every >= since) & (every < until) & turn
        return every[~silent]


def failing(start: float, end: float, **other: Any) -> Stretch:
    """Requests that fail, from and to seconds after the injection."""
    return Stretch(INJECTED + start, INJECTED + end, **{"outcome": "http_error", **other})


def slow(start: float, end: float, latency_s: float = 2.0, **other: Any) -> Stretch:
    return Stretch(INJECTED + start, INJECTED + end, latency_s, **other)


def lag(start: float, end: float, lag_ms: float = 60.0) -> dict[float, dict[str, Any]]:
    """Health events that say of the seconds from and to after the injection that the generator lagged."""
    return {INJECTED + at + 1: {"loop_lag_p99_ms": lag_ms} for at in np.arange(start, end).tolist()}


def of_users(count: int) -> dict[str, Any]:
    """The closed model."""
    users = [{"step": count, "for": "90s"}]
    return {"scenario": {"load": {"journeys": "j.py", "users": users}}, "load": {"model": "closed"}}


def pauses(every_s: float, lasted_s: float, waits_s: Sequence[float], seed: int) -> list[Stretch]:
    """At random over the run: each wait for an equal part of so long, a single one for so long on average."""
    rng = np.random.default_rng(seed)
    found = []
    for at in START + np.cumsum(rng.exponential(every_s, int(2 * (END - START) / every_s))):
        lasts = lasted_s if len(waits_s) > 1 else float(rng.exponential(lasted_s))
        edges = np.linspace(at, at + lasts, len(waits_s) + 1).tolist()
        found += [Stretch(a, b, wait) for a, b, wait in zip(edges, edges[1:], waits_s, strict=False)]
    return found


RATES = (2.0, 20.0, 100.0, 2000.0)
BUSY = (20.0, 100.0, 2000.0)
CASES = [
    *(Case(f"nothing at {rate:g}/s", rate=rate, words=["absorbed", "no impact"]) for rate in RATES),
    *(
        Case(f"nothing, with collections, at {rate:g}/s", pauses(3.0, 0.06, (0.06, 0.04, 0.02), 5), rate=rate)
        for rate in BUSY
    ),
    *(
        Case(f"nothing, with jams as in the baseline, at {rate:g}/s", pauses(4.0, 0.2, (0.08,), 6), rate=rate)
        for rate in BUSY
    ),
    *(Case(f"an outage at {rate:g}/s", [failing(1, 9)], (1, 9), rate) for rate in RATES),
    *(Case(f"an outage from the injection on at {rate:g}/s", [failing(0, 6)], (0, 6), rate) for rate in RATES),
    *(Case(f"an outage beyond the undo at {rate:g}/s", [failing(3, 25)], (3, 25), rate) for rate in RATES),
    *(Case(f"time-outs at {rate:g}/s", [slow(2, 8, 10.0, outcome="timeout")], (2, 8), rate) for rate in RATES),
    *(Case(f"slow answers at {rate:g}/s", [slow(2, 8)], (2, 8), rate) for rate in BUSY),
    *(Case(f"a third fails at {rate:g}/s", [failing(2, 14, every=3)], (2, 14), rate, within=1.0) for rate in BUSY),
    *(
        Case(
            f"two dips at {rate:g}/s", [failing(1, 4), failing(14, 19)], (1, 19), rate, words=["the last of 2 dips"]
        )
        for rate in BUSY
    ),
    *(
        Case(f"a gap in the open model at {rate:g}/s", [], (4, 16), rate, silent=[(INJECTED + 4, INJECTED + 16)])
        for rate in (2.0, 20.0, 100.0)
    ),
    *(
        Case(
            f"users who hang at {rate:g}/s in the closed model",
            [slow(3.9, 4, 18.0)],
            (3.9, 22),
            rate,
            silent=[(INJECTED + 4, INJECTED + 22)],
            within=0.6,
            drawn=of_users(10),
        )
        for rate in (20.0, 100.0)
    ),
    *(
        Case(
            f"ten of 32 users hang at {rate:g}/s",
            [slow(4 - 10 / rate, 4, 18.0)],
            (4 - 10 / rate, 22),
            rate,
            fewer=[(INJECTED + 4, INJECTED + 22, 10 / 32)],
            within=0.6,
            drawn=of_users(32),
        )
        for rate in (20.0, 100.0)
    ),
    Case(
        "ten of 32 users hang to the end",
        [slow(4.4, 4.5, 90.0)],
        "",
        fewer=[(INJECTED + 4.5, END, 10 / 32)],
        at_least=END - INJECTED - 4.4,
        drawn=of_users(32),
        words=["not recovered"],
    ),
    Case("one second", [failing(5, 6)], (5, 6)),
    Case("dropped slots", [failing(2, 9, outcome="dropped")], (2, 9)),
    Case("a dip at the undo", [failing(0, 3), failing(20.5, 24)], (0, 24), words=["the last of 2 dips"]),
    Case(
        "a dip long after the undo",
        [failing(0, 3), failing(40, 43)],
        (0, 3),
        later=[(72, 75)],
        words=["1 more incident before the end of the watch, the one from 72 to 75 s"],
    ),
    Case("flapping within the hold", [failing(0, 2), failing(5, 6), failing(9, 11)], (0, 11)),
    Case(
        "a ramp down",
        [*(failing(0, 4), failing(4, 8, every=2), failing(8, 12, every=4))],
        (0, 12),
        within=0.6,
    ),
    Case("never recovered", [failing(4, 60)], "", at_least=56.0, words=["not recovered within 56.0 s"]),
    Case("back just before the end", [failing(4, 56)], (4, 56), words=["good for 4.0 s when the watch ended"]),
    Case(
        "back too late to tell", [failing(4, 58)], "", at_least=54.0, words=["back 54.00 s", "good for 2.0 s only"]
    ),
    Case(
        "one failure",
        [failing(5, 5.01)],
        words=["absorbed: 1 of ", "too few at a time for an impact"],
    ),
    Case(
        "one in fifty fails",
        [failing(0, 20, every=50)],
        "",
        words=["not absorbed, and too little at a time to be dated", "40 of 2001 requests failed"],
    ),
    Case(
        "one in fifty is slow",
        [slow(0, 20, every=50)],
        "",
        words=["not absorbed, and too little at a time to be dated", "failed or were slow"],
    ),
    Case(
        "a bad second in the baseline",
        [failing(-15, -14), failing(0, 20, every=3)],
        (0, 20),
        within=0.5,
        allowed="95%",
    ),
    Case("a slow second in the baseline", [slow(-15, -14), slow(0, 20, every=3)], (0, 20), within=0.5),
    Case(
        "a bad second in a baseline that may have none",
        [failing(-15, -14), failing(0, 20, every=3)],
        "",
        words=["the baseline was bad: 3.33% of the baseline failed, 0.10% are allowed"],
    ),
    Case(
        "what was in flight fails, and nothing after it",
        [failing(-2.4, -2, latency_s=3.0)],
        "",
        words=["not absorbed, and too little at a time to be dated: 40 of 2041 requests failed"],
        allowed="95%",
    ),
    Case("an outage before", [failing(-3, 4)], "", words=["an incident was already on"], allowed="85%"),
    Case("an outage in lagging seconds", [failing(2, 6)], (2, 6), ill=lag(2, 6)),
    Case("an outage in seconds of more lag", [failing(2, 6)], (2, 6), ill=lag(2, 6, 480.0)),
    Case("lag before and after the outage too", [failing(2, 6)], (2, 6), ill=lag(1, 7, 480.0), verdict="INVALID"),
    Case(
        "a generator too late to trust",
        [failing(2, 6)],
        (2, 6),
        ill=lag(2, 6, 900.0),
        verdict="INVALID",
    ),
    Case(
        "a third fails in lagging seconds",
        [failing(2, 6, every=3)],
        (2, 6),
        within=0.5,
        ill=lag(2, 6),
        verdict="INVALID",
    ),
    Case("lag alone", ill=lag(40, 43), words=["absorbed"]),
    Case("lag in the baseline", [failing(2, 6)], (2, 6), ill=lag(-12, -10)),
    Case(
        "came back when it was mended",
        [failing(0, 18)],
        "",
        at_least=15.0,
        strikes=[Strike(INJECTED, UNDONE, one_shot=True, max_duration_s=15.0)],
        words=["it was mended, and came back after 18.0 s"],
    ),
    Case("a fault that was never undone", [failing(0, 9)], (0, 9), strikes=[Strike(INJECTED)], verdict="INVALID"),
    Case("a fault nobody saw", strikes=[Strike(INJECTED, UNDONE, witnessed=False)], verdict="INVALID"),
]


def objectives(case: Case) -> list[str]:
    """Those that every run is judged by, and a time to recover that it just meets, and one that it just misses."""
    found = [f"availability >= {case.allowed}", "budget(99.9%, 30d) <= 1%", "p99(latency) <= 500ms during fault"]
    if isinstance(case.bad, tuple):
        took = case.bad[1] - case.bad[0]
        found += [f"ttr <= {took + case.resolution_s + 0.1:.3f}s", f"ttr <= {took - case.resolution_s - 0.1:.3f}s"]
    elif case.at_least is not None:
        found += [f"ttr <= {case.at_least + 0.2}s", f"ttr <= {case.at_least - 0.2}s"]
    else:
        found += ["ttr <= 1ms", "mttr <= 1ms"]
    return found


def expected_of_ttr(case: Case) -> list[str]:
    if isinstance(case.bad, tuple):
        return ["PASS", "FAIL"]
    if case.at_least is not None:
        return ["INCONCLUSIVE", "FAIL"]
    return ["PASS", "PASS"] if case.bad is None else ["INCONCLUSIVE", "INCONCLUSIVE"]


@pytest.mark.parametrize("case", CASES, ids=lambda case: str(case.name))
def test_a_run_is_judged_by_its_truth(case: Case, tmp_path: Path) -> None:
    run = draw(
        tmp_path / "run",
        *objectives(case),
        stages=[{"hold": "90s"}],
        stretches=case.stretches,
        strikes=case.strikes,
        seconds=case.due(),
        ill=case.ill,
        **{key: dict(value) for key, value in case.drawn.items()},
    )
    verdict = judge(run).verdict
    (fault,) = verdict["faults"]
    availability, budget, latency, *recovery = verdict["objectives"]

    requests = list(Recorded(run).samples())
    intended, ended, ok = (
        np.concatenate([getattr(part, of) for part in requests]) for of in ("intended_s", "ended_s", "ok")
    )
    failed_share = 1.0 - float(ok.mean())
    assert availability["estimate"] == pytest.approx(100 * (1 - failed_share)), "every request of the run counts"
    assert budget["estimate"] == pytest.approx(100 * failed_share / (1 - SLO) * (END - START) / WINDOW_S)
    if case.verdict != "INVALID":
        assert (availability["verdict"] == "FAIL") == (failed_share > 1 - float(case.allowed[:-1]) / 100)
    over = case.strikes[0].undone_s or END
    of_fault = (intended < over) & ((intended >= INJECTED) | ((ended >= INJECTED) & (ended < over)))
    assert latency["n"] == np.count_nonzero(of_fault) or case.ill, (
        "whatever was in flight at the injection is the fault's"
    )

    assert fault["absorbed"] is (case.bad is None)
    assert fault["recovered"] is (case.bad is None or isinstance(case.bad, tuple))
    if isinstance(case.bad, tuple):
        begin, end = case.bad
        assert fault["impact_s"] == pytest.approx(begin, abs=case.resolution_s)
        assert fault["recover_s"] == pytest.approx(end - begin, abs=case.resolution_s)
        low, high = fault["recover_between_s"]
        assert low - 0.02 <= end - begin <= high + case.resolution_s
    if case.at_least is not None:
        assert fault["recover_between_s"][0] == pytest.approx(case.at_least, abs=case.resolution_s)
    assert [one["at"] for one in fault.get("later_incidents", [])] == [start for start, _ in case.later]
    for word in case.words:
        assert word in fault["why"]
    watched = intended >= INJECTED
    assert ("no impact" in fault["why"]) <= bool(ok[watched].all()), "no impact is said of nothing that failed"
    got = [one["verdict"] for one in recovery]
    assert got == expected_of_ttr(case) or (
        case.verdict == "INVALID" and set(got) <= {"INVALID", *expected_of_ttr(case)}
    )
    if case.verdict is not None:
        assert verdict["verdict"] == case.verdict
    assert verdict["verdict"] != "PASS" or case.bad is None
    assert math.isfinite(verdict["generator"]["offered"])


PHASES = {
    "warmup": (2, 12),
    "baseline": (12, 42),
    "surge": (42, 52),
    "fault": (62, 67),
    "cooldown": (92, 97),
}
"""When each phase of the run below is there, on the run's clock; the baseline also from 52 to 62 and at the end."""


@pytest.mark.parametrize("where", PHASES)
def test_a_second_of_failures_counts_in_its_phase_and_in_no_other(where: str, tmp_path: Path) -> None:
    start, _ = PHASES[where]
    due = np.concatenate([np.arange(2, 42, 0.01), np.arange(42, 52, 0.0033), np.arange(52, 97, 0.01)]) + 0.001
    out = Stretch(start + 2, start + 3, outcome="http_error")
    run = draw(
        tmp_path / "run",
        "availability >= 99%",
        *(f"availability >= 99% during {phase}" for phase in PHASES),
        stages=[
            {"ramp": "100/s", "over": "10s"},
            {"hold": "30s"},
            {"surge": "3x", "for": "10s"},
            {"hold": "40s"},
            {"ramp": "0/s", "over": "5s"},
        ],
        seconds=due,
        stretches=[out],
        strikes=[Strike(62, 67)],
    )
    judgement = judge(run)
    failed = np.count_nonzero((due >= out.start_s) & (due < out.end_s))
    usual, *found = judgement.verdict["objectives"]
    for phase, one in zip(PHASES, found, strict=True):
        bad = round(one["n"] * (1 - one["estimate"] / 100))
        assert bad == (failed if phase == where else 0), phase
    assert sum(one["n"] for one in found) + judgement.phases.duration_s("recovery") * 100 == pytest.approx(
        due.size, abs=15
    )
    assert round(usual["n"] * (1 - usual["estimate"] / 100)) == (0 if where in ("warmup", "cooldown") else failed)
    (fault,) = judgement.verdict["faults"]
    assert fault["absorbed"] is (where not in ("fault", "baseline")), (
        "of a baseline that misses 99 % nothing is said"
    )


def test_the_matrix_has_forty_runs_at_least() -> None:
    assert len({case.name for case in CASES}) == len(CASES) >= 40
