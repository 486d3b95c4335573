"""Which variables of the environment hold secrets: the one place that says it to this process and its children."""

from __future__ import annotations

import os

SECRETS_ENV = "FAULTLOAD_SECRETS"
"""Names the variables whose values are secret."""


def secret_names() -> list[str]:
    """The variables of this process whose values are secret."""
    return [name for name in os.environ.get(SECRETS_ENV, "").split(",") if name]


def keep_secret(name: str) -> None:
    """Have a variable's value replaced in whatever this process and those that it starts write from now on."""
    names = secret_names()
    if name not in names:
        os.environ[SECRETS_ENV] = ",".join([*names, name])
