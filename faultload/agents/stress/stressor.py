"""Takes processor time, memory or disk beside a service for a limited time, then lets go on its own.

`python -m faultload.agents.stress.stressor cpu|memory|io|fill --seconds S ...`

Prints one line, `ready`, when it is in effect. It ends by itself after `--seconds`, at SIGTERM, and where asked
with its parent. Its workers die with it. What fills the disk is a file without a name, so that the kernel gives
its space back as soon as the process is gone, however it went; the small files of `io` have names, because some
file systems do not flush what nobody could find again. Standard library only, and of faultload no more than
`lifeline.py` and `cgroups.py`: it also runs in helper containers.
"""

from __future__ import annotations

import argparse
import errno
import mmap
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NoReturn

REFUSED = 3
MEMORY_FLOOR = 512 * 1024**2
"""Bytes of memory that stay available, whatever was asked for."""
IO_FILE_BYTES = 32 * 1024**2
IO_FREE_FLOOR = 256 * 1024**2
_IO_WRITE = 256 * 1024
_CPU_PERIOD_S = 0.1
_CHUNK = 16 * 1024**2
_FILL_STEP = 256 * 1024**2
_TMPFS = ("tmpfs", "ramfs", "devtmpfs")
_NEEDED_CONTROLLER = {"cpu": "cpu", "memory": "memory", "io": "blkio"}


class RefusedError(Exception):
    """What was asked for would harm the machine, or cannot be done here."""


def main(argv: Sequence[str] | None = None) -> int:
    """Stress until the time is over; the exit code: 0 ended in order, 3 refused."""
    arguments = _arguments(argv)
    if arguments.with_parent:
        from faultload.agents.lifeline import die_with_parent

        die_with_parent()
    for signum in (signal.SIGTERM, signal.SIGINT, signal.SIGALRM):
        signal.signal(signum, _stop)
    if arguments.when_told:
        from faultload.agents.when_told import wait_until_told

        if not wait_until_told():
            return 0
    signal.setitimer(signal.ITIMER_REAL, arguments.seconds)
    try:
        if arguments.cgroup is not None:
            _join(arguments.cgroup, _NEEDED_CONTROLLER.get(arguments.what))
        _STRESS[arguments.what](arguments)
    except RefusedError as error:
        print(f"stressor: {error}", file=sys.stderr, flush=True)
        return REFUSED
    return 0


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--seconds", type=_above_zero, required=True, help="its own time-out")
    common.add_argument("--when-told", action="store_true", help="wait for SIGUSR1 first")
    common.add_argument("--with-parent", action="store_true", help="be killed with the parent process")
    common.add_argument("--cgroup", type=int, metavar="PID", help="join the control groups of this process first")
    common.add_argument("--mark", help="says in the argument list whose this is; otherwise without effect")
    on_disk = argparse.ArgumentParser(add_help=False)
    on_disk.add_argument("--path", required=True, help="the folder to write in")
    on_disk.add_argument("--root", type=int, metavar="PID", help="the path is as this process sees it")
    on_disk.add_argument("--name", help="the name of the file")
    parser = argparse.ArgumentParser(prog="faultload.agents.stress.stressor")
    kinds = parser.add_subparsers(dest="what", required=True)
    cpu = kinds.add_parser("cpu", parents=[common])
    cpu.add_argument("--workers", type=int, help="busy processes; one a usable processor when left out")
    cpu.add_argument("--load", type=float, default=1.0, help="how busy each is, above 0 and at most 1")
    cpu.add_argument("--cpus", type=_cpus, help="the processors to stay on, such as 0,2,3")
    memory = kinds.add_parser("memory", parents=[common])
    memory.add_argument("--bytes", type=int, required=True)
    io = kinds.add_parser("io", parents=[common, on_disk])
    io.add_argument("--workers", type=int, default=1)
    fill = kinds.add_parser("fill", parents=[common, on_disk])
    fill.add_argument("--floor", type=int, required=True, help="bytes that stay free")
    found = parser.parse_args(argv)
    if found.what == "cpu" and not 0 < found.load <= 1:
        parser.error("--load is above 0 and at most 1")
    if getattr(found, "workers", None) is not None and found.workers < 1:
        parser.error("--workers is at least 1")
    if found.what in ("io", "fill") and "/" in (found.name or ""):
        parser.error("--name is the name of a file, not a path")
    return found


def _above_zero(text: str) -> float:
    value = float(text)
    if not 0 < value < 1e7:
        raise argparse.ArgumentTypeError("seconds above 0")
    return value


def _cpus(text: str) -> set[int]:
    return {int(part) for part in text.split(",")}


