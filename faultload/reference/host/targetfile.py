"""A started reference system's target file; once it exists, everything is ready."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from faultload.host.private import write_text


def write_target(path: Path, value: Mapping[str, Any]) -> None:
    """Write a target file at once and readable by its owner only: it holds the database's password."""
    temporary = path.with_name(f".{path.name}")
    write_text(temporary, yaml.safe_dump(dict(value), sort_keys=False, width=200))
    temporary.replace(path)
