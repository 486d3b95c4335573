"""What all entries of the record share: frozen, with every mistake named, and written back as they were read."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field

from faultload.spec.mistakes import mistakes_of
from faultload.spec.yamlfile import Document

DAMAGED = "the record is damaged, or of a newer faultload: put back a copy, or read it with what wrote it"


Moment = Annotated[float, Field(ge=-1e9, le=1e9)]
"""Seconds on the run's clock, no run being 30 years long."""


class Entry(BaseModel):
    """One entry. What a newer version added to it is kept, and disturbs nobody who does not ask for it."""

    model_config = ConfigDict(frozen=True, extra="allow", allow_inf_nan=False)

    @classmethod
    def from_json(cls, value: Mapping[str, Any], file: Path | None = None, line: int | None = None) -> Self:
        """Read an entry. Raises InvalidInput that names file, line and key of every mistake."""
        document = Document(file or Path("the record"), dict(value), {} if line is None else {(): line})
        return mistakes_of(cls, document, hint=DAMAGED)

    def to_json(self) -> dict[str, Any]:
        """What was given or read, with what a newer version added; no defaults."""
        return self.model_dump(exclude_unset=True)
