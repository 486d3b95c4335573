"""What can be wrong with a machine while faultload runs on it, each made for one run and taken away again."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import psutil

from faultload.chaos.warden import processes_of
from faultload.host.processes import ProcessId, identify
from faultload.record.directory import RunDirectory

STOPPED_S = 20.0
_DISK_BYTES = 24_000_000
_LITTLE_BYTES = 120_000
"""Enough for the rest of a short record and its verdict, and not for every report."""
_PIDS = Path("/sys/fs/cgroup/pids")
_SPARE_DESCRIPTORS, _SPARE_PROCESSES, _SPARE_BYTES = 2, 0, 8_000_000


class Place:
    """Where a run happens: its folders, each on a small disk of its own, and its processes."""

    def __init__(self, folder: Path, state: Path) -> None:
        self.state, self.disk = state, folder / "disk"
        self.run = self.disk / "out"
        self.conductor: subprocess.Popen[str]
        self.group: Path | None = None
        """A control group that the run's processes are in, where a trouble needs one."""

    def mount(self) -> None:
        for folder in (self.state, self.disk):
            folder.mkdir(exist_ok=True)
            size = f"size={_DISK_BYTES}"
            subprocess.run(["mount", "-t", "tmpfs", "-o", size, "fault-matrix", folder], check=True)

    def unmount(self) -> None:
        for folder in (self.state, self.disk):
            while os.path.ismount(folder):
                subprocess.run(["umount", "--lazy", folder], check=True)

    def processes(self, *kinds: str) -> list[ProcessId]:
        """Those of the run: conductor, load, chaos, warden, server; all without an argument."""
        servers = [one for one in psutil.Process(self.conductor.pid).children() if _is_server(one)]
        found = [(name.partition("-")[0], one) for name, one in processes_of(RunDirectory(self.run)).items()]
        found += [("server", known) for one in servers if (known := identify(one.pid)) is not None]
        return [one for kind, one in found if one.alive() and (not kinds or kind in kinds)]


def _is_server(process: psutil.Process) -> bool:
    with suppress(psutil.Error):
        return any("forkserver" in part for part in process.cmdline())
    return False


class Trouble(ABC):
    """One thing that goes wrong at a moment and lasts until it is ended, by the cell or by itself."""

    codes: tuple[int, ...] = (0, 3, 4)
    """The right exit codes of a run that meets it."""
    lasts_s: float | None = None
    """Until the run has ended when None."""

    def prepare(self, place: Place) -> None:
        """Before the run is started."""
        return

    @abstractmethod
    def begin(self, place: Place) -> None:
        """Now."""

    def end(self, place: Place) -> None:
        """Take it away."""
        return


class Full(Trouble):
    """Disks without room for another byte, or with little."""

    def __init__(self, of: Callable[[Place], Sequence[Path]], codes: tuple[int, ...], room: int = 0) -> None:
        self._of, self.codes, self._room = of, codes, room

    def begin(self, place: Place) -> None:
        for folder in self._of(place):
            with open(folder / "filler", "wb", buffering=0) as file, suppress(OSError):
                while True:
                    file.write(b"\0" * 65536)
            with open(folder / "filler", "ab", buffering=0) as file, suppress(OSError):
                while True:
                    file.write(b"\0")
            size = (folder / "filler").stat().st_size
            os.truncate(folder / "filler", size - self._room)

    def end(self, place: Place) -> None:
        for folder in self._of(place):
            (folder / "filler").unlink(missing_ok=True)


class ReadOnly(Trouble):
    """A state folder that cannot be written any more."""

    codes = (0, 3, 4, 5, 6)

    def begin(self, place: Place) -> None:
        subprocess.run(["mount", "--bind", place.state, place.state], check=True)
        subprocess.run(["mount", "-o", "remount,bind,ro", place.state], check=True)

    def end(self, place: Place) -> None:
        subprocess.run(["umount", "--lazy", place.state], check=True)


