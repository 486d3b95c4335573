"""Every experiment of the memory pack works with `chaos run` alone on pods, or is refused with the reason."""

from __future__ import annotations

from pathlib import Path

import pytest
from experiment_alone import EXPERIMENTS, check_alone
from memoryref import Up, up

from faultload.platforms.kubernetes.client import execute, pods_of

pytestmark = [pytest.mark.kubernetes, pytest.mark.long]
__all__ = ["up"]


@pytest.mark.parametrize("file", EXPERIMENTS, ids=lambda file: file.stem)
def test_an_experiment_alone_is_witnessed_and_undone_or_refused(up: Up, file: Path, tmp_path: Path) -> None:
    lacking = "no name server answers" if file.stem == "dns_failure_api" and not finds_names(up) else None
    # some witnesses measure for seconds, and an order takes a second to get into a pod
    check_alone(file, up.file, tmp_path, one_shot_s=20.0, held_s=10.0, settle_s=120.0, lacking=lacking)


def finds_names(up: Up) -> bool:
    """Whether an application in an API pod gets an answer from a name server, which takes a cluster with DNS."""
    (pod, *_) = pods_of(up.target, "api")
    look_up = "import socket; socket.gethostbyname('kubernetes.default')"
    return execute(up.target, pod.namespace, pod.name, "api", ["python3", "-c", look_up], 60.0).code == 0
