"""What the generator says of its own processor time, by clocks that a test moves."""

from __future__ import annotations

import time

import numpy as np
import pytest

from faultload.load.columns import Batch
from faultload.load.dispatcher import Counts
from faultload.load.health import Health, Pulse

NOTHING = Batch(np.empty(0, [("outcome", "<i4")]), [])


class Clocks:
    """A generator's processor time and the time of day, in ms."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.cpu_ms = self.wall_ms = 0
        monkeypatch.setattr(time, "process_time_ns", lambda: self.cpu_ms * 1_000_000)
        monkeypatch.setattr(time, "monotonic_ns", lambda: self.wall_ms * 1_000_000)
        self.health = Health(0)
        self.pulse = Pulse(lambda: None)

    def after(self, wall_ms: int, cpu_ms: int) -> float:
        """The share that is told after so much more of both, in percent."""
        self.wall_ms += wall_ms
        self.cpu_ms += cpu_ms
        return float(self.health.second(self.pulse, Counts(), NOTHING)["cpu_percent"])


@pytest.fixture
def clocks(monkeypatch: pytest.MonkeyPatch) -> Clocks:
    found = Clocks(monkeypatch)
    found.pulse.stop()
    return found


def test_each_second_is_measured_by_itself(clocks: Clocks) -> None:
    assert [clocks.after(1000, 200), clocks.after(1000, 970), clocks.after(900, 90)] == [20.0, 97.0, 10.0]


def test_the_fragment_at_the_loads_end_is_measured_with_the_second_before(clocks: Clocks) -> None:
    assert clocks.after(1000, 160) == 16.0
    assert clocks.after(3, 3) == 16.3
    assert clocks.after(97, 97) == 23.6
    assert clocks.after(1000, 500) == 50.0


def test_a_generator_that_is_busy_at_the_loads_end_says_so(clocks: Clocks) -> None:
    assert clocks.after(1000, 980) == 98.0
    assert clocks.after(400, 400) == 98.6


def test_what_came_before_the_load_is_not_held_against_it(clocks: Clocks) -> None:
    clocks.after(1000, 1000)
    clocks.health.begin(clocks.pulse, Counts())
    assert clocks.after(100, 20) == 20.0