class Limited(Trouble):
    """Every process of the run gets hardly more of something than it has."""

    codes = (0, 3, 4, 5, 6, 70)

    def __init__(self, what: int, least: Callable[[int], int]) -> None:
        self._what, self._least = what, least

    def begin(self, place: Place) -> None:
        for process in place.processes():
            with suppress(ProcessLookupError):
                most = self._least(process.pid)
                resource.prlimit(process.pid, self._what, (most, most))


def _descriptors(pid: int) -> int:
    return max(int(one.name) for one in Path(f"/proc/{pid}/fd").iterdir()) + 1 + _SPARE_DESCRIPTORS


def _bytes(pid: int) -> int:
    return psutil.Process(pid).memory_info().vms + _SPARE_BYTES


class FewProcesses(Trouble):
    """No process and no thread more than there are; a control group says so: the limit of a user binds no root."""

    codes = (0, 3, 4, 5, 6, 70)

    def prepare(self, place: Place) -> None:
        place.group = _PIDS / f"faultload-test-{os.getpid()}"
        place.group.mkdir()

    def begin(self, place: Place) -> None:
        assert place.group is not None
        here = int((place.group / "pids.current").read_text())
        (place.group / "pids.max").write_text(str(here + _SPARE_PROCESSES))

    def end(self, place: Place) -> None:
        assert place.group is not None
        (place.group / "pids.max").write_text("max")


class Stopped(Trouble):
    """A process is stopped for a while (SIGSTOP) and goes on then."""

    lasts_s = STOPPED_S

    def __init__(self, kind: str) -> None:
        self._kind = kind
        self._stopped: list[ProcessId] = []

    def begin(self, place: Place) -> None:
        self._stopped = place.processes(self._kind)
        assert self._stopped, f"no {self._kind} runs"
        for process in self._stopped:
            process.signal(signal.SIGSTOP)

    def end(self, place: Place) -> None:
        for process in self._stopped:
            process.signal(signal.SIGCONT)


class HangUp(Trouble):
    """The terminal is closed."""

    codes = (130,)

    def begin(self, place: Place) -> None:
        place.conductor.send_signal(signal.SIGHUP)


class ClosedOutput(Trouble):
    """Nobody reads what a run prints any more."""

    def begin(self, place: Place) -> None:
        assert place.conductor.stdout is not None
        place.conductor.stdout.close()


def _run(place: Place) -> list[Path]:
    return [place.disk]


def _state(place: Place) -> list[Path]:
    return [place.state]


def _both(place: Place) -> list[Path]:
    return [place.disk, place.state]


TROUBLES: Mapping[str, Callable[[], Trouble]] = {
    "run folder full": lambda: Full(_run, (4, 70)),
    "run folder nearly full": lambda: Full(_run, (0, 3, 4, 70), _LITTLE_BYTES),
    "state folder full": lambda: Full(_state, (0, 3, 4, 5)),
    "both full": lambda: Full(_both, (4, 70)),
    "state read-only": ReadOnly,
    "few descriptors": lambda: Limited(resource.RLIMIT_NOFILE, _descriptors),
    "few processes": FewProcesses,
    "little memory": lambda: Limited(resource.RLIMIT_AS, _bytes),
    "conductor stopped": lambda: Stopped("conductor"),
    "load stopped": lambda: Stopped("load"),
    "chaos stopped": lambda: Stopped("chaos"),
    "warden stopped": lambda: Stopped("warden"),
    "servers stopped": lambda: Stopped("server"),
    "SIGHUP": HangUp,
    "output closed": ClosedOutput,
}


def cannot(trouble: str) -> str | None:
    """Why a trouble cannot be made on this machine, or None."""
    if os.geteuid() != 0:
        return "small disks are mounted by root alone"
    if trouble == "few processes" and not (_PIDS / "cgroup.procs").exists():
        return "there is no control group of processes (cgroup v1 pids)"
    return None
