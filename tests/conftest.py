"""The order of the tests, and what makes them the same tests each time."""

from __future__ import annotations

import signal

import hypothesis
import pytest

pytest_plugins = ["parts"]

LONGEST = (
    "test_kill_matrix",
    "test_fault_matrix",
    "test_experiments",
    "test_guards",
    "test_traps_of_chaos_toolkit",
    "test_local_database",
    "test_plan_preview",
    "test_verdicts",
    "test_killed_runs",
)
"""Files that go first, in this order: a long one that began last would keep the other workers waiting."""

for signum in (signal.SIGINT, signal.SIGHUP, signal.SIGQUIT):
    if signal.getsignal(signum) is signal.SIG_IGN:  # by nohup, or for a job in the background
        signal.signal(signum, lambda *_: None)  # as before here, but not in the programs that tests start

for name, same_examples in (("same", True), ("others", False)):  # --hypothesis-profile others looks at new ones
    hypothesis.settings.register_profile(
        name, derandomize=same_examples, deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
    )
hypothesis.settings.load_profile("same")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    place = {name: number for number, name in enumerate(LONGEST)}
    items.sort(key=lambda item: place.get(item.path.stem, len(place)))
