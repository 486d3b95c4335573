"""A working folder with a state folder of its own, in which tests run faultload commands."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from faultload.errors import ExitCode

_LATE = "the load generator was the limit"


class Folder:
    """Runs faultload commands in a folder."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.env = {**os.environ, "XDG_STATE_HOME": str(path / "state")}

    def argv(self, *arguments: str | Path) -> list[str]:
        return [sys.executable, "-m", "faultload", *map(str, arguments)]

    def faultload(self, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
        """Run a command to its end."""
        return subprocess.run(
            self.argv(*arguments),
            cwd=self.path,
            env=self.env,
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )

    def bash(self, commands: str) -> subprocess.CompletedProcess[str]:
        """Run shell commands to their end; once more where a run among them says that this machine was too busy."""
        for _ in range(2):
            done = subprocess.run(
                ["bash", "-euc", commands],
                cwd=self.path,
                env=self.env,
                capture_output=True,
                text=True,
                timeout=300,
                check=False,
            )
            if done.returncode != ExitCode.INVALID or _LATE not in done.stdout:
                break
        return done

    def clean(self) -> None:
        """Undo and stop whatever a test left."""
        self.faultload("undo", "--all", "--yes")
        self.faultload("target", "down", "memory")
