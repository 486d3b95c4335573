"""Each folder of the analysis gives its public names, and imports their modules only when asked."""

from __future__ import annotations

import subprocess
import sys
from importlib import import_module

import pytest

FOLDERS = ("evidence", "latency", "slo", "recovery", "capacity", "compare", "figures")


@pytest.mark.parametrize("folder", FOLDERS)
def test_every_public_name_is_there(folder: str) -> None:
    module = import_module(f"faultload_analysis.{folder}")
    assert module.__all__
    for name in module.__all__:
        assert getattr(module, name) is not None, name


@pytest.mark.parametrize(
    "name",
    [
        "latency.quantile",
        "latency.quantile_estimate",
        "slo.proportion_estimate",
        "recovery.recover",
        "recovery.mttr",
        "capacity.capacity_bracket",
        "compare.compare_runs",
        "compare.quantile_ratio",
    ],
)
def test_names_from_before_the_folders_still_work(name: str) -> None:
    folder, _, function = name.partition(".")
    assert callable(getattr(import_module(f"faultload_analysis.{folder}"), function))


def test_a_name_that_is_not_there_is_told() -> None:
    with pytest.raises(ImportError, match="no_such_name"):
        exec("from faultload_analysis.latency import no_such_name")


@pytest.mark.parametrize("folder", [one for one in FOLDERS if one != "figures"])
def test_a_folder_imports_none_of_its_modules_unasked(folder: str) -> None:
    code = f"import sys, faultload_analysis.{folder}; print('numpy' in sys.modules or 'scipy' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
