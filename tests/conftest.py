"""The order of the tests."""

from __future__ import annotations

import pytest

LONGEST = ("test_kill_matrix", "test_kill_matrix_on_docker", "test_experiments")
"""Files that go first: one that began last would keep the other workers waiting."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: item.path.stem not in LONGEST)
