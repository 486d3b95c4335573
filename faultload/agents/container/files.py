"""Inspects a container's folder, and removes files a stressor left in it.

`python -m faultload.agents.container.files ID PID look|remove|writes FOLDER NAME...` prints JSON: `free` and
`size` of the file system in bytes, its type `kind`, and which of the names are `there`; for `writes` also
`written_per_s`, what the container's processes send towards disks in a second (proc_pid_io(5)), and `fsync_s`,
how long it takes to write and sync one page in the folder.

Runs in a helper that sees the machine's processes, so that a container without any program of its own can be
looked into. The path is as the container sees it and never leads out of it. Standard library only.
"""

from __future__ import annotations

import json
import os
import sys
import time
from contextlib import suppress
from pathlib import Path

from faultload.agents.container.process import belongs, members


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


def write_rate(container_id: str, over_s: float = 1.0) -> float:
    """Bytes a second that the processes in a container's control group send towards disks."""
    before, started = {pid: _written(pid) for pid in members(container_id)}, time.monotonic()
    time.sleep(over_s)
    grew = sum(max(0, _written(pid) - written) for pid, written in before.items())
    return grew / (time.monotonic() - started)


def _written(pid: int) -> int:
    try:
        text = Path(f"/proc/{pid}/io").read_text()
    except OSError:
        return 0
    return int(text.partition("\nwrite_bytes:")[2].split(maxsplit=1)[0])


def sync_s(folder: int) -> float:
    """Seconds to write and sync one page in a folder, in a file that has no name or loses it at once."""
    try:
        file = os.open(".", os.O_RDWR | os.O_TMPFILE, 0o600, dir_fd=folder)
    except OSError:
        name = f".faultload-look-{os.getpid()}"
        file = os.open(name, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600, dir_fd=folder)
        os.unlink(name, dir_fd=folder)
    try:
        os.write(file, b"x" * 4096)
        started = time.monotonic()
        os.fsync(file)
        return time.monotonic() - started
    finally:
        os.close(file)


def main(argv: list[str]) -> int:
    """Look, after removing what was asked for; the exit code is 3 where the folder cannot be looked into."""
    container_id, pid, what, path, *names = argv
    if what not in ("look", "remove", "writes") or any("/" in name for name in names):
        raise SystemExit("container_files: look, remove or writes, a folder, and names of files in it")
    try:
        if not belongs(int(pid), container_id):
            raise ProcessLookupError(f"process {pid} is not the container's any more")
        mounts = Path(f"/proc/{pid}/mountinfo").read_text()
        written = {"written_per_s": write_rate(container_id)} if what == "writes" else {}
        os.chroot(f"/proc/{pid}/root")
        folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        print(f"{path}: {error.strerror or error}", file=sys.stderr)
        return 3
    if what == "remove":
        for name in names:
            with suppress(FileNotFoundError):
                os.unlink(name, dir_fd=folder)
    if what == "writes":
        written["fsync_s"] = sync_s(folder)
    print(json.dumps({**look(folder, mounts, names), **written}))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
