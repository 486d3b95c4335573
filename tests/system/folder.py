"""A working folder with a state folder of its own, in which tests run faultload commands."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path


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

    def clean(self) -> None:
        """Undo and stop whatever a test left."""
        self.faultload("undo", "--all", "--yes")
        self.faultload("target", "down", "memory")
