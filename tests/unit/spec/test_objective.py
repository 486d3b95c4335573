"""The objective expression: all that must parse does, prints as written, and what would do nothing is refused."""

from __future__ import annotations

import pytest

from faultload.spec.measures import measure_of
from faultload.spec.objective import parse_abort, parse_objective
from faultload.spec.term import ObjectiveError

MUST_PARSE = [
    "p99(latency) <= 500ms",
    'p99.9(latency, request="POST /memories/") <= 50ms during baseline',
    "p95(service_time, journey=Search) <= 40ms",
    "availability >= 99.9%",
    "error_rate <= 0.1%",
    "throughput >= 10000/min",
    "iterations(failed, journey=Checkout) == 0",
    "mttr <= 5min",
    "ttr(db-failover) <= 30s",
    "ttd <= 60s",
    "lost_writes == 0",
    "mtbf >= 720h",
    "budget(99.9%, 30d) <= 5%",
    "budget(99.9%, 30d, events=1000000) <= 5%",
    "burn_rate(99.9%) <= 1",
    "mean(cache_hit) >= 0.9",
    'mean("cache hit") >= 0.9',
    "p99(mapek_cycle) <= 100ms",
    "slope(rss, service=api) <= 100MB/h",
    "max(cpu, service=db) <= 80%",
    "ratio(p50(create, variant=v2), p50(create, variant=v3)) >= 30",
    "capacity >= 200/s",
    "share(latency <= 300ms) >= 99%",
    'share(service_time < 1s, request="GET /") >= 99% during baseline of run',
    "slices(p95(latency) <= 500ms, 10s) >= 99%",
    'slices(p95(latency, request="GET /") <= 500ms, 10s) >= 99%',
    "slices(availability >= 99%, 1m) >= 95% during fault:cut",
    "slices(share(latency <= 300ms) >= 99%, 1m) >= 95% of system",
    "budget(99%, 30d, latency <= 300ms) <= 5%",
    "budget(99%, 30d, latency <= 300ms, events=1000000) <= 5%",
    "burn_rate(99%, latency <= 300ms, journey=Buy) <= 1",
    "p99(latency) <= 500ms of run",
    "p90(ttr) <= 30s",
    "median(ttr(db-failover)) <= 30s of run",
    "recovery_after_overload <= 60s",
    "availability(request='GET /a?b=\"c\"') >= 95% during fault:db-failover#2",
    "p50(latency) < 10ms during recovery:db-failover",
    "median(latency, variant=after) > 1ms during 'rush hour'",
]


@pytest.mark.parametrize("text", MUST_PARSE)
def test_it_parses_and_what_it_prints_means_the_same(text: str) -> None:
    objective = parse_objective(text)
    assert parse_objective(str(objective)) == objective


@pytest.mark.parametrize("text", [text for text in MUST_PARSE if "'" not in text])
def test_it_prints_as_it_was_written(text: str) -> None:
    assert str(parse_objective(text)) == text


def test_its_parts() -> None:
    objective = parse_objective('p99.9(latency, request="POST /x", journey=Buy) <= 50ms during fault:cut#2')
    assert objective.term.quantile == "0.999"
    assert objective.term.subject == "latency"
    assert objective.term.filters == {"request": "POST /x", "journey": "Buy"}
    assert (objective.operator, objective.target.value, objective.phase) == ("<=", 0.05, "fault:cut#2")


@pytest.mark.parametrize(
    ("name", "quantile"), [("p50", "0.50"), ("p5", "0.05"), ("p99.99", "0.9999"), ("p0.1", "0.001")]
)
def test_a_quantile_is_exact(name: str, quantile: str) -> None:
    assert parse_objective(f"{name}(latency) <= 1s").term.quantile == quantile


