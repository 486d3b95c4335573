"""Keeps secrets out of everything that is written, and non-JSON values out of JSON."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from faultload.host.private import write_text

SECRETS_ENV = "FAULTLOAD_SECRETS"
"""Names the variables whose values are secret."""


class Redactor:
    """Replaces secret values in whatever is written."""

    def __init__(self, names: Iterable[str]) -> None:
        values = sorted(((os.environ.get(name, ""), name) for name in names), key=lambda one: -len(one[0]))
        self._pairs = [(value, f"***{name}***") for value, name in values if len(value) >= 8]

    @classmethod
    def from_environment(cls) -> Redactor:
        return cls(filter(None, os.environ.get(SECRETS_ENV, "").split(",")))

    @property
    def knows_secrets(self) -> bool:
        return bool(self._pairs)

    def text(self, text: str) -> str:
        for value, mark in self._pairs:
            text = text.replace(value, mark)
        return text

    def file(self, path: Path) -> None:
        """Replace secrets in a file that another program wrote, also where JSON or Python escaped them."""
        if self._pairs:
            text = path.read_text(encoding="utf-8", errors="surrogateescape")
            clean = text
            for value, mark in self._pairs:
                for form in _escaped(value):
                    clean = clean.replace(form, mark)
            if clean != text:
                write_text(path, clean, encoding="utf-8", errors="surrogateescape")


def _escaped(text: str) -> Iterator[str]:
    """The forms that a text takes in a log or in a JSON file; the longest first."""
    forms = {text, repr(text)[1:-1], json.dumps(text)[1:-1], json.dumps(text, ensure_ascii=False)[1:-1]}
    yield from sorted(forms, key=len, reverse=True)


def plain(value: Any) -> Any:
    """A value as it may be written: without secrets, and "inf", "-inf" and null for what JSON does not have.

    Secrets are replaced before JSON escapes hide them.
    """
    return _cleaned(value, Redactor.from_environment())


def _cleaned(value: Any, redactor: Redactor) -> Any:
    if isinstance(value, str):
        return redactor.text(value)
    if isinstance(value, float) and not math.isfinite(value):
        return None if math.isnan(value) else "inf" if value > 0 else "-inf"
    if isinstance(value, Mapping):
        return {redactor.text(str(key)): _cleaned(item, redactor) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_cleaned(item, redactor) for item in value]
    return value
