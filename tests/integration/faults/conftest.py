"""The light system that local faults are made on."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from light_system import LightSystem


@pytest.fixture(scope="module")
def light(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LightSystem]:
    system = LightSystem(tmp_path_factory.mktemp("light"))
    yield system
    system.end()
