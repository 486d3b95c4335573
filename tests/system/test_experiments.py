"""Every experiment of the memory pack works with `chaos run` alone on local processes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from experiment_alone import EXPERIMENTS, check_alone

from faultload import reference

pytestmark = [pytest.mark.system, pytest.mark.long]


@pytest.fixture(scope="module")
def memory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The reference system, up for all experiments, with a state folder of its own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
        try:
            yield reference.start("memory").wait_ready()
        finally:
            assert reference.stop("memory") == []


@pytest.mark.parametrize("file", EXPERIMENTS, ids=lambda file: file.stem)
def test_an_experiment_alone_is_witnessed_and_undone_or_refused(memory: Path, file: Path, tmp_path: Path) -> None:
    check_alone(file, memory, tmp_path)
