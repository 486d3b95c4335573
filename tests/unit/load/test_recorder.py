"""The recorder: what a journey did becomes rows, each with its journey, variant, outcome and intended start."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gevent
import pytest

from faultload.load.iteration import KEY, Call, Iteration
from faultload.load.recorder import Recorder, current_user
from faultload.record import tables
from faultload.record.directory import RunDirectory

MS = 1_000_000


class Visit:
    """A user, as much of it as the recorder asks for."""

    def __init__(self, iteration: Iteration | None = None) -> None:
        self.fl_iteration = iteration


class Book:
    """A recorder whose clock is the test's, and the rows that it wrote."""

    def __init__(self, folder: Path) -> None:
        self.run = RunDirectory.create(folder)
        self.run.begin({})
        self.it = Recorder(self.run, 0)
        self.now = 5_000 * MS
        self.it.now_ns = lambda: self.now

    def request(self, context: dict[str, Any] | None = None, **changes: Any) -> None:
        """Locust's event of a request that took 20 ms."""
        plain = {"request_type": "GET", "name": "GET /", "response_time": 20.0, "response_length": 512}
        self.it.on_request(**{**plain, "context": context, **changes})

    def rows(self, table: str = "samples") -> list[dict[str, Any]]:
        """All rows so far."""
        self.it.write(self.it.take())
        return tables.read(self.run.path, table).to_pylist()  # type: ignore[no-any-return]

    def row(self, table: str = "samples") -> dict[str, Any]:
        """The one row so far."""
        (found,) = self.rows(table)
        return found


@pytest.fixture
def book(tmp_path: Path) -> Iterator[Book]:
    made = Book(tmp_path / "run")
    yield made
    made.it.close()


def as_user(user: object, act: Callable[[], None]) -> None:
    """Do something in the greenlet of a user, as Locust runs it."""
    gevent.spawn(lambda _: act(), user).get()


def picked(row: dict[str, Any], *names: str) -> tuple[Any, ...]:
    return tuple(row[name] for name in names)


def answer(status: int) -> Any:
    return SimpleNamespace(status_code=status)


# -- when a request was meant to start


def test_the_first_request_of_an_iteration_starts_when_its_slot_was_due_and_later_ones_by_themselves(
    book: Book,
) -> None:
    iteration = Iteration("Visit", None, intended_ns=4_000 * MS)
    for started in (4_300 * MS, 4_600 * MS):
        book.request({KEY: Call(iteration, "GET /", started)})
    times = [picked(row, "intended_ns", "started_ns") for row in book.rows()]
    assert times == [(4_000 * MS, 4_300 * MS), (4_600 * MS, 4_600 * MS)]


def test_a_request_of_a_client_that_we_do_not_know_began_its_response_time_ago(book: Book) -> None:
    book.request(response_time=250.0)
    assert picked(book.row(), "intended_ns", "started_ns", "service_us") == (4_750 * MS, 4_750 * MS, 250_000)


def test_an_iteration_in_the_context_or_on_the_user_is_whose_request_it_was(book: Book) -> None:
    mine, of_user = Iteration("Mine", "blue", 4_000 * MS), Iteration("Theirs", "green", 4_500 * MS)
    as_user(Visit(of_user), lambda: book.request({KEY: mine}))
    as_user(Visit(of_user), book.request)
    wanted = ("journey", "variant", "intended_ns")
    assert [picked(row, *wanted) for row in book.rows()] == [
        ("Mine", "blue", 4_000 * MS),
        ("Theirs", "green", 4_500 * MS),
    ]
    assert (mine.requests, of_user.requests) == (1, 1)


def test_no_response_time_and_no_length_are_none(book: Book) -> None:
    book.request(response_time=None, response_length=None)
    assert picked(book.row(), "service_us", "bytes", "started_ns") == (0, 0, 5_000 * MS)


# -- whose it was


def test_a_request_outside_an_iteration_is_setup_of_the_users_journey(book: Book) -> None:
    as_user(Visit(), lambda: book.request({"variant": "blue"}))
    book.request()
    assert [picked(row, "journey", "variant") for row in book.rows()] == [("Visit", "setup"), (None, "setup")]


def test_a_variant_in_the_context_goes_before_the_iterations(book: Book) -> None:
    for context in ({"variant": "green"}, {}):
        iteration = Iteration("Visit", "blue", 0)
        book.request({KEY: Call(iteration, "GET /", 0), **context})
    assert [row["variant"] for row in book.rows()] == ["green", "blue"]


def test_a_user_is_found_by_its_greenlet() -> None:
    user = Visit()
    assert gevent.spawn(lambda _: current_user(), user).get() is user
    assert gevent.spawn(current_user).get() is None


# -- what became of it


def test_requests_are_counted_by_whether_they_were_answered_well(book: Book) -> None:
    for exception in (None, TimeoutError(), None, TimeoutError(), None):
        book.request(exception=exception)
    assert (book.it.ok, book.it.failed) == (3, 2)
    assert [row["outcome"] for row in book.rows()] == ["ok", "timeout", "ok", "timeout", "ok"]


