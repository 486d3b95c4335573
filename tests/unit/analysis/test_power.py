"""The simulated table of how often a true statement passes: whole, looked up on the safe side, and right."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from fractions import Fraction
from importlib import resources

import pytest

from faultload_analysis.evidence.dependence import largest_passing
from faultload_analysis.evidence.distributions import binomial_sf
from faultload_analysis.needed import least_requests
from faultload_analysis.power import (
    BAD_SHARES,
    QUANTILES,
    power_of_mean,
    power_of_quantile,
    power_of_share,
)

TABLE = json.loads(resources.files("faultload_analysis").joinpath("power.json").read_text(encoding="utf-8"))


def test_the_table_is_whole() -> None:
    statistics = {f"p{float(100 * p):g}" for p in QUANTILES} | {f"bad {float(q):g}" for q in BAD_SHARES} | {"mean"}
    for statement in ("system", "run"):
        assert set(TABLE[statement]) == statistics
        for by_traffic in TABLE[statement].values():
            assert set(by_traffic) == {"independent", "M/M/1 at 0.5", "M/M/1 at 0.8"}
            for shares in by_traffic.values():
                assert len(shares) == len(TABLE["requests"])
                assert all(0.0 <= share <= 1.0 for share in shares)


@pytest.mark.parametrize("allowed", BAD_SHARES)
def test_independent_failures_pass_as_often_as_the_binomial_says(allowed: Fraction) -> None:
    """P(Bin(n, q/2) <= k), k the largest count that passes q; within four standard errors."""
    shares = TABLE["run"][f"bad {float(allowed):g}"]["independent"]
    for n, share in zip(TABLE["requests"], shares, strict=True):
        most = largest_passing(n, float(allowed))
        exact = 0.0 if most is None else 1.0 - binomial_sf(most, n, float(allowed) / 2.0)
        runs = TABLE["runs"] if n < 60_000 else TABLE["runs"] // 2
        assert abs(share - exact) <= 4.0 * math.sqrt(max(exact * (1.0 - exact), 0.01) / runs)


@pytest.mark.parametrize("statement", ["system", "run"])
@pytest.mark.parametrize("p", QUANTILES)
def test_nothing_passes_with_fewer_requests_than_plan_names(p: Fraction, statement: str) -> None:
    for shares in TABLE[statement][f"p{float(100 * p):g}"].values():
        short = [share for n, share in zip(TABLE["requests"], shares, strict=True) if n < least_requests(p)]
        assert not any(short)


def test_of_what_was_not_played_the_next_harder_counts() -> None:
    p97 = power_of_quantile(Fraction("0.97"), 2_500, of_run=False)
    assert p97 is not None and (p97.of, p97.requests) == ("p99", 2_000)
    assert p97 == power_of_quantile(Fraction("0.99"), 2_000, of_run=False)
    half_percent = power_of_share(Fraction("0.005"), 10**7, of_run=True)
    assert half_percent is not None
    assert (half_percent.of, half_percent.requests) == ("bad 0.001", TABLE["requests"][-1])


def test_beyond_the_table_there_is_no_answer() -> None:
    assert power_of_quantile(Fraction("0.9999"), 10**6, of_run=False) is None
    assert power_of_share(Fraction("0.0001"), 10**6, of_run=False) is None
    assert power_of_share(Fraction(0), 10**6, of_run=False) is None
    assert power_of_mean(59, of_run=False) is None


def test_queueing_costs_power() -> None:
    p99 = power_of_quantile(Fraction("0.99"), 2_000, of_run=False)
    assert p99 is not None
    assert p99.shares["independent"] > 0.9 > 0.1 > p99.shares["M/M/1 at 0.8"]


def test_it_needs_no_numpy() -> None:
    code = (
        "import sys; from fractions import Fraction; import faultload_analysis.power as power;"
        "power.power_of_quantile(Fraction('0.99'), 500, of_run=True); sys.exit('numpy' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