def _join(pid: int, controller: str | None) -> None:
    from faultload.agents.stress.cgroups import CgroupError, join

    try:
        join(pid, controller)
    except CgroupError as error:
        raise RefusedError(str(error)) from None


def _stop(signum: int, frame: object) -> NoReturn:
    sys.exit(0)


# processes


def _ready() -> None:
    """One write, so that whoever reads the line has read it whole; nobody has to read it."""
    with suppress(BrokenPipeError):
        sys.stdout.write("ready\n")
        sys.stdout.flush()


@contextmanager
def _workers(count: int, work: Callable[[int, Callable[[], None]], None]) -> Iterator[None]:
    """Processes that each do `work(number, ready)`; entered when all are ready, killed at the end."""
    reading, writing = os.pipe()
    pids = []
    try:
        for number in range(count):
            pids.append(_fork(number, work, writing))
        os.close(writing)
        writing = -1
        waiting = count
        while waiting:
            done = os.read(reading, waiting)
            if not done:
                raise RefusedError("a worker ended before it was ready")
            waiting -= len(done)
        yield
    finally:
        for signum in (signal.SIGTERM, signal.SIGINT, signal.SIGALRM):
            signal.signal(signum, signal.SIG_IGN)
        for end in (reading, writing):
            if end >= 0:
                os.close(end)
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        for pid in pids:
            with suppress(ChildProcessError):
                os.waitpid(pid, 0)


def _fork(number: int, work: Callable[[int, Callable[[], None]], None], ready: int) -> int:
    left_s = signal.getitimer(signal.ITIMER_REAL)[0]
    pid = os.fork()
    if pid:
        return pid
    try:
        from faultload.agents.lifeline import die_with_parent

        os.setsid()  # the kernel may share processors out by session (sched(7), autogroup): each worker counts
        for signum in (signal.SIGTERM, signal.SIGINT, signal.SIGALRM):
            signal.signal(signum, signal.SIG_DFL)
        die_with_parent()
        signal.setitimer(signal.ITIMER_REAL, left_s + 1.0)
        work(number, lambda: os.write(ready, b"."))  # type: ignore[arg-type]
    except BaseException as error:  # noqa: BLE001 - a forked child never returns into its parent's code
        print(f"stressor: {error}", file=sys.stderr, flush=True)
    os._exit(1)


def _wait() -> None:
    """Until a signal or the time-out; a worker that ended early ends all."""
    pid, status = os.wait()
    raise RefusedError(f"worker {pid} ended early (status {status})")


# processor


def _cpu(arguments: argparse.Namespace) -> None:
    if arguments.cpus:
        try:
            os.sched_setaffinity(0, arguments.cpus)
        except OSError as error:
            raise RefusedError(f"processors {sorted(arguments.cpus)} cannot be used: {error.strerror}") from None
    count = arguments.workers or len(os.sched_getaffinity(0))

    def busy(number: int, ready: Callable[[], None]) -> None:
        ready()
        while True:
            started = time.monotonic()
            while time.monotonic() - started < arguments.load * _CPU_PERIOD_S:
                pass
            if arguments.load < 1:
                time.sleep(max(0.0, started + _CPU_PERIOD_S - time.monotonic()))

    with _workers(count, busy):
        _ready()
        _wait()


# memory


def available_memory() -> int:
    """Bytes that may be taken without swapping, as the kernel estimates them (MemAvailable)."""
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    raise RefusedError("the kernel does not say how much memory is available")


def _check_memory(wanted: int) -> None:
    free = available_memory()
    if free - wanted < MEMORY_FLOOR:
        raise RefusedError(
            f"{wanted >> 20} MiB more would leave {(free - wanted) >> 20} MiB of memory available, "
            f"{MEMORY_FLOOR >> 20} MiB must stay"
        )


