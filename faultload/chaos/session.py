"""What the actions in one Chaos Toolkit process share: run, target, warden, open faults and stop flag."""

from __future__ import annotations

import importlib
import logging
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from faultload.chaos.expiry import Expiry
from faultload.chaos.guard import APPROVED_ENV, check_before_asking, kill_switch
from faultload.chaos.journal import OpenFault
from faultload.chaos.vigil import Vigil
from faultload.errors import FaultloadError, InvalidInput, Refused
from faultload.faults.base import PlatformFault
from faultload.host.locks import is_at, lock_from_the_living
from faultload.host.private import lock_file, make_folder
from faultload.host.processes import ProcessId
from faultload.host.state import file_name, locks_dir, read_json, state_home
from faultload.platforms import identified
from faultload.record.directory import RunDirectory
from faultload.record.orders import ChaosOrder
from faultload.spec.target import TARGET_ENV, TargetFile, read_target

PLANNING_PATIENCE_S = 60.0
LATE_S = 1.0
"""So late may an injection begin before the record says so."""
_LEAVE_WITH_ROLLBACKS = 20  # Chaos Toolkit's own code for "stop now, with rollbacks" (chaoslib.exit)
_log = logging.getLogger("chaostoolkit")


def leave(why: str) -> NoReturn:
    """End the experiment now, as interrupted; its rollbacks run. An action that merely fails would not end it."""
    _log.error(why)
    raise SystemExit(_LEAVE_WITH_ROLLBACKS)


