"""faultload as its wheel installs it, apart from the checkout."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def install_wheel(folder: Path) -> Path:
    """Build the wheel and install it without its dependencies into a folder; returns that folder."""
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    done = subprocess.run(build, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (wheel,) = folder.glob("faultload-*.whl")
    site = folder / "site"
    pip = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-index", "--target", str(site)]
    done = subprocess.run([*pip, str(wheel)], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return site


def faultload(site: Path, here: Path, *arguments: str, timeout_s: float = 60) -> subprocess.CompletedProcess[str]:
    """Run the installed command in a folder, with a state folder of its own there."""
    code = "import sys, faultload; assert faultload.__file__.startswith(sys.argv.pop(1)); faultload.cli.main()"
    return subprocess.run(
        [sys.executable, "-c", f"import faultload.cli\n{code}", str(site), *arguments],
        cwd=here,
        env={**os.environ, "PYTHONPATH": str(site), "XDG_STATE_HOME": str(here / "state")},
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )
