"""Platforms: where instances live, and how faults are made there."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    # the link proxy lives in this package and must not wait for pydantic
    from faultload.platforms.base import Platform
    from faultload.spec.target import TargetFile


def platform_of(target: TargetFile) -> Platform:
    """The platform of a target. Raises Refused for one that is known by its URL only."""
    if target.platform == "external":
        from faultload.errors import Refused

        raise Refused(f"{target.name} is known only by its URL: it can be loaded, but faults cannot touch it")
    module = importlib.import_module(f"faultload.platforms.{target.platform}.platform")
    platform: Platform = module.PLATFORM(target)
    return platform


def identified(target: TargetFile) -> TargetFile:
    """A target with the id of the engine or cluster at hand.

    Raises Refused when the file names another one, TargetError when none answers.
    """
    if target.platform in ("local", "external") or target.id.startswith("reference:"):
        return target
    found = platform_of(target).identity()
    if target.id not in ("", found):
        from faultload.errors import Refused

        raise Refused(f"{target.name} is declared as {target.id}, but what answers here is {found}")
    return target.model_copy(update={"id": found})
