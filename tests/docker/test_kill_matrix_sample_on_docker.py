"""The kill matrix on containers in CI: the sample's part; in a file of its own, so another worker may play it."""

from __future__ import annotations

import pytest
from kill_matrix import failures, run_side_by_side, sample_of

pytestmark = pytest.mark.docker


def test_a_sample_of_the_other_kinds() -> None:
    cells = sample_of("docker")
    results = run_side_by_side(cells, "docker", 1)
    assert len(results) == len(cells) > 0
    assert failures(results) == []
