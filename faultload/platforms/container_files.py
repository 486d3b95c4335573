"""Looks at a folder of a container, and takes away files that a stressor left in it.

`python -m faultload.platforms.container_files ID PID look|remove FOLDER NAME...` prints JSON: `free` and `size`
of the file system in bytes, its type `kind`, and which of the names are `there`.

Runs in a helper that sees the machine's processes, so that a container without any program of its own can be
looked into. The path is as the container sees it and never leads out of it. Standard library only.
"""

from __future__ import annotations

import json
import os
import sys
from contextlib import suppress
from pathlib import Path

from faultload.platforms.container_process import belongs


def look(folder: int, mounts: str, names: list[str]) -> dict[str, object]:
    """What there is of a folder's file system and of some files in it."""
    found = os.statvfs(folder)
    device = os.fstat(folder).st_dev
    wanted = f"{os.major(device)}:{os.minor(device)}"
    kinds = [line.partition(" - ")[2].split()[0] for line in mounts.splitlines() if line.split()[2] == wanted]
    return {
        "free": found.f_bavail * found.f_frsize,
        "size": found.f_blocks * found.f_frsize,
        "kind": kinds[0] if kinds else "",
        "there": [name for name in names if _is_there(folder, name)],
    }


def _is_there(folder: int, name: str) -> bool:
    try:
        os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


def main(argv: list[str]) -> int:
    """Look, after removing what was asked for; the exit code is 3 where the folder cannot be looked into."""
    container_id, pid, what, path, *names = argv
    if what not in ("look", "remove") or any("/" in name for name in names):
        raise SystemExit("container_files: look or remove, a folder, and names of files in it")
    try:
        if not belongs(int(pid), container_id):
            raise ProcessLookupError(f"process {pid} is not the container's any more")
        mounts = Path(f"/proc/{pid}/mountinfo").read_text()
        os.chroot(f"/proc/{pid}/root")
        folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        print(f"{path}: {error.strerror or error}", file=sys.stderr)
        return 3
    if what == "remove":
        for name in names:
            with suppress(FileNotFoundError):
                os.unlink(name, dir_fd=folder)
    print(json.dumps(look(folder, mounts, names)))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
