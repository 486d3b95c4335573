"""A run directory with its judgement, as the tests of reports are given it."""

from __future__ import annotations

from faultload.judge import Judgement
from faultload.record import RunDirectory

Judged = tuple[RunDirectory, Judgement]
