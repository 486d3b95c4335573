"""The telemetry counts what it writes, and says when it cannot see the instances of a service."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from faultload.errors import Refused
from faultload.record.directory import RunDirectory
from faultload.record.events import Count, SamplerNote
from faultload.record.recorded import Recorded
from faultload.spec.target import TargetFile
from faultload.telemetry.sampler import Row, Sampler

TARGET = TargetFile.model_validate(
    {"id": "t", "name": "t", "platform": "local", "services": {name: {"pids": [1]} for name in ("api", "db")}}
)


class Played(Sampler):
    """A sampler of what a test says."""

    blind: tuple[str, ...] = ()
    broken: Exception | None = None

    def look(self) -> None:
        if self.broken is not None:
            raise self.broken

    def sample(self, service: str) -> Iterable[Row]:
        if service in self.blind:
            raise Refused("the engine does not answer")
        yield f"{service}-0", "rss_bytes", 1e6


def sampler(folder: Path) -> tuple[RunDirectory, Played]:
    run = RunDirectory.create(folder / "run")
    run.begin({})
    return run, Played(run, TARGET)


def test_every_look_is_counted_also_one_that_saw_nothing(tmp_path: Path) -> None:
    run, played = sampler(tmp_path)
    played.take()
    played.blind = ("api", "db")
    played.take()
    played.blind = ()
    played.take()
    counts = run.events_of(Count)
    assert [(one.worker, one.n, one.last) for one in counts] == [
        (None, 0, False),
        (None, 1, False),
        (None, 2, False),
    ]
    assert [sum(rows for _, rows, _ in one.rows.get("metrics", ())) for one in counts] == [2, 0, 2]
    counted = [entry for one in counts for entry in one.rows.get("metrics", ())]
    assert sum(rows for _, rows, _ in counted) == len(Recorded(run).held("metrics")["metrics"]) == 4


def test_a_service_that_cannot_be_seen_is_noted_once_until_it_can(tmp_path: Path) -> None:
    run, played = sampler(tmp_path)
    played.blind = ("db",)
    for _ in range(3):
        played.take()
    played.blind = ()
    played.take()
    said = [(one.service, one.state, one.text) for one in run.events_of(SamplerNote)]
    why = "the instances of db could not be sampled: the engine does not answer"
    assert said == [("db", "failed", why), ("db", "again", "the instances of db are sampled again")]


def test_a_sampler_that_dies_says_so_and_never_that_it_was_done(tmp_path: Path) -> None:
    run, played = sampler(tmp_path)
    played.broken = MemoryError()
    played.run()
    (note,) = run.events_of(SamplerNote)
    assert (note.service, note.state) == (None, "failed") and "no memory" in note.text
    assert not run.events_of(Count)


def test_one_that_is_stopped_says_that_it_was_done_and_what_it_made(tmp_path: Path) -> None:
    run, played = sampler(tmp_path)
    played.take()
    played._stopped.set()
    played.run()
    last = run.events_of(Count)[-1]
    assert last.last and last.made == {"metrics": 2}
