"""Keeps secrets out of everything that is written, and non-JSON values out of JSON."""

from __future__ import annotations

import hashlib
import math
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from itertools import product
from pathlib import Path
from typing import Any

from faultload.host.private import write_text
from faultload.host.secrets import secret_names
from faultload.record.spellings import Spellings

_LEAST = 8
"""Characters of a value: shorter ones are found where they do not stand for the secret."""
_DIGEST = re.compile(r" digest:([0-9a-f]{32})\Z")


class Redactor:
    """Replaces secret values in whatever is written, in every form that a client makes of them."""

    def __init__(self, names: Iterable[str]) -> None:
        values = sorted(((os.environ.get(name, "").strip(), name) for name in names), key=lambda one: -len(one[0]))
        self._pairs = [(_spellings(value), f"***{name}***") for value, name in values if len(value) >= _LEAST]

    @classmethod
    def from_environment(cls) -> Redactor:
        return cls(secret_names())

    @property
    def knows_secrets(self) -> bool:
        return bool(self._pairs)

    @property
    def spans_lines(self) -> bool:
        """Whether a secret has a line end in it."""
        return any("\n" in spellings.text for spellings, _ in self._pairs)

    @property
    def reach(self) -> int:
        """Characters of the longest form of a secret, with what is taken away around it."""
        return max((spellings.reach for spellings, _ in self._pairs), default=0)

    def spans(self, text: str) -> Iterator[tuple[int, int]]:
        """Where secrets are, in no order."""
        for spellings, _ in self._pairs:
            yield from spellings.spans(text)

    def text(self, text: str) -> str:
        """The text without secrets."""
        for spellings, mark in self._pairs:
            text = spellings.replace(text, mark)
        return text

    def data(self, data: bytes) -> bytes:
        """The same of bytes, of which only some may be text."""
        return self.text(data.decode(errors="surrogateescape")).encode(errors="surrogateescape")

    def key(self, key: str) -> str:
        """A key of the write ledger: one that holds a secret gets a digest, for two must not become one."""
        clean = self.text(key)
        return key if clean == key else f"{clean} digest:{_digest(key)}"

    def key_again(self, kept: str) -> str | None:
        """The key that `key` kept, as the digest proves; None where its secret had an unusual form."""
        digest = _DIGEST.search(kept) if self._pairs else None
        if digest is None:
            return kept
        for found in self._filled(kept[: digest.start()]):
            if _digest(found) == digest[1]:
                return found
        return None

    def _filled(self, text: str) -> Iterator[str]:
        """A text with its marks replaced again, each secret in one form throughout."""
        here = [(spellings, mark) for spellings, mark in self._pairs if mark in text]
        for forms in product(*(spellings.usual() for spellings, _ in here)):
            found = text
            for form, (_, mark) in zip(forms, here, strict=True):
                found = found.replace(mark, form)
            yield found

    def file(self, path: Path) -> None:
        """Replace secrets in a file that another program wrote."""
        if self._pairs:
            text = path.read_text(encoding="utf-8", errors="surrogateescape")
            clean = self.text(text)
            if clean != text:
                write_text(path, clean, encoding="utf-8", errors="surrogateescape")


@lru_cache(maxsize=64)
def _spellings(value: str) -> Spellings:
    """Compiled once: every line of a record asks for it."""
    return Spellings(value)


def _digest(key: str) -> str:
    return hashlib.blake2b(key.encode(errors="surrogateescape"), digest_size=16).hexdigest()


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
