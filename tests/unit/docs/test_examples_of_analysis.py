"""Every example of docs/analysis.md recomputed: its numbers are read from the page, and found again by the code.

The table of times is measured by `benchmarks/analysis.py`, and depends on the machine.
"""

from __future__ import annotations

import math
import re
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from faultload.chaos.warden import HUNG_AFTER_S
from faultload.errors import ExitCode
from faultload.record import complete
from faultload.spec.alerts import AlertRule
from faultload.spec.baseline import declared_limits
from faultload.spec.measures import measure_of
from faultload.spec.objective import parse_objective
from faultload.spec.scenario import Scenario
from faultload.verdict import steps, warmup
from faultload.verdict.judge import _EXIT
from faultload.verdict.measures.statistic import worst_of
from faultload.verdict.objectives import showed
from faultload_analysis.capacity.bracket import KEPT_UP
from faultload_analysis.compare.bootstrap import BATCHES
from faultload_analysis.evidence.dependence import batches_for
from faultload_analysis.evidence.verdict import Estimate, Verdict, decide
from faultload_analysis.latency.generator import SlipBuilder, Spoiled, limit_for, spoiled_seconds
from faultload_analysis.latency.population import KEEP, Population
from faultload_analysis.latency.quantiles import mean_estimate, quantile_estimate
from faultload_analysis.latency.steps import Steps
from faultload_analysis.latency.throughput import BATCHES_TO_TRY
from faultload_analysis.latency.trend import slope_estimate
from faultload_analysis.latency.warmup import BATCH, mser
from faultload_analysis.latency.windows import WindowCounter
from faultload_analysis.needed import least_requests
from faultload_analysis.recovery.absorbed import WORST_MISSED
from faultload_analysis.recovery.excess import EXCESS
from faultload_analysis.recovery.gaps import UNLIKELY, UNLIKELY_ALONE
from faultload_analysis.recovery.outcome import Recovery
from faultload_analysis.recovery.quantile import ttr_quantile
from faultload_analysis.recovery.slice_rule import NOISE, baseline_rule
from faultload_analysis.slo.alerts import DEFAULT_WINDOWS, detection_time_s
from faultload_analysis.slo.availability import largest_unseen_outage, proportion_estimate

PAGE = " ".join((Path(__file__).parents[3] / "docs" / "analysis.md").read_text().split())
NUMBER = r"([\d,]+(?:\.\d+)?)"
MB, HOUR = 1e6, 3600.0


def numbers(sentence: str) -> list[float]:
    """The numbers that stand in the page where a sentence has `#`; the sentence must be there, once."""
    pattern = re.escape(sentence).replace(r"\#", NUMBER)
    found = re.findall(pattern, PAGE)
    assert len(found) == 1, f"docs/analysis.md says this {len(found)} times: {sentence}"
    parts = found[0] if isinstance(found[0], tuple) else (found[0],)
    return [float(part.replace(",", "").rstrip(".")) for part in parts]


def test_of_the_run_a_worse_system_passes_seldom() -> None:
    is_so, must_not_pass, n = numbers(
        "a system that is # % available must not pass # % because few of # requests happened to fail"
    )
    slo, requests = must_not_pass / 100, int(n)

    def passes(failed: int) -> bool:
        bad = np.arange(requests) < failed
        low = proportion_estimate(bad, slo=slo, of_run=True).low
        return low is not None and low >= slo

    most = max((k for k in range(10) if passes(k)), default=-1)
    assert most >= 0
    assert stats.binom.cdf(most, requests, 1 - is_so / 100) <= 0.05


def test_what_a_pass_needs_of_the_run() -> None:
    *found, beyond = numbers(
        "at least # requests for the median, # for P95, # for P99 or # % availability, and # for P99.9 or 99.9 %"
    )
    median, p95, p99, share = found
    assert share == 99
    needed = [least_requests(Fraction(text)) for text in ("0.5", "0.95", "0.99", "0.999")]
    assert [median, p95, p99, beyond] == needed
    for text, count in (("p50(latency)", median), ("p95(latency)", p95), ("p99(latency)", p99)):
        objective = parse_objective(f"{text} <= 1s of run")
        assert measure_of(objective.term).requests_needed(objective) == count


