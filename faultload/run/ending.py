"""The end of a run: everything is undone, stopped and read back, and no step needs another one to succeed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from faultload import reference
from faultload.chaos.journal import entry_stays, readable_faults, still_open
from faultload.chaos.undo import end_late_helpers, undo_all
from faultload.errors import TargetError, in_words, of_the_machine
from faultload.record.directory import RunDirectory
from faultload.report.live import Screen
from faultload.run import deadlines
from faultload.run.children import Child, Children
from faultload.run.finish import no_verdict
from faultload.run.interrupts import Interrupts
from faultload.run.kept_warden import KeptWarden
from faultload.run.patience import Patience
from faultload.run.watch import Watch


class Stopped(Exception):
    """The run ends early: a person, an abort condition, the kill switch, a lost process or a machine that fails."""

    def __init__(self, by: str, why: str) -> None:
        super().__init__(why)
        self.by = by


@dataclass
class Ending:
    """Ends one run; whoever does not go in its time is ended."""

    run: RunDirectory
    screen: Screen
    watch: Watch
    patience: Patience
    interrupts: Interrupts
    stopped: Stopped | None
    warden: KeptWarden | None
    children: Children | None
    sampler: Any
    longest_s: float
    """Of the run's faults."""
    timeout_s: float
    """Of the load's requests."""
    keep_target: bool

    def end(self) -> None:
        """A second interrupt skips the patience. Raises NoVerdict where the record takes no more."""
        began_s = self.run.clock.now()
        bugs: list[Exception] = []
        for step in self._steps():
            try:
                step()
            except Exception as error:  # noqa: BLE001 - all else has to be ended as well
                self.screen.say(in_words(error))
                if of_the_machine(error) or isinstance(error, TargetError):
                    self.stopped = self.stopped or Stopped("machine", in_words(error))
                else:
                    bugs.append(error)
        if bugs:
            raise bugs[0]
        self._conclude(began_s)

    def _steps(self) -> list[Callable[[], None]]:
        children, steps = self.children, []
        if children is not None:
            steps.append(lambda: self._stop_chaos(children.chaos))
        steps.append(self._undo_left)
        if children is not None:
            steps += [
                lambda: self._stop_load(children.load),
                lambda: self._read_writes_back(children),
                children.close,
            ]
        if self.sampler is not None:
            steps.append(self.sampler.stop)
        return [*steps, self._stop_reference, self._let_warden_go]

    def _conclude(self, load_end_s: float) -> None:
        """Write how the run ended. Raises NoVerdict."""
        now_s = self.run.clock.now()
        ended: dict[str, Any] = {"ended": now_s, "duration_s": round(now_s, 3)}
        if self.stopped is not None:
            ended["stopped"] = {"by": self.stopped.by, "why": str(self.stopped)}
            if self.children is not None:
                ended["load_end_s"] = load_end_s
        try:
            self.run.update(ended)
        except OSError as error:
            by_person = self.stopped is not None and self.stopped.by == "person"
            raise no_verdict(self.run, error, interrupted=by_person) from None

    def _note(self, what: str, text: str) -> None:
        """Note it, in the record where that takes any more, and on the screen."""
        with suppress(OSError):
            self.run.event("note", what=what, text=text)
        self.screen.say(text)

    @property
    def _hurried(self) -> bool:
        return self.interrupts.count >= 2

    def _gone(self, children: Sequence[Child], seconds: float) -> bool:
        return self.patience.until(lambda: not any(one.running for one in children), seconds, lambda: self._hurried)

    def _stop_chaos(self, chaos: Sequence[Child]) -> None:
        """SIGINT for every chaos process; its rollbacks get as long as its fault may last."""
        self.watch.status = "undoing what is open"
        for child in chaos:
            child.interrupt()
        limit_s = self.longest_s + deadlines.CHAOS_STOP_S
        if not self._gone(chaos, limit_s) and not self._hurried:
            late = ", ".join(child.name for child in chaos if child.running)
            self._note("deadline", f"{late}: its stop took longer than {limit_s:g} s, and it was ended")
        for child in chaos:
            child.kill()

    def _undo_left(self) -> None:
        left = still_open(self.run)
        if left:
            limit_s = self.longest_s + deadlines.UNDO_S
            self.patience.in_thread(lambda: undo_all(left, "conductor"), limit_s, "conductor", "its undo")
            self.patience.in_thread(lambda: end_late_helpers(left), limit_s, "conductor", "its undo")

    def _stop_load(self, load: Sequence[Child]) -> None:
        for child in load:
            if child.running:
                child.tell("stop")
        timeout_s = min(self.timeout_s, deadlines.LOAD_STOP_TIMEOUT_S)
        self._gone(load, timeout_s + deadlines.LOAD_STOP_S)
        for child in load:
            child.kill()

    def _read_writes_back(self, children: Children) -> None:
        if self._hurried or self.watch.load_start_s is None or not self._has_writes():
            return
        self.watch.status = "reading writes back"
        child = children.verify_writes()
        if not self._gone([child], deadlines.VERIFY_S):
            child.kill()
            self._note("writes_not_read", "the writes were not read back in time")

    def _has_writes(self) -> bool:
        from faultload.record import tables as record_tables

        return bool(record_tables.read(self.run.path, "writes", ["state"]).num_rows)

    def _stop_reference(self) -> None:
        name = self.run.info().started_target
        if not name or (self.keep_target and self.stopped is None):
            return
        self.watch.status = "stopping the target"
        known = reference.of_id(name)
        left = []
        if known is not None:
            limit_s = deadlines.TARGET_STOP_S
            left = self.patience.in_thread(lambda: reference.stop(*known), limit_s, "target", "its stop")
        self.run.update({"started_target": None})
        for what in left:
            self._note("left_behind", f"{what} of the target did not end")

    def _let_warden_go(self) -> None:
        if self.warden is None:
            return
        self.warden.dismiss()
        left = still_open(self.run)
        for fault in readable_faults(run=self.run.path)[0]:
            if fault.fault_id not in [one.fault_id for one in left]:
                self.screen.say(f"{fault.label} is undone, but {entry_stays(fault)}")
        if left:
            names = ", ".join(fault.label for fault in left)
            self.screen.say(f"NOT undone: {names}; the warden (pid {self.warden.pid}) tries again for an hour")
        elif not self.patience.until(
            lambda: self.warden is None or not self.warden.alive, deadlines.WARDEN_END_S, lambda: self._hurried
        ):
            self.warden.kill()
