"""How often a true statement passes, from simulated runs: the table that `faultload plan` reads, without numpy.

`benchmarks/power.py --plan` plays the runs and writes power.json beside this module.
"""

from __future__ import annotations

import json
from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from importlib import resources
from typing import Any

QUANTILES = tuple(Fraction(p) for p in ("0.5", "0.9", "0.95", "0.99", "0.999"))
BAD_SHARES = tuple(Fraction(share) for share in ("0.1", "0.05", "0.01", "0.001"))
"""What was played, at a limit of twice the truth."""


@dataclass(frozen=True, slots=True)
class Power:
    """The shares of runs of `requests` requests that pass at a limit of twice the truth, by the kind of traffic.

    `of`: the statistic that was played, which is at least as hard to show as the one asked for.
    """

    requests: int
    of: str
    shares: Mapping[str, float]


def power_of_quantile(p: Fraction, requests: float, *, of_run: bool) -> Power | None:
    """That of an upper limit on the p-quantile of latency, with at most so many requests.

    Of the quantiles that were played the next one from p on. None: p is beyond 0.999, or there are fewer than 60
    requests.
    """
    harder = [played for played in QUANTILES if played >= p]
    return _power(f"p{float(100 * harder[0]):g}", requests, of_run) if harder else None


def power_of_mean(requests: float, *, of_run: bool) -> Power | None:
    """That of an upper limit on the mean latency; None below 60 requests."""
    return _power("mean", requests, of_run)


def power_of_share(allowed: Fraction, requests: float, *, of_run: bool) -> Power | None:
    """That of a share of bad requests of which at most `allowed` are; half as many are bad.

    Of the shares that were played the next one down from it. None: it is below 0.001, or there are fewer than 60
    requests.
    """
    harder = [played for played in BAD_SHARES if played <= allowed]
    return _power(f"bad {float(harder[0]):g}", requests, of_run) if harder else None


def _power(statistic: str, requests: float, of_run: bool) -> Power | None:
    table = _table()
    lengths: list[int] = table["requests"]
    at = bisect_right(lengths, requests) - 1
    if at < 0:
        return None
    by_traffic = table["run" if of_run else "system"][statistic]
    return Power(lengths[at], statistic, {traffic: shares[at] for traffic, shares in by_traffic.items()})


@cache
def _table() -> Any:
    text = resources.files("faultload_analysis").joinpath("power.json").read_text(encoding="utf-8")
    return json.loads(text)
