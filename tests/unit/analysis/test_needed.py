"""How many requests are needed: the same as the bounds themselves ask for, without numpy."""

from __future__ import annotations

import subprocess
import sys
from fractions import Fraction

import pytest

from faultload_analysis.evidence.dependence import MIN_TO_BATCH
from faultload_analysis.latency.quantiles import samples_needed_quantile
from faultload_analysis.needed import MEASURABLE, least_requests
from faultload_analysis.slo.availability import samples_needed_availability


@pytest.mark.parametrize(("share", "needed"), [("0.5", 5), ("0.95", 59), ("0.99", 299), ("0.999", 2995)])
def test_the_known_numbers(share: str, needed: int) -> None:
    assert least_requests(Fraction(share)) == needed


@pytest.mark.parametrize("thousandths", [*range(1, 1000, 7), 900, 950, 990, 995, 998, 999])
def test_it_is_what_quantiles_and_availability_ask_for(thousandths: int) -> None:
    share = Fraction(thousandths, 1000)
    assert least_requests(share) == samples_needed_quantile(share) == samples_needed_availability(float(share))


def test_plan_asks_for_as_many_as_dependence_is_told_from() -> None:
    assert MEASURABLE == MIN_TO_BATCH


@pytest.mark.parametrize("share", ["0.9999", "0.99995", "0.99999"])
def test_it_is_what_rare_failures_ask_for(share: str) -> None:
    assert least_requests(Fraction(share)) == samples_needed_availability(float(share))


@pytest.mark.parametrize("share", ["0", "1", "-1", "2"])
def test_a_share_that_is_none_is_refused(share: str) -> None:
    with pytest.raises(ValueError, match="between 0 and 1"):
        least_requests(Fraction(share))


def test_validating_a_pack_loads_nothing_heavy() -> None:
    heavy = {"numpy", "scipy", "pyarrow", "locust", "gevent", "docker", "kubernetes", "matplotlib", "chaoslib"}
    code = (
        "import sys, pathlib\nfrom faultload.commands.validate import validate_files\n"
        "found = validate_files(('memory',), pathlib.Path.cwd())\nassert found.files == 8 and not found.mistakes\n"
        f"print(sorted({heavy!r} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
