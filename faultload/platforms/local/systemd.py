"""Services that systemd starts: whether a process is in a unit, and how the unit is started again."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from faultload.errors import Refused, TargetError

_PATIENCE_S = 30.0
_USERS_OWN = "/user@"


def plan(unit: str, pid: int, *, rehearse: bool = True) -> dict[str, Any]:
    """What undo needs to start the unit that a process is in.

    Raises Refused where there is no systemctl, no such unit, where the process is not in it, or where this user may
    not start it: that is tried on the running unit, where it changes nothing, if `rehearse` says so.
    """
    program = shutil.which("systemctl")
    if program is None:
        raise Refused(f"systemd: {unit} (target file): this machine has no systemctl; give `start` instead")
    groups = Path(f"/proc/{pid}/cgroup").read_text().splitlines()
    base = [program, "--no-ask-password", *(["--user"] if any(_USERS_OWN in line for line in groups) else [])]
    try:
        shown = _asked([*base, "show", "--property=LoadState,ControlGroup", unit])
        known = dict(line.split("=", 1) for line in shown.splitlines() if "=" in line)
        if known.get("LoadState") != "loaded":
            raise Refused(f"systemd: {unit} (target file): systemd knows no such unit")
        group = known.get("ControlGroup", "")
        if not group or not any(_within(line.split(":", 2)[2], group) for line in groups):
            raise Refused(
                f"systemd: {unit} (target file): pid {pid} is not in this unit: name the one that it is in"
            )
        if rehearse:
            _asked([*base, "start", unit])
    except TargetError as error:
        raise Refused(f"systemd: {unit} (target file): {error}") from None
    return {"argv": [*base, "start", unit]}


def start(plan: Mapping[str, Any]) -> None:
    """Start the unit; systemd itself starts no second one. Raises TargetError."""
    _asked(plan["argv"])


def _within(path: str, group: str) -> bool:
    return f"{path}/".startswith(f"{group}/")


def _asked(argv: list[str]) -> str:
    try:
        done = subprocess.run(
            argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=_PATIENCE_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise TargetError(f"{' '.join(argv[-2:])}: {error}") from None
    if done.returncode != 0:
        said = (done.stderr or done.stdout).strip().splitlines()
        raise TargetError(f"systemctl {' '.join(argv[-2:])}: {said[0] if said else f'exit code {done.returncode}'}")
    return done.stdout