def test_an_iteration_keeps_the_first_failure_of_its_requests(book: Book) -> None:
    iteration = Iteration("Visit", None, 0)
    failures: list[str | None] = []
    for exception in (None, TimeoutError(), ConnectionResetError()):
        book.request({KEY: Call(iteration, "GET /", 0)}, exception=exception)
        failures.append(iteration.failed)
    assert failures == [None, "timeout", "timeout"]
    assert iteration.requests == 3


def test_an_events_call_is_recorded_and_so_not_once_more(book: Book) -> None:
    call = Call(None, "GET /", 0)
    book.request({KEY: call})
    assert call.recorded


def test_a_sample_keeps_name_status_and_size(book: Book) -> None:
    book.request(name="GET /b", response=answer(204), response_length=77)
    assert picked(book.row(), "request", "status", "bytes", "outcome") == ("GET /b", 204, 77, "ok")


@pytest.mark.parametrize(("status", "kept"), [(0, 0), (999, 999), (1000, 0), (-1, 0)])
def test_a_status_has_three_digits_or_is_none(book: Book, status: int, kept: int) -> None:
    book.request(response=answer(status))
    assert book.row()["status"] == kept


@pytest.mark.parametrize(("size", "kept"), [(2**31 - 2, 2**31 - 2), (2**31 - 1, 2**31 - 1), (2**40, 2**31 - 1)])
def test_a_size_beyond_the_column_is_the_most_that_it_holds(book: Book, size: int, kept: int) -> None:
    book.request(response_length=size)
    assert book.row()["bytes"] == kept


def test_a_dropped_slot_has_no_status_and_no_size(book: Book) -> None:
    book.it.sample(1, 2, 0, None, "Visit", None, "dropped")
    assert picked(book.row(), "request", "outcome", "status", "bytes") == (None, "dropped", 0, 0)
    assert (book.it.ok, book.it.failed) == (0, 1)


# -- requests that Locust gives no event for


def test_a_request_without_an_event_lasts_until_it_was_given_up(book: Book) -> None:
    iteration = Iteration("Visit", "blue", intended_ns=4_000 * MS)
    call = Call(iteration, "GET /slow", started_ns=4_100 * MS)
    book.it.call(call, "Other", "unfinished", ended_ns=4_850 * MS)
    row = book.row()
    assert picked(row, "intended_ns", "started_ns", "service_us") == (4_000 * MS, 4_100 * MS, 750_000)
    assert picked(row, "request", "journey", "variant", "outcome") == ("GET /slow", "Visit", "blue", "unfinished")
    assert (call.recorded, iteration.requests) == (True, 1)


@pytest.mark.parametrize(
    ("iteration", "variant"), [(None, "setup"), (Iteration("Visit", None, 0), None), (Iteration("V", "b", 0), "b")]
)
def test_a_request_without_an_event_has_its_iterations_variant_or_is_setup(
    book: Book, iteration: Iteration | None, variant: str | None
) -> None:
    book.it.call(Call(iteration, "GET /", 0), "Visit", "timeout", ended_ns=1)
    assert book.row()["variant"] == variant


# -- iterations, observations and writes


def test_an_iteration_ends_now_with_whose_doing_its_wait_was(book: Book) -> None:
    book.it.iteration(Iteration("Visit", "blue", 4_000 * MS, waited_us=300, slip_us=20), "ok")
    row = book.row("iterations")
    assert picked(row, "intended_ns", "ended_ns", "waited_us", "slip_us") == (4_000 * MS, 5_000 * MS, 300, 20)
    assert picked(row, "journey", "variant", "outcome") == ("Visit", "blue", "ok")


def test_an_observation_belongs_to_the_users_journey_and_iteration(book: Book) -> None:
    for user in (Visit(Iteration("Visit", "blue", 0)), Visit(Iteration("Visit", None, 0)), Visit()):
        as_user(user, lambda: book.it.observe("cache_hit", 0.5))
    book.it.observe("cache_hit", 1.0)
    rows = book.rows("observations")
    assert [picked(row, "t_ns", "name", "value") for row in rows[:1]] == [(5_000 * MS, "cache_hit", 0.5)]
    whose = [("Visit", "blue"), ("Visit", None), ("Visit", "setup"), (None, "setup")]
    assert [picked(row, "journey", "variant") for row in rows] == whose


def test_the_write_ledger_has_every_key_with_when_it_was_attempted_and_acknowledged(book: Book) -> None:
    book.it.attempt("k1")
    book.now += 3 * MS
    book.it.acknowledge("k1")
    assert [picked(row, "t_ns", "key", "state") for row in book.rows("writes")] == [
        (5_000 * MS, "k1", "attempted"),
        (5_003 * MS, "k1", "acknowledged"),
    ]


# -- to disk


def test_what_was_taken_is_written_once_and_the_rest_at_the_end(book: Book) -> None:
    book.request(name="first")
    taken = book.it.take()
    assert tables.read(book.run.path, "samples").num_rows == 0
    book.request(name="second")
    book.it.write(taken)
    assert tables.read(book.run.path, "samples").column("request").to_pylist() == ["first"]
    book.it.close()
    assert tables.read(book.run.path, "samples").column("request").to_pylist() == ["first", "second"]