@pytest.mark.parametrize(
    ("text", "dimension"),
    [
        ("p99(latency) <= 1s", "time"),
        ("slope(rss) <= 1MB/h", "byte_rate"),
        ("slope(cpu) <= 1%/h", "share_rate"),
        ("slope(queue) <= 1/h", "rate"),
        ("max(rss) <= 1GB", "bytes"),
        ("mean(cache_hit) >= 0.9", None),
        ("throughput >= 1/s", "rate"),
    ],
)
def test_the_dimension_of_a_measure(text: str, dimension: str | None) -> None:
    term = parse_objective(text).term
    assert measure_of(term).dimension_of(term) == dimension


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "wanted a measure"),
        ("p99", "wanted one of <= >= == < >, found 'the end'"),
        ("p99(latency)", "wanted one of"),
        ("p99(latency) <=", "wanted a number, found 'the end'"),
        ("p99(latency <= 500ms", "wanted ,, found the end"),
        ("p99(latency <= 500ms) <= 1s", "takes one name"),
        ("share(latency) >= 99%", "share takes a limit on a request, such as share\\(latency <= 300ms\\)"),
        ("share(latency <= 300ms, 5s) >= 99%", "share takes a limit on a request"),
        ("share(latency >= 300ms) >= 99%", "'latency >= 300ms' is no limit on a request"),
        ("share(p99(latency) <= 300ms) >= 99%", "is no limit on a request"),
        ("share(cache_hit <= 1) >= 99%", "is no limit on a request"),
        ("share(latency <= 3) >= 99%", "latency is compared with a time above 0"),
        ("share(latency <= 300ms) >= 99", "did you mean 99%"),
        ("slices(p95(latency) <= 500ms) >= 99%", "slices takes a limit and the length of a slice"),
        ("slices(p95(latency) <= 500ms, 10) >= 99%", "'10' is no length of a slice"),
        ("slices(10s, p95(latency) <= 500ms) >= 99%", "slices takes a limit and the length of a slice"),
        ("slices(p95(latency) >= 500ms, 10s) >= 99%", "cannot be told of each slice"),
        ("slices(max(latency) <= 500ms, 10s) >= 99%", "cannot be told of each slice"),
        ("slices(p95(queue) <= 5, 10s) >= 99%", "cannot be told of each slice"),
        ("slices(p95(latency) <= 5, 10s) >= 99%", "compared with a time such as 500ms"),
        ("slices(ttr <= 5s, 10s) >= 99%", "cannot be told of each slice"),
        ("slices(availability <= 99%, 10s) >= 99%", "cannot be told of each slice"),
        ("slices(error_rate >= 1%, 10s) >= 99%", "cannot be told of each slice"),
        ("slices(p95(latency) <= 500ms, 1ns) >= 99%", "'1ns' is no length of a slice, which lasts 100ms at least"),
        ("slices(availability > 99%, 10s) >= 99%", "cannot be told of each slice"),
        ("slices(slices(p95(latency) <= 1s, 1s) >= 9%, 10s) >= 99%", "cannot be told of each slice"),
        ("budget(99%, latency <= 300ms, 30d) <= 5%", "takes 'latency <= 300ms' as its last argument"),
        ("budget(99%, latency <= 300ms) <= 5%", "budget takes a share and a window"),
        ("burn_rate(99%, latency <= 5) <= 1", "latency is compared with a time above 0"),
        ("p99(latency) <= 500ms please", r"'please' is unexpected \(column 23\)"),
        ("p99(latency) <= fast", r"'fast' is not a number with a unit \(column 17\)"),
        ("p99(latency) <= 500 ms", "'ms' is unexpected"),
        ("p99(latency) => 500ms", "wanted one of"),
        ("p99(latency) <= 500ms during", "wanted a phase"),
        ("p99(latency) <= 500ms for 9s", "'for' is unexpected"),
        ('p99(latency, request="x) <= 1s', "cannot read"),
        ("p100(latency) <= 1s", "unknown measure 'p100'"),
        ("p0(latency) <= 1s", "p0 is not a quantile"),
        ("p99.99999999(latency) <= 1s", "p99.99999999 is too close to 100 %"),
        ("p99.9999999999999999999(cache_hit) <= 1", "would need more than a billion requests"),
        ("P99(latency) <= 1s", "did you mean 'p99'"),
        ("avg(latency) <= 1s", "unknown measure 'avg'"),
        ("p99(latency, jorney=A) <= 1s", "unknown filter 'jorney' .*did you mean 'journey'"),
        ("p99(latency, journey=A, journey=B) <= 1s", "filter 'journey' appears twice"),
        ("p99(latency, service=api) <= 1s", "takes no filter 'service'"),
        ("p99(latency, events=9) <= 1s", "takes no filter 'events'"),
        ("max(rss, journey=A) <= 1GB", r"takes no filter 'journey' \(it takes: service, instance\)"),
        ("ttr(x, journey=A) <= 1s", r"takes no filter 'journey' \(it takes: none\)"),
        ("iterations(failed, request=A) == 0", "takes no filter 'request'"),
        ("ttr(x) <= 1s during baseline", "is about the whole run"),
        ("lost_writes == 0 during baseline", "is about the whole run"),
        ("p99() <= 1s", r"takes one name, such as p99\(latency\)"),
        ("p99(latency, service_time) <= 1s", "takes one name"),
        ("mean(p50(latency)) <= 1s", "takes one name"),
        ("slope(latency) <= 1s", "slope reads an observation or a metric"),
        ("availability(latency) >= 99%", "takes no argument"),
        ("capacity(x) >= 1/s", "takes no argument"),
        ("availability >= 99.9", "did you mean 99.9%"),
        ("error_rate <= 101%", "not a share between 0% and 100%"),
        ("availability >= 500ms", "compared with a share such as 99.9%"),
        ("throughput >= 10000", "compared with a rate such as 100/s"),
        ("max(rss) <= 80%", "compared with a bytes such as 100MB"),
        ("mttr <= 5", "compared with a time such as 500ms, not with '5'"),
        ("lost_writes == 0%", "compared with a number such as 0"),
        ("budget(99.9%) <= 1%", "budget takes a share and a window"),
        ("budget(99.9%, 0d) <= 1%", "budget takes a share and a window"),
        ("budget(100%, 30d) <= 1%", "takes a target share"),
        ("budget(99.9%, 30d, events=many) <= 1%", "events=many: wanted the number"),
        ("burn_rate(99.9%, 30d) <= 1", "burn_rate takes one share"),
        ("burn_rate <= 1", "takes a target share"),
        ("ttr(a, b) <= 1s", "takes the name of one fault"),
        ("p90(ttr, 5s) <= 1s", "p90 takes `ttr` alone"),
        ("p90(ttr) <= 5", "compared with a time such as 500ms"),
        ("p90(ttr) <= 5s during fault", "is about the whole run"),
        ("p90(ttr(a, b)) <= 5s", "takes the name of one fault"),
        ("mean(ttr(a)) <= 5s", "takes one name"),
        ("ttr(5s) <= 1s", "takes the name of one fault"),
        ("iterations(lost) == 0", "iterations takes failed, ok or nothing"),
        ("ratio(p50(a)) >= 1", "ratio takes a quantile, mean or median twice"),
        ("ratio(p50(a), p99(b)) >= 1", "ratio takes a quantile, mean or median twice"),
        ("ratio(max(a), max(b)) >= 1", "ratio takes a quantile, mean or median twice"),
        ("ratio(mean(rss), mean(rss)) >= 1", "not metrics"),
    ],
)
def test_what_is_no_objective_is_refused(text: str, says: str) -> None:
    with pytest.raises(ObjectiveError, match=says):
        parse_objective(text)


@pytest.mark.parametrize(
    "text", ["error_rate > 90% for 20s", "availability < 50% for 5s", "p99(latency) > 2s for 30s"]
)
def test_an_abort_condition(text: str) -> None:
    condition = parse_abort(text)
    assert str(condition) == text
    assert condition.for_s == float(text.split()[-1].removesuffix("s"))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("error_rate > 90%", "ends with `for`"),
        ("error_rate > 90% for 0s", "ends with `for`"),
        ("error_rate > 90% for 20", "not a duration"),
        ("error_rate > 90% for", "wanted a duration"),
        ("p95(latency) > 2s for 30s", "can use error_rate"),
        ("p99(service_time) > 2s for 30s", "can use error_rate"),
        ("lost_writes > 0 for 5s", "can use error_rate"),
        ("error_rate(journey=Buy) > 90% for 5s", "without filters"),
        ("error_rate > 90% during baseline for 5s", "without filters or `during`"),
    ],
)
def test_an_abort_condition_that_could_not_be_watched_is_refused(text: str, says: str) -> None:
    with pytest.raises(ObjectiveError, match=says):
        parse_abort(text)
