"""The types of what a scenario holds: durations, names, shares, rates."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, PlainSerializer, WithJsonSchema

from faultload.spec import units

LONGEST_S = 366 * 86400.0
"""No time that a scenario names may be longer."""


def _duration(text: object) -> float:
    seconds = units.duration(text)
    if seconds > LONGEST_S:
        raise ValueError(f"{text!r} is longer than 366d, the longest time that a scenario may name")
    return seconds


Duration = Annotated[
    float,
    BeforeValidator(_duration),
    PlainSerializer(units.write_duration),
    WithJsonSchema({"type": "string", "examples": ["500ms", "30s", "5m"]}),
]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$", max_length=60)]
OnEndedEarly = Literal["invalid", "judge"]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]


Share = Annotated[
    float,
    BeforeValidator(units.share),
    PlainSerializer(lambda share: f"{share * 100!r}%"),
    WithJsonSchema({"type": "string", "examples": ["50%"]}),
]


FailureRate = Annotated[
    float,
    BeforeValidator(units.failure_rate),
    PlainSerializer(lambda rate: f"{rate!r}/s"),
    WithJsonSchema({"type": "string", "examples": ["1/720h", "4/365d"]}),
]