class Session:
    """One `chaos run`: inside a run of faultload, or alone with a journal and a warden of its own."""

    _current: Session | None = None
    _failed: FaultloadError | None = None
    """Why this process has no session: each further action fails for the same reason."""

    def __init__(self, target_file: Path) -> None:
        declared = read_target(target_file)
        self.opened: dict[str, OpenFault] = {}
        self.stopping: str | None = None
        self.tried: dict[str, bool] = {}
        """Faults that an undo was tried of, and whether they are gone."""
        self.undoing = False
        self.expiries: dict[str, Expiry] = {}
        self.vigils: dict[str, Vigil] = {}
        self.order = ChaosOrder.from_environment()
        in_run = RunDirectory.from_environment()
        self.standalone = in_run is None
        self.run = in_run or _own_journal(target_file)
        try:
            check_before_asking(declared, self.approved, self.allowed)
        except Refused as refused:
            self.run.event("note", what="not_injected", refused=True, text=str(refused))
            raise
        self.target: TargetFile = identified(declared)
        if in_run is not None:
            _import_gate(in_run)
        self._own_warden: Any = None
        self._install_signals()
        self._watch_conductor()
        if in_run is not None and self.order.process is not None:
            in_run.event("process", process=self.order.process, state="ready", pid=os.getpid())

    @classmethod
    def current(cls, configuration: dict[str, Any] | None) -> Session:
        """The session of this process, made at the first action."""
        if cls._failed is not None:
            raise cls._failed
        if cls._current is None:
            named = (configuration or {}).get("target") or os.environ.get(TARGET_ENV) or ".faultload/target.yaml"
            try:
                cls._current = cls(Path(str(named)))
            except FaultloadError as failed:
                cls._failed = failed
                raise
        return cls._current

    # -- stopping

    def _install_signals(self) -> None:
        """chaoslib turns SIGTERM into one failed activity and goes on: ours ends the experiment instead."""
        if threading.current_thread() is threading.main_thread():
            for signum in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1):
                signal.signal(signum, self._on_signal)

    def _on_signal(self, signum: int, frame: FrameType | None) -> None:
        self.stopping = signal.Signals(signum).name
        if self.undoing:
            return  # an undo under way is finished; nothing more is injected
        raise SystemExit(_LEAVE_WITH_ROLLBACKS)

    def _watch_conductor(self) -> None:
        """In a run: when the pipe to the conductor closes, end with rollbacks."""
        descriptor = self.order.life_fd
        if descriptor is None:
            return

        def watch() -> None:
            os.read(descriptor, 1)
            os.kill(os.getpid(), signal.SIGTERM)

        threading.Thread(target=watch, daemon=True).start()

    def leave(self, why: str) -> NoReturn:
        """End the experiment now; its rollbacks run, and nothing else does."""
        self.stopping = why
        leave(why)

    def check_may_go_on(self) -> None:
        """Leave when somebody asked to stop."""
        if self.stopping is not None:
            self.leave(self.stopping)
        self._check_lasted()
        switch = kill_switch(self.run)
        if switch is not None:
            self.run.event("note", what="kill_switch", text=f"stopped by the kill switch {switch}")
            self.leave(f"kill switch {switch}")

    def sleep_until(self, deadline_ns: int) -> None:
        """Sleep until a moment of the monotonic clock, or leave early when somebody asks to stop."""
        while (left := deadline_ns - time.monotonic_ns()) > 0:
            self.check_may_go_on()
            time.sleep(min(left / 1e9, 0.1))
        self.check_may_go_on()

    def expire(self, fault: str, due_ns: int) -> None:
        """Have a fault undone at a moment of the monotonic clock, whatever the experiment does then."""
        self.expiries[fault] = Expiry(self.opened[fault], due_ns)

    def look_again(self, fault: str, handler: PlatformFault, seen_ns: int, due_ns: int) -> None:
        """Have a fault that was seen looked at until then: it may end early."""
        self.vigils[fault] = Vigil(self.run, self.opened[fault], handler, seen_ns, due_ns)

    def _check_lasted(self) -> None:
        """Alone, leave when a fault ended early; in a run the judge decides what that means."""
        ended = [vigil.ended for vigil in self.vigils.values() if vigil.ended is not None]
        if ended and self.standalone:
            self.leave("; ".join(ended))

    def wait_for_expired(self) -> None:
        """Wait until faults whose time is over are undone; those that end by themselves are not waited for."""
        held = [expiry for fault, expiry in self.expiries.items() if not self.opened[fault].one_shot]
        while any(expiry.undoing for expiry in held):
            self.check_may_go_on()
            time.sleep(0.02)

    def sleep_until_due(self, fault: str) -> None:
        """In a run: sleep until the experiment's first fault is due; the record says so when it is late."""
        at_s = self.order.at_s
        if at_s is None or self.opened:
            return
        while (load_start_s := self.run.info().load_start_s) is None:
            self.check_may_go_on()
            time.sleep(0.05)
        due_ns = self.run.clock.t0_ns + int((load_start_s + at_s) * 1e9)
        late_s = (time.monotonic_ns() - due_ns) / 1e9
        if late_s > LATE_S:
            why = f"begins {late_s:.1f} s late: its process was not ready"
            self.run.event("note", what="late", text=f"{self.label(fault)}#{self.k} {why}")
        self.sleep_until(due_ns)

    # -- warden

    def need_warden(self) -> None:
        """A fault is injected only while a warden lives; alone, this process starts its own."""
        if self.standalone:
            if self._own_warden is None or not self._own_warden.alive:
                from faultload.chaos.warden import start_warden

                self._own_warden = start_warden(self.run, standalone=True)
            return
        deadline = time.monotonic() + 5.0
        while time.monotonic() < deadline:
            known = read_json(self.run.path / "warden.json")
            if known is not None and ProcessId.from_json(known).alive():
                return
            self.check_may_go_on()
            time.sleep(0.1)
        self.run.event("note", what="no_warden", text="no warden is running, so nothing is injected")
        self.leave("no warden")

    # -- one fault of a target at a time

    @contextmanager
    def planning(self) -> Iterator[None]:
        """The target's own lock, from the gate's look until the fault is in the index for others to see.

        Two processes that looked at the same moment would both find nothing open. From a process that is stopped
        with the lock it is taken away, by a new file in its place. Whoever finds at the end that it was taken
        leaves, and its rollbacks undo what it planned: either it sees that, or the other one sees its entry.
        """
        lock = locks_dir() / f"target-{file_name(self.target.id)}.lock"
        make_folder(lock.parent)
        descriptor = self._lock_target(lock)
        try:
            yield
            if not is_at(descriptor, lock):
                self.leave("this process was stopped while it planned a fault, and another one went ahead")
        finally:
            os.close(descriptor)

    def _lock_target(self, lock: Path) -> int:
        """A descriptor of the locked file, to be closed by the caller; leaves when it cannot be had in time."""
        deadline = time.monotonic() + PLANNING_PATIENCE_S
        while True:
            descriptor = lock_file(lock)
            try:
                left_s = deadline - time.monotonic()
                locked = lock_from_the_living(descriptor, left_s, self.check_may_go_on)
                if locked and is_at(descriptor, lock):
                    return descriptor
                if time.monotonic() >= deadline:
                    self.leave("another process has been planning a fault on this target for too long")
                if not locked and is_at(descriptor, lock):
                    lock.unlink(missing_ok=True)
            except BaseException:
                os.close(descriptor)
                raise
            os.close(descriptor)

    def left_out(self, label: str, why: str) -> None:
        """A fault by chance that the gate holds is a note; a planned one decides the exit code."""
        if self.order.by_chance:
            self.run.event("note", what="left_out", text=f"{label} was left out: {why}")

    # -- names

    @property
    def k(self) -> int:
        return self.order.k

    def label(self, fault: str) -> str:
        """The fault's name in the record: the scenario's in a run, its own alone."""
        return self.order.fault or fault

    @property
    def approved(self) -> list[str]:
        """The target ids that a person confirmed: for this run, or for whatever is run by hand here."""
        return [*self.order.approved, *filter(None, os.environ.get(APPROVED_ENV, "").split(","))]

    @property
    def allowed(self) -> list[str]:
        """The target ids that the run's scenario lists under `allow`."""
        scenario = self.run.info().scenario or {}
        return [str(one) for one in scenario.get("allow", [])]


def _import_gate(run: RunDirectory) -> None:
    """The gate's heavy imports, over before the fault is due, and out of the load's way where that is allowed."""
    polite = os.geteuid() == 0
    before = os.getpriority(os.PRIO_PROCESS, 0)
    if polite:
        os.setpriority(os.PRIO_PROCESS, 0, 10)
    importlib.import_module("faultload.verdict.live_baseline").preload(run)
    if polite:
        os.setpriority(os.PRIO_PROCESS, 0, before)


def _own_journal(target_file: Path) -> RunDirectory:
    moment = datetime.now().strftime("%Y%m%d-%H%M%S")
    path = state_home() / "chaos" / f"{moment}-{os.getpid()}"
    try:
        run = RunDirectory.create(path)
    except InvalidInput:
        run = RunDirectory.create(path.with_name(f"{path.name}-{time.monotonic_ns()}"))
    run.begin({"chaos": True, "target": str(target_file)})
    return run
