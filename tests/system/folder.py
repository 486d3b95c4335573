"""A working folder with a state folder of its own, in which tests run faultload commands."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from faultload.errors import ExitCode

LATE = "the load generator was the limit"


class Folder:
    """Runs faultload commands in a folder."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.env = {**os.environ, "XDG_STATE_HOME": str(path / "state")}

    def argv(self, *arguments: str | Path) -> list[str]:
        return [sys.executable, "-m", "faultload", *map(str, arguments)]

    def faultload(self, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
        """Run a command to its end."""
        return self._run(self.argv(*arguments), 240)

    def bash(self, commands: str) -> subprocess.CompletedProcess[str]:
        """Run shell commands to their end; once more where a run among them says that this machine was too busy."""
        for _ in range(2):
            done = self._run(["bash", "-euc", commands], 300)
            if done.returncode != ExitCode.INVALID or LATE not in done.stdout:
                break
        return done

    def _run(self, argv: Sequence[str], timeout_s: float) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            argv, cwd=self.path, env=self.env, capture_output=True, text=True, timeout=timeout_s, check=False
        )

    def clean(self) -> None:
        """Undo and stop whatever a test left."""
        self.faultload("undo", "--all", "--yes")
        self.faultload("target", "down", "memory")