def test_what_a_pass_of_the_system_needs_at_least() -> None:
    (least,) = numbers("and at least # for a quantile or a mean")
    (fewer,) = numbers("From fewer than # requests nobody can tell how they depend on each other")
    (values,) = numbers("open below # values")
    n = int(least)
    assert least == fewer == values
    for size, known in ((n - 1, False), (n, True)):
        series = np.random.default_rng(1).exponential(1.0, size)
        assert (quantile_estimate(series, 0.5).high is not None) is known
        assert (mean_estimate(series).high is not None) is known


def test_what_a_quantile_of_repeats_needs() -> None:
    p90, median = numbers("each with its own bounds: # for P90, # for the median")
    assert p90 == least_requests(Fraction("0.9"))
    assert median == least_requests(Fraction("0.5"))
    for p, count in ((Fraction("0.9"), int(p90)), (Fraction("0.5"), int(median))):
        for repeats, known in ((count - 1, False), (count, True)):
            back = Recovery(0.1, None, None, 5.0, False, True, None, 0.1, True, "back", low_s=4.9, high_s=5.1)
            assert (ttr_quantile([back] * repeats, p).high is not None) is known


def test_what_a_run_shows_is_said_in_counts() -> None:
    (shown,) = re.findall(r'always what this run showed: "this run showed ([^"]+)"', PAGE)
    objective = parse_objective("p99(latency) <= 10s")
    assert showed(objective, Estimate(3.1, None, None, 10_000, None, "", missed=0)) == shown


def test_the_pauses_that_could_have_gone_unseen() -> None:
    lasted, quantile, pause, rarer = numbers('in # s of P#, "pauses longer than # s once in # s')
    unseen = largest_unseen_outage(6000, lasted, quantile / 100)
    assert f"pauses longer than {pause:g} s once in {rarer:g} s" in unseen.of_pauses
    (confidence,) = numbers("are missing with # % probability or more")
    assert math.exp(-3) == pytest.approx(confidence / 100, rel=0.01)


def test_the_longest_event_that_is_declared() -> None:
    stretches, load_s = numbers("It needs # such stretches, # s of load")
    objective = parse_objective("p99(latency, stall=2s) <= 500ms")
    measure = measure_of(objective.term)
    assert (measure.requests_needed(objective), measure.load_needed_s(objective)) == (stretches, load_s)


def test_a_total_outage_that_fires_an_alert() -> None:
    burn_rate, slo, hours, takes = numbers("a burn rate of # on # % over # h takes # s")
    rule = AlertRule(name="A", objective=f"availability >= {slo}%", long=f"{hours}h", burn_rate=burn_rate)
    assert rule.shortest_outage_s == pytest.approx(takes)
    assert detection_time_s(1.0, slo / 100, DEFAULT_WINDOWS[0]) == pytest.approx(takes)


def test_one_step_of_memory_in_two_minutes() -> None:
    size, low, high = numbers("one step of # MB in two minutes is anything from # MB to # GB an hour")
    bounds = Steps(np.array([40]), np.array([size * MB])).rate_bounds(120.0, 0.95)
    assert bounds[0] * HOUR / MB == pytest.approx(low, rel=0.03)
    assert bounds[1] * HOUR / (1000 * MB) == pytest.approx(high, rel=0.03)
    seconds = np.arange(0.0, 120.0)
    found = slope_estimate(seconds, 100 * MB + size * MB * (seconds >= 40))
    assert found.high is not None
    assert found.high * HOUR / (1000 * MB) == pytest.approx(high, rel=0.03)


def test_a_slope_needs_its_points_and_its_time() -> None:
    points, lasted = numbers("under # points or # s it is too short to say")
    for n, over, known in ((points - 1, lasted, False), (points, lasted - 1, False), (points, lasted, True)):
        seconds = np.linspace(0, over, int(n))
        assert (slope_estimate(seconds, seconds).value is not None) is known


