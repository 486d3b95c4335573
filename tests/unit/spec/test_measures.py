"""The measures that objectives may ask for, and those that other packages bring."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import pytest

from faultload.spec import measures as found
from faultload.spec.measures import Measure, measure_of, measures
from faultload.spec.objective import parse_abort, parse_objective
from faultload.spec.term import ObjectiveError, Term
from faultload.verdict.measures.statistic import OfValues


class Stalls(Measure):
    names = ("stalls",)
    examples = (("stalls == 0", "stalls"),)
    dimension = "number"


@dataclass
class Entry:
    """An entry point of another package: what loading it gives, or raises."""

    value: str
    holds: Any

    def load(self) -> Any:
        if isinstance(self.holds, Exception):
            raise self.holds
        return SimpleNamespace(MEASURES=self.holds)


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Entry]]:
    """The entry points that other packages have."""
    entries: list[Entry] = []
    monkeypatch.setattr(found, "entry_points", lambda group: entries)
    found._discover.cache_clear()
    yield entries
    found._discover.cache_clear()


@pytest.mark.parametrize("measure", measures(), ids=lambda measure: measure.names[0])
def test_its_own_examples_ask_for_it(measure: Measure) -> None:
    assert measure.examples
    for example, what in measure.examples:
        assert measure_of(parse_objective(example).term) is measure
        assert what


@pytest.mark.parametrize("measure", measures(), ids=lambda measure: measure.names[0])
def test_what_it_says_is_watched_may_stand_in_an_abort_condition_and_has_a_value_each_second(
    measure: Measure,
) -> None:
    second = {"ok": 90.0, "failed": 10.0, "p50": 20.0, "p99": 80.0}
    values = {"error_rate": 0.1, "availability": 0.9, "p50(latency)": 0.02, "p99(latency)": 0.08}
    for text in measure.watched:
        limit = "1s" if text.startswith("p") else "50%"
        condition = parse_abort(f"{text} > {limit} for 10s")
        assert measure.in_second(condition.term, second) == pytest.approx(values[text])


def test_a_name_belongs_to_one_measure() -> None:
    names = [name for measure in measures() for name in measure.names]
    assert len(names) == len(set(names))
    assert [name for name in names if sum(one.matches(name) for one in measures()) > 1] == []


def test_all_measures_are_found_without_loading_numpy() -> None:
    code = (
        "import sys; from faultload.spec.measures import measures; print(len(measures()), 'numpy' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == [str(len(measures())), "False"]


def test_another_package_brings_a_measure(installed: list[Entry]) -> None:
    installed.append(Entry("team.stalls", (Stalls(),)))
    assert isinstance(measure_of(parse_objective("stalls == 0").term), Stalls)


def test_another_package_brings_a_measure_whose_dimension_depends_on_its_term(installed: list[Entry]) -> None:
    class Spread(OfValues):
        names = ("spread",)
        examples = (("spread(latency) <= 9ms", "spread"),)

    installed.append(Entry("team.spread", (Spread(),)))
    assert isinstance(measure_of(parse_objective("spread(latency) <= 9ms").term), Spread)


def test_a_package_that_cannot_be_imported_is_named_where_a_measure_is_missed(installed: list[Entry]) -> None:
    installed.append(Entry("team.stalls", ImportError("no module named zebra")))
    assert measure_of(Term("availability"))
    with pytest.raises(ObjectiveError, match=r"unknown measure 'stalls'; .*team\.stalls cannot be used.*zebra"):
        parse_objective("stalls == 0")


class Nameless(Measure):
    dimension = "number"
    examples = ()


class OfNoDimension(Measure):
    names, examples = ("stalls",), ()


class OneWord(Stalls):
    names = "stalls"  # type: ignore[assignment]


@pytest.mark.parametrize(
    ("holds", "why"),
    [
        (None, "'NoneType' object is not iterable"),
        ((Stalls,), "not an instance of a Measure"),
        ((Nameless(),), "Nameless has no names"),
        ((OfNoDimension(),), "OfNoDimension has no dimension"),
        ((OneWord(),), "OneWord has no tuple of names"),
    ],
    ids=["nothing", "a class", "nameless", "no dimension", "a word for names"],
)
def test_a_package_whose_measures_are_none_is_named_and_harms_nobody(
    installed: list[Entry], holds: Any, why: str
) -> None:
    installed.append(Entry("team.stalls", holds))
    assert measure_of(Term("availability"))
    with pytest.raises(ObjectiveError, match=rf"team\.stalls cannot be used: TypeError: .*{why}"):
        parse_objective("stalls == 0")


@pytest.mark.parametrize("taken", ["availability", "p97"])
def test_a_package_does_not_take_the_name_of_a_measure_that_is_there(installed: list[Entry], taken: str) -> None:
    class Mine(Stalls):
        names = ("stalls", taken)

    installed.append(Entry("team.stalls", (Mine(),)))
    assert not isinstance(measure_of(Term(taken)), Stalls)
    with pytest.raises(ObjectiveError, match=f"a measure '{taken}', which already exists"):
        parse_objective("stalls == 0")
