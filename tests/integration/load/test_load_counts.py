"""What a load process counted is what its tables hold, also when it was killed."""

from __future__ import annotations

from collections.abc import Callable

from load_process import Load, Server, hold

from faultload.record.complete import missing_parts
from faultload.record.counts import Tally
from faultload.record.events import Count
from faultload.record.measured import Measured, read_measured
from faultload.record.sealed import seal

VISIT = """
from locust import task
from faultload.load import Journey, observe, attempt, acknowledge

class Visit(Journey):
    def on_start(self):
        self.client.get("/login")

    @task
    def visit(self):
        attempt("key")
        self.client.get("/visit")
        acknowledge("key")
        observe("seen", float("nan"))
"""
WRITTEN = ("samples", "iterations", "observations", "writes")


def recorded(run: Load) -> Measured:
    """The record as the conductor would have ended it."""
    run.run.update({"load_start_s": run.start_ns / 1e9, "ended": run.clock.now()})
    seal(run.run.path)
    return read_measured(run.run)


def counted(counts: list[Count], table: str) -> Tally:
    return Tally([entry for one in counts for entry in one.rows.get(table, ())])


def test_what_is_counted_is_what_the_tables_hold(server: Server, load: Callable[..., Load]) -> None:
    run = load(VISIT, host=server.url, stages=hold(50, 2), max_users=20)
    run.start()
    assert run.finished() == 0
    measured = recorded(run)
    counts = run.run.events_of(Count)
    for table in WRITTEN:
        held = measured.record.held(table)[f"{table}-0"]
        assert held.entries() == counted(counts, table).entries() and len(held) >= 100
        assert counts[-1].made[table] == len(held)
    assert [one.last for one in counts] == [False] * (len(counts) - 1) + [True]
    assert missing_parts(run.run, measured) == []


def test_of_a_killed_one_only_the_last_second_is_missing_and_named(
    server: Server, load: Callable[..., Load]
) -> None:
    run = load(VISIT, host=server.url, stages=hold(50, 30), max_users=20)
    run.start()
    run.until(2.5)
    run.process.kill()
    run.finished()
    measured = recorded(run)
    counts = run.run.events_of(Count)
    last_s = counts[-1].t
    for table in WRITTEN:
        held = measured.record.held(table)[f"{table}-0"]
        beyond = [one for one in held.differing(counted(counts, table)) if one[1] > one[2]]
        lost = [one for one in counted(counts[:-1], table).differing(held) if one[1] > one[2]]
        assert beyond == lost == [], "it counts, then writes"
        assert len(held) > 50
    (missing,) = missing_parts(run.run, measured)
    assert missing.text == f"load-0 never said that it was done: what it recorded after {last_s:.1f} s is missing"