def test_a_process_that_is_restarted_too_often_to_be_measured_passes_no_slope() -> None:
    (every,) = numbers("restarted every # s passes no")
    lives = [slope_estimate(np.arange(every), 5 * MB * np.arange(every)) for _ in range(6)]
    steady = slope_estimate(np.arange(120.0), np.full(120, 100 * MB) + np.arange(120) % 3)
    for found in (worst_of(lives, upper=True), worst_of([*lives, steady], upper=True)):
        decision = decide("<=", 100 * MB / HOUR, found, fmt=str, subject="slope(rss)")
        assert decision.verdict is not Verdict.PASS


def test_a_mean_of_a_metric_needs_samples() -> None:
    assert "A mean or an extreme needs ten samples in all." in PAGE
    for n, known in ((9, False), (10, True)):
        whole = worst_of([Estimate(1.0, 1.0, 1.0, n, None, "exact")], upper=True)
        assert (whole.high is not None) is known


def test_a_folded_run_keeps_its_quantiles_and_its_counts() -> None:
    (error,) = numbers("Every quantile is then within # %")
    assert "Up to two million values of a selection are kept as they are." in PAGE
    assert KEEP == 2_000_000
    values = np.random.default_rng(3).lognormal(-3.0, 1.0, 200_000)
    folded, whole = Population(values, targets=[0.3], keep=1000), Population.of(values)
    assert not folded.exact
    for at in (1, 100_000, 198_000, 199_800, 200_000):
        assert folded.order_statistic(at) == pytest.approx(whole.order_statistic(at), rel=error / 100)
    assert folded.count_above(0.3) == int(np.count_nonzero(values > 0.3))


def test_the_numbers_of_batches_and_blocks() -> None:
    (batches,) = numbers("Student's t on # autocorrelated batch means")
    assert batches == batches_for(20_000)
    assert tuple(numbers("the widest of #, # and # batches")) == BATCHES_TO_TRY
    (blocks,) = numbers("block bootstrap over # blocks")
    assert blocks == BATCHES


