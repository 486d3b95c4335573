"""Plays the load's unit tests on the oldest Locust of the range in pyproject.toml; the newest is what is installed.

    python tests/oldest_locust.py

The oldest that works is 2.47: older ones name attributes that geventhttpclient renamed in 2.5.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import tomllib
from importlib import metadata
from pathlib import Path

ROOT = Path(__file__).parents[1]
TESTS = ("tests/unit/load", "tests/integration/load")


def lower_bound() -> str:
    """The lower bound of the declared range: 2.47."""
    for line in tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]:
        found = re.match(r"locust>=([\d.]+)", line)
        if found:
            return found[1]
    raise LookupError("pyproject.toml declares no lower bound for locust")


def main() -> int:
    """Exit code of the tests; 0 when the oldest is the one that is installed."""
    with tempfile.TemporaryDirectory(prefix="oldest-locust-") as folder:
        wanted = f"locust=={lower_bound()}"
        pip = [sys.executable, "-m", "pip", "install", "-q", "--disable-pip-version-check", "--no-deps"]
        subprocess.run([*pip, "--target", folder, wanted], check=True)
        (oldest,) = metadata.distributions(name="locust", path=[folder])
        if oldest.version == metadata.version("locust"):
            print(f"the oldest Locust of the range, {oldest.version}, is the one that is installed")
            return 0
        print(f"the load's tests on Locust {oldest.version}", flush=True)
        argv = [sys.executable, "-m", "pytest", "-q", "-m", "not long", *TESTS]
        return subprocess.run(argv, cwd=ROOT, env={**os.environ, "PYTHONPATH": folder}, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
