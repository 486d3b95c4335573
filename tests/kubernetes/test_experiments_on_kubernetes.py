"""Every experiment of the memory pack works with `chaos run` alone on pods, or is refused with the reason."""

from __future__ import annotations

from pathlib import Path

import pytest
from experiment_alone import EXPERIMENTS, check_alone
from memoryref import Up, up

pytestmark = [pytest.mark.kubernetes, pytest.mark.long]
__all__ = ["up"]


@pytest.mark.parametrize("file", EXPERIMENTS, ids=lambda file: file.stem)
def test_an_experiment_alone_is_witnessed_and_undone_or_refused(up: Up, file: Path, tmp_path: Path) -> None:
    check_alone(file, up.file, tmp_path, one_shot_s=20.0, settle_s=120.0)
