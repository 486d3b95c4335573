"""What comes with an extra may be missing: the command that needs it says what installs it, the others go on."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from synthetic_run import write_run

from faultload.errors import ExitCode

ROOT = Path(__file__).parents[2]
MODULES = {
    "docker": ("docker",),
    "kubernetes": ("kubernetes", "chaosk8s", "websocket"),
    "figures": ("matplotlib", "mpl_toolkits"),
}


def faultload_without(extra: str, *arguments: str, cwd: Path, state: Path) -> tuple[int, str]:
    """Exit code and output of the command line where the libraries of an extra cannot be imported."""
    code = (
        f"import sys; sys.modules.update(dict.fromkeys({MODULES[extra]!r})); "
        "from faultload.cli import main; sys.exit(main())"
    )
    env = {**os.environ, "XDG_STATE_HOME": str(state / "state")}
    argv = [sys.executable, "-c", code, *arguments]
    done = subprocess.run(argv, cwd=cwd, env=env, capture_output=True, text=True, timeout=120)
    return done.returncode, " ".join((done.stdout + done.stderr).split())


@pytest.mark.parametrize("platform", ["docker", "kubernetes"])
@pytest.mark.parametrize(
    "command", [("target", "up", "memory"), ("run", "scenarios/memory/api_kill.yaml", "--profile", "smoke")]
)
def test_a_platform_whose_extra_is_missing_says_what_installs_it(
    command: tuple[str, ...], platform: str, tmp_path: Path
) -> None:
    code, said = faultload_without(platform, *command, "--platform", platform, cwd=ROOT, state=tmp_path)
    assert f"pip install 'faultload[{platform}]'" in said
    assert code == ExitCode.USAGE
    assert "Traceback" not in said


def test_a_report_without_figures_is_whole_and_says_what_draws_them(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run")
    code, said = faultload_without("figures", "report", str(run.path), cwd=tmp_path, state=tmp_path)
    assert code == ExitCode.REFUSED, said  # as with figures: the gate held one of its faults
    page = (run.path / "report.html").read_text()
    assert "pip install &#39;faultload[figures]&#39;" in page
    assert "<svg" not in page
    assert "p99(latency) &lt;= 500ms during baseline" in page


@pytest.mark.parametrize("extra", MODULES)
def test_the_doctor_says_what_installs_it(extra: str, tmp_path: Path) -> None:
    code, said = faultload_without(extra, "doctor", cwd=tmp_path, state=tmp_path)
    assert code == ExitCode.PASS, said
    assert f"pip install 'faultload[{extra}]'" in said
