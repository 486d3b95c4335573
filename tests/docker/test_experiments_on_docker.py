"""Every experiment of the memory pack works with `chaos run` alone on containers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from dockerref import NAME, built, needed
from experiment_alone import EXPERIMENTS, check_alone

from faultload import reference

pytestmark = pytest.mark.docker


@pytest.fixture(scope="module")
def memory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The reference system in containers, up for all experiments, with a state folder of its own."""
    needed()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
        built()
        try:
            yield reference.start(NAME, "docker").wait_ready(180)
        finally:
            assert reference.stop(NAME, "docker") == []


@pytest.mark.parametrize("file", EXPERIMENTS, ids=lambda file: file.stem)
def test_an_experiment_alone_is_witnessed_and_undone_or_refused(memory: Path, file: Path, tmp_path: Path) -> None:
    check_alone(file, memory, tmp_path, one_shot_s=10.0)