def test_a_slice_without_requests_that_chance_would_not_make() -> None:
    (odds,) = numbers("that would happen by chance less often than once in #; else it does not count")
    for mean, bad in ((math.log(odds) + 0.1, True), (math.log(odds) - 0.2, False)):
        counter = WindowCounter([(0.0, 1000.0)], 1.0)
        counts = np.full(999, round(mean * 1000 / 999 * 100) // 100)
        counts[: round(mean * 1000) - int(counts.sum())] += 1
        counter.add(np.repeat(np.arange(999.0), counts), np.zeros(int(counts.sum())))
        assert bool(counter.bad(Fraction(1, 10))[1][999]) is bad


def test_where_the_warm_up_ends() -> None:
    (minutes,) = numbers("at most its first # minutes or million requests")
    assert minutes * 60 == warmup.MOST_S
    assert warmup.MOST_ROWS == 1_000_000
    assert ("in batches of five" in PAGE, BATCH) == (True, 5)
    (fewest,) = numbers("or there are fewer than # requests, no steady state was seen")
    settled = np.r_[np.full(int(fewest) // 5, 9.0), np.ones(int(fewest) - int(fewest) // 5)]
    assert mser(settled[1:]).too_short
    assert not mser(settled).too_short
    assert "if that is a second or more" in PAGE
    assert warmup._WORTH_SAYING_S == 1.0


def test_a_step_of_capacity() -> None:
    assert "its first tenth is ignored" in PAGE
    assert steps.SETTLING == 0.1
    (kept_up,) = numbers("the generator was healthy, and at least # % of the iterations that were due")
    assert kept_up == 100 * KEPT_UP


def test_the_declared_latency_of_a_baseline() -> None:
    quantile, share = numbers("quantile of P# or above, or `share` within a latency of at least # %")

    def limit(objective: str) -> float | None:
        load = {"journeys": "j.py", "rate": [{"step": "5/s", "for": "60s"}]}
        written = {"name": "x", "target": {"url": "http://127.0.0.1"}, "load": load, "objectives": [objective]}
        return declared_limits(Scenario.model_validate(written), "full")[0]

    assert limit(f"p{quantile:g}(latency) <= 300ms") == 0.3
    assert limit(f"p{quantile - 1:g}(latency) <= 300ms") is None
    assert limit(f"share(latency <= 300ms) >= {share:g}%") == 0.3
    assert limit(f"share(latency <= 300ms) >= {share - 1:g}%") is None


def test_one_bad_second_in_five_minutes_hides_at_most_three() -> None:
    assert "one bad second in five minutes hides at most three such seconds" in PAGE
    times, latency = np.arange(0, 300, 0.02), np.full(15_000, 0.01)
    out = latency.copy()
    out[(times >= 100) & (times < 101)] = np.inf
    clean, struck = (
        baseline_rule(values, times_s=times, latency_limit_s=0.5, max_bad_share=0.01) for values in (latency, out)
    )
    assert struck.noise(50, struck.max_bad_share) == clean.noise(50, clean.max_bad_share)
    assert struck.bursts is not None
    assert struck.bursts.failed <= 3 * 50


def test_the_probabilities_of_recovery() -> None:
    noise, gap, alone, excess = (
        *numbers("or more than binomial noise explains (probability #)"),
        *numbers("a run of empty slices is a gap if that makes it less likely than #"),
        *numbers("A gap begins an incident by itself below #"),
        *numbers("(conditional binomial test at #, counts divided by their dispersion)"),
    )
    assert (noise, gap, alone, excess) == (NOISE, UNLIKELY, UNLIKELY_ALONE, EXCESS)
    (missed,) = numbers("or more than # % that could have been missed, is not measurable")
    assert missed == 100 * WORST_MISSED


def test_when_the_generator_spoils_a_second() -> None:
    least_ms, share = numbers("The limit is max(# ms, # % of the tightest bound that covers the second)")
    bounds = (None, 0.1, 1.0, 30.0)
    expected = [max(least_ms / 1e3, share / 100 * (bound or 0.0)) for bound in bounds]
    assert [limit_for(bound) for bound in bounds] == pytest.approx(expected)
    (cpu,) = numbers("The process used more than # % of a CPU.")
    assert [spoiled(cpu_percent=at).seconds for at in (cpu, cpu + 0.1)] == [0, 10]
    assert "more than ten times the limit, a tenth of that median is allowed instead" in PAGE
    assert [spoiled(lag_s=0.05, median_s=at).seconds for at in (0.11, 0.6)] == [10, 0]
    (too_many,) = numbers("An objective is INVALID if more than # % of the seconds in its phase are spoiled")
    middles = np.arange(100) + 0.5
    for count, fit in ((too_many, True), (too_many + 1, False)):
        mask = np.arange(100) < count
        found = Spoiled(0.0, mask, None, None, None, None, ("late",), mask)
        assert (found.unfit(middles) == "") is fit


def spoiled(*, cpu_percent: float = 30.0, lag_s: float = 0.001, median_s: float = math.nan) -> Spoiled:
    """Ten seconds of one load process, all alike; the limit is 10 ms."""
    slips, ten = SlipBuilder(0.0, 10.0).finish(), np.ones(10)
    moments = np.arange(10) + 0.5
    return spoiled_seconds(
        slips, moments, lag_s * ten, cpu_percent * ten, limit_s=0.01, median_latency_s=median_s * ten
    )


def test_what_may_be_silent_for_how_long() -> None:
    (hung,) = numbers("if the conductor hung for # s")
    assert hung == HUNG_AFTER_S
    (silent,) = numbers("could not sample the instances of a service for more than # s")
    assert silent == complete._LONGEST_GAP_S


def test_the_exit_codes() -> None:
    open_fault, interrupt, ended, *verdicts = numbers(
        "The exit code is # if a fault is still open; # after an interrupt; # if an abort condition or the kill "
        "switch ended the run, or a fault was not injected. Otherwise it is the verdict's: # for PASS, # for FAIL, "
        "# for INCONCLUSIVE, # for INVALID"
    )
    assert (open_fault, interrupt, ended) == (ExitCode.NOT_UNDONE, ExitCode.INTERRUPTED, ExitCode.REFUSED)
    wanted = (Verdict.PASS, Verdict.FAIL, Verdict.INCONCLUSIVE, Verdict.INVALID)
    assert verdicts == [_EXIT[verdict] for verdict in wanted]
