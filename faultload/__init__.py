"""Runs load and faults on one clock, and judges what the users saw."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from faultload.opened import open_run as open  # noqa: A004

__version__ = "0.1.0"
__all__ = ["__version__", "open"]


def __getattr__(name: str) -> Any:
    """`faultload.open` on demand: every process of a run and of its target imports this package as well."""
    if name == "open":
        from faultload.opened import open_run

        return open_run
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
