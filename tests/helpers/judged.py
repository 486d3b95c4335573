"""A run directory with its judgement, as the tests of reports are given it."""

from __future__ import annotations

from faultload.record.directory import RunDirectory
from faultload.verdict.judge import Judgement

Judged = tuple[RunDirectory, Judgement]