def _memory(arguments: argparse.Namespace) -> None:
    """Taken in steps, touched, and touched again each second; the first to go when memory is short."""
    if arguments.bytes < 1:
        raise RefusedError("--bytes is above 0")
    _check_memory(arguments.bytes)
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")
    page = mmap.PAGESIZE
    pattern = os.urandom(min(_CHUNK, arguments.bytes))
    held = mmap.mmap(-1, arguments.bytes, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    for start in range(0, arguments.bytes, _CHUNK):
        size = min(_CHUNK, arguments.bytes - start)
        _check_memory(size)
        held[start : start + size] = pattern[:size]
    _ready()
    marks = bytes(len(range(0, arguments.bytes, page)))
    while True:
        time.sleep(1.0)
        if available_memory() < MEMORY_FLOOR // 2:
            raise RefusedError("let go early: the machine is short of memory")
        held[::page] = marks


# disk


@contextmanager
def _folder(arguments: argparse.Namespace) -> Iterator[int]:
    """The folder as a descriptor; with `--root`, as that process sees it, its links never leading outside."""
    outside = os.open("/", os.O_RDONLY | os.O_DIRECTORY)
    found = -1
    try:
        if arguments.root is not None:
            os.chroot(f"/proc/{arguments.root}/root")
        try:
            found = os.open(arguments.path, os.O_RDONLY | os.O_DIRECTORY)
        finally:
            if arguments.root is not None:
                os.fchdir(outside)
                os.chroot(".")
        yield found
    except OSError as error:
        raise RefusedError(f"{arguments.path}: {error.strerror}") from None
    finally:
        os.close(outside)
        if found >= 0:
            os.close(found)


def free_bytes(folder: int | str) -> int:
    """Bytes that an ordinary user may still write."""
    found = os.statvfs(folder)
    return found.f_bavail * found.f_frsize


def io_files(name: str, workers: int) -> list[str]:
    """The names of the files that `io` writes."""
    return [f"{name}.{number}" for number in range(workers)]


def _io(arguments: argparse.Namespace) -> None:
    names = io_files(arguments.name or f".faultload-io-{os.getpid()}", arguments.workers)
    with _folder(arguments) as folder:
        if free_bytes(folder) < len(names) * IO_FILE_BYTES + IO_FREE_FLOOR:
            raise RefusedError(f"{arguments.path} has {free_bytes(folder) >> 20} MiB free: too little to write in")

        def write(number: int, ready: Callable[[], None]) -> None:
            data = os.urandom(_IO_WRITE)
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
            file = os.open(names[number], flags, 0o600, dir_fd=folder)
            first = True
            while True:
                for start in range(0, IO_FILE_BYTES, _IO_WRITE):
                    os.pwrite(file, data, start)
                    os.fsync(file)
                    if first:
                        ready()
                        first = False

        for name in names:
            _not_there(folder, name)
        try:
            with _workers(len(names), write):
                _ready()
                _wait()
        finally:
            for name in names:
                with suppress(FileNotFoundError):
                    os.unlink(name, dir_fd=folder)


def _not_there(folder: int, name: str) -> None:
    try:
        os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return
    raise RefusedError(f"there is a file {name} already")


def _fill(arguments: argparse.Namespace) -> None:
    """Down to the floor in steps, each measured anew, so that others who write meanwhile keep their floor."""
    if arguments.floor < 0:
        raise RefusedError("--floor is not negative")
    with _folder(arguments) as folder:
        block = os.statvfs(folder).f_frsize
        if (free := free_bytes(folder)) < arguments.floor + block:
            raise RefusedError(f"{free} bytes are free, the floor of {arguments.floor} is reached already")
        in_memory = file_system(folder, arguments.root) in _TMPFS
        file = _nameless(folder, arguments.name or f".faultload-fill-{os.getpid()}")
        size = 0
        while (room := free_bytes(folder) - arguments.floor) >= block:
            step = min(_FILL_STEP, room // block * block)
            if in_memory:
                _check_memory(step)
            try:
                os.posix_fallocate(file, size, step)
            except OSError as error:
                if error.errno != errno.ENOSPC or step <= block:
                    raise
                break
            size += step
        _ready()
        while True:
            signal.pause()


def _nameless(folder: int, name: str) -> int:
    """An open file that no folder names: its space is free again when the process is gone."""
    with suppress(OSError):
        return os.open(".", os.O_RDWR | os.O_TMPFILE, 0o600, dir_fd=folder)
    _not_there(folder, name)
    file = os.open(name, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600, dir_fd=folder)
    os.unlink(name, dir_fd=folder)
    return file


def file_system(folder: int | str, seen_by: int | None = None) -> str:
    """The type of the file system that a folder is on, or empty where nothing says so."""
    device = (os.fstat(folder) if isinstance(folder, int) else Path(folder).stat()).st_dev
    wanted = f"{os.major(device)}:{os.minor(device)}"
    for line in Path(f"/proc/{seen_by or 'self'}/mountinfo").read_text().splitlines():
        head, _, tail = line.partition(" - ")
        if head.split()[2] == wanted:
            return tail.split()[0]
    return ""


_STRESS: dict[str, Callable[[argparse.Namespace], None]] = {
    "cpu": _cpu,
    "memory": _memory,
    "io": _io,
    "fill": _fill,
}

if __name__ == "__main__":
    sys.exit(main())
