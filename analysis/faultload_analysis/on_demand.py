"""A folder's public names, each imported with its module when it is first asked for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any


def on_demand(package: str, home: Mapping[str, str]) -> Callable[[str], Any]:
    """A package's `__getattr__` (PEP 562); `home`: for each of its public names the module that has it."""

    def get(name: str) -> Any:
        if name not in home:
            raise AttributeError(f"module {package} has no attribute {name}")
        return getattr(import_module(f"{package}.{home[name]}"), name)

    return get
