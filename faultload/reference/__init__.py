"""Reference systems: small real systems with the packs' interfaces, to run the packs on."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from faultload.reference.catalogue import PLATFORMS, REFERENCES, Reference, of_id, target_id

if TYPE_CHECKING:
    from faultload.reference.host.lifecycle import Started, Status, check, everywhere, start, status, stop

__all__ = [
    "PLATFORMS",
    "REFERENCES",
    "Reference",
    "Started",
    "Status",
    "check",
    "everywhere",
    "of_id",
    "start",
    "status",
    "stop",
    "target_id",
]


def __getattr__(name: str) -> Any:
    """The rest on demand: every process of a reference system imports this package as well."""
    if name in __all__:
        return getattr(importlib.import_module("faultload.reference.host.lifecycle"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
