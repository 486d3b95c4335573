"""Telemetry: what the target's instances and the load generator used during the run."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from faultload.record.directory import RunDirectory
    from faultload.spec.target import TargetFile
    from faultload.telemetry.sampler import Sampler


def sampler_of(run: RunDirectory, target: TargetFile) -> Sampler | None:
    """The sampler of a target's instances; None where nothing here can see them."""
    if not target.services:
        return None
    if target.platform == "local":
        from faultload.telemetry.processes import ProcessSampler

        return ProcessSampler(run, target)
    if target.platform == "docker":
        from faultload.telemetry.containers import ContainerSampler

        return ContainerSampler(run, target)
    return None
