"""Conducts one run: starts the target, plays load and faults on one clock, reads writes back, undoes everything."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from faultload import faults, reference
from faultload.chaos.guard import kill_switch
from faultload.chaos.journal import readable_faults
from faultload.chaos.undo import undo_all
from faultload.errors import TargetError
from faultload.host.processes import Spawn, myself
from faultload.host.state import write_json
from faultload.platforms import platform_of
from faultload.record.directory import RunDirectory
from faultload.report.live import Screen
from faultload.run.children import LEAD_S, Children
from faultload.run.injections import Injection
from faultload.run.interrupts import Interrupts
from faultload.run.kept_warden import KeptWarden
from faultload.run.narration import Narration
from faultload.run.target import Target
from faultload.run.warm import ForkServer, Servers, one_thread, spawn_from
from faultload.run.watch import Watch
from faultload.spec.scenario import Scenario
from faultload.spec.target import TargetFile, read_target

T = TypeVar("T")
READY_TIMEOUT_S = {"local": 60.0, "docker": 120.0, "kubernetes": 180.0}
EARLY_PATIENCE_S = 30.0
"""So long the load waits for the processes of the first faults to be ready."""
_TICK_S = 0.1


class Stopped(Exception):
    """The run ends early: a person, an abort condition, the kill switch or a lost process."""

    def __init__(self, by: str, why: str) -> None:
        super().__init__(why)
        self.by = by


@dataclass
class Conductor:
    """One run in its run directory; `conduct` returns when everything it started has ended."""

    run: RunDirectory
    scenario: Scenario
    profile: str
    target: Target
    injections: list[Injection]
    workers: int
    slo: float
    screen: Screen
    interrupts: Interrupts
    approved: Sequence[str] = ()
    """The ids of targets that a person confirmed for this run."""
    kinds: frozenset[str] = frozenset()
    """The fault words that will be injected."""
    servers: Servers | None = None
    """What its processes are forked from; None: they are started plainly."""
    keep_target: bool = False
    """Leave a started reference system up for the next scenario."""

    def __post_init__(self) -> None:
        self.watch = Watch(self.run, self.scenario, self.profile, self.slo)
        self.narration = Narration(self.screen, self.watch)
        self.stopped: Stopped | None = None
        self._ending = False
        self._warden: KeptWarden | None = None
        self._children: Children | None = None
        self._sampler: Any = None
        self._declared: TargetFile | None = self.target.declared
        self._target_file: Path | None = self.target.file

    # -- the run

    def conduct(self) -> None:
        """Everything from warden to warden; what goes wrong with the target ends up in the record."""
        me = myself()
        self.run.event("process", process="conductor", state="started", pid=me.pid, started=me.started)
        try:
            self._warden = KeptWarden(self.run, self._spawn(self._chaos_server))
            self._prepare()
            self._load_and_faults()
        except Stopped as stopped:
            self.stopped = stopped
            self.screen.say(f"stopping: {stopped}")
            self.run.event("note", what="stopped", text=str(stopped), by=stopped.by)
        except TargetError as error:
            self.run.event("process", process="target", state="failed", why=str(error))
            self.screen.say(str(error))
        finally:
            self._end()

    def _prepare(self) -> None:
        self.watch.status = "starting the target"
        if self.target.reference is not None:
            self._start_reference(self.target.reference)
        if self._target_file is not None and self._declared is None:
            self._declared = read_target(self._target_file)
        assert self._declared is not None
        if self._target_file is None or any(one.pids is not None for one in self._declared.services.values()):
            # a pid is the process that had it when the file was read: whoever reads the file later takes that
            self._target_file = self.run.path / "target.yaml"
            write_json(self._target_file, self._declared.to_json())
        url = self._declared.url
        if url is None:
            raise TargetError(f"target {self._declared.id} has no url: there is nothing to load")
        self._describe_target(self._declared, url)
        self.watch.status = "starting the load"
        load_server = None if self.servers is None else self.servers.load
        self._wait_for_server(load_server)
        self._children = Children(
            self.run, self._target_file, self.approved, self._spawn(load_server), self._spawn(self._chaos_server)
        )
        self._children.start_load(self.workers)
        self._wait_until_ready(self._declared)
        self._preflight(self._declared)

    def _describe_target(self, declared: TargetFile, url: str) -> None:
        info = self.run.info()
        load = {**info.load.to_json(), "host": url.rstrip("/")}
        described = {"id": declared.id, "name": declared.name, "platform": declared.platform, "url": url}
        self.run.update({"load": load, "target": described})

    def _start_reference(self, name: str) -> None:
        platform = self.target.platform
        target_id = reference.target_id(name, platform)
        found = reference.status(name, platform)
        if found is None or not found.running:
            started = reference.start(
                name, platform, defects=self.target.defects, logs=self.run.path / "logs", owner=myself()
            )
            self.run.update({"started_target": target_id})
            self._in_thread(lambda: started.wait_ready(READY_TIMEOUT_S[platform]))
        elif found.owner == myself():
            self.run.update({"started_target": target_id})
        found = reference.status(name, platform)
        if found is None or not found.ready:
            raise TargetError(f"the reference system {name} is not ready")
        self._target_file = found.target_file
        self.narration.say(f"{name} is ready at {found.url}")

    def _wait_until_ready(self, declared: TargetFile) -> None:
        if declared.platform == "external":
            return
        platform = platform_of(declared)
        problems: list[str] = []

        def ready() -> bool:
            problems[:] = self._in_thread(
                lambda: [problem for name in declared.services for problem in platform.not_ready(name)]
            )
            return not problems

        try:
            self._wait(ready, READY_TIMEOUT_S[declared.platform], "")
        except TargetError:
            raise TargetError(f"the target is not ready: {'; '.join(problems)}") from None

    def _preflight(self, declared: TargetFile) -> None:
        """Nothing is injected where something is missing for injecting or for undoing."""
        if self.target.reference is None or not self.kinds:
            return  # a target that was there before has been looked at before the run
        missing = self._in_thread(lambda: faults.preflight(declared, self.kinds))
        if missing:
            raise Stopped("guard", "; ".join(missing))

    def _load_and_faults(self) -> None:
        assert self._children is not None
        assert self._declared is not None
        waiting = sorted(self.injections, key=lambda injection: injection.at_s)
        self._start_processes(self._children, waiting)
        with one_thread():
            from faultload.telemetry import sampler_of

            self._sampler = sampler_of(self.run, self._declared)
        if self._sampler is not None:
            self._sampler.start()
        start = self.run.clock.now() + 0.5
        self.run.update({"load_start_s": start})
        for child in self._children.load:
            child.tell(f"start {int(start * 1e9)}")
        for stage in self.scenario.load.stages:
            self.run.event("stage", t=round(start + stage.start_s, 6), stage=stage.to_json())
        self.watch.load_start_s = start
        self.watch.status = "load"
        self.narration.say("the load begins")
        while any(child.running for child in self._children.load):
            now = self.run.clock.now()
            while waiting and now >= start + waiting[0].at_s - LEAD_S:
                self._children.start_chaos(waiting.pop(0))
            self._tick()
            self._check_load()
            reason = self.watch.abort_reason()
            if reason is not None:
                self.run.event("abort", why=reason)
                raise Stopped("abort", reason)
        self._check_load()

    def _start_processes(self, children: Children, waiting: list[Injection]) -> None:
        """Wait for those of the load, then for those of the faults due soon; a fault that is not ready is late."""
        if waiting:
            self._wait_for_server(self._chaos_server)
        while waiting and waiting[0].at_s <= LEAD_S:
            children.start_chaos(waiting.pop(0))
        self._wait(
            lambda: all(child.name in self.narration.ready for child in children.load),
            READY_TIMEOUT_S["local"],
            "the load processes are not ready",
        )

        def ready() -> bool:
            return all(child.name in self.narration.ready or not child.running for child in children.chaos)

        with suppress(TargetError):
            self._wait(ready, EARLY_PATIENCE_S, "")

    def _check_load(self) -> None:
        assert self._children is not None
        for child in self._children.load:
            code = child.process.poll()
            if code not in (None, 0) and child.name not in self.narration.failed:
                text = f"{child.name} ended with {code}: see logs/{child.name}.log"
                self.run.event("note", what="lost_worker", text=text)
                raise Stopped("load", text)

    @property
    def _chaos_server(self) -> ForkServer | None:
        return None if self.servers is None else self.servers.chaos

    def _spawn(self, server: ForkServer | None) -> Spawn:
        return spawn_from(server, self.run)

    # -- waiting

    def _wait_for_server(self, server: ForkServer | None) -> None:
        """Wait until a server has imported everything; one that takes too long is lost at the first request."""
        if server is not None:
            with suppress(TargetError):
                self._wait(server.ready, READY_TIMEOUT_S["local"], "")

    def _tick(self) -> None:
        """A tenth of a second: beat, read what happened, draw, look for reasons to stop."""
        if self._warden is not None:
            self._warden.beat()
        self.narration.follow()
        if not self._ending:
            if self.interrupts.count:
                raise Stopped("person", self.interrupts.why)
            switch = kill_switch(self.run)
            if switch is not None:
                raise Stopped("kill_switch", f"kill switch {switch}")
            if self.narration.failed:
                raise Stopped("load", "; ".join(self.narration.failed.values()))
        time.sleep(_TICK_S)

    def _wait(self, condition: Callable[[], bool], timeout_s: float, problem: str) -> None:
        deadline = time.monotonic() + timeout_s
        while not condition():
            if time.monotonic() >= deadline:
                raise TargetError(f"{problem} after {timeout_s:g} s")
            self._tick()

    def _in_thread(self, work: Callable[[], T]) -> T:
        """Do something that blocks while ticks go on; its exception is raised here."""
        result: list[T] = []
        error: list[BaseException] = []

        def call() -> None:
            try:
                result.append(work())
            except BaseException as problem:  # noqa: BLE001 - handed to the caller
                error.append(problem)

        thread = threading.Thread(target=call, daemon=True)
        thread.start()
        while thread.is_alive():
            self._tick()
        if error:
            raise error[0]
        return result[0]

    # -- the end

    def _end(self) -> None:
        """Undo and end everything; a second interrupt skips the patience."""
        self._ending = True
        load_end = self.run.clock.now()
        children = self._children
        if children is not None:
            self.watch.status = "undoing what is open"
            self._stop_chaos(children)
            self._undo_left()
            if self.stopped is not None:
                self._stop_load(children)
                self.run.update({"load_end_s": load_end})
            self._read_writes_back(children)
            children.close()
        else:
            self._undo_left()
        if self._sampler is not None:
            self._sampler.stop()
        self._stop_reference()
        warden, self._warden = self._warden, None
        if warden is not None:
            warden.dismiss()
            left, _ = readable_faults(run=self.run.path)
            if left:
                names = ", ".join(fault.label for fault in left)
                self.screen.say(f"NOT undone: {names}; the warden (pid {warden.pid}) tries again for an hour")
            elif not self._patiently(lambda: not warden.alive, 5.0):
                warden.kill()
        ended: dict[str, Any] = {"ended": self.run.clock.now(), "duration_s": round(self.run.clock.now(), 3)}
        if self.stopped is not None:
            ended["stopped"] = {"by": self.stopped.by, "why": str(self.stopped)}
        self.run.update(ended)

    @property
    def _hurried(self) -> bool:
        return self.interrupts.count >= 2

    def _patiently(self, condition: Callable[[], bool], timeout_s: float) -> bool:
        """Wait with ticks until a condition holds; give up at the time-out or at a second interrupt."""
        deadline = time.monotonic() + timeout_s
        while not condition():
            if time.monotonic() >= deadline or self._hurried:
                return False
            self._tick()
        return True

    def _stop_chaos(self, children: Children) -> None:
        """SIGINT for every chaos process; its rollbacks get as long as its fault may last."""
        for child in children.chaos:
            child.interrupt()
        longest = max((injection.max_duration_s for injection in self.injections), default=0.0)
        self._patiently(lambda: not any(child.running for child in children.chaos), longest + 60.0)
        for child in children.chaos:
            child.kill()

    def _undo_left(self) -> None:
        left, _ = readable_faults(run=self.run.path)
        if left:
            self._in_thread(lambda: undo_all(left, "conductor"))

    def _stop_load(self, children: Children) -> None:
        for child in children.load:
            child.tell("stop")
        patience = min(self.scenario.load.timeout, 10.0) + 5.0
        self._patiently(lambda: not any(child.running for child in children.load), patience)
        for child in children.load:
            child.kill()

    def _read_writes_back(self, children: Children) -> None:
        if self._hurried or self.watch.load_start_s is None or not self._has_writes():
            return
        self.watch.status = "reading writes back"
        child = children.verify_writes()
        if not self._patiently(lambda: not child.running, 120.0):
            child.kill()
            self.run.event("note", what="writes_not_read", text="the writes were not read back in time")

    def _has_writes(self) -> bool:
        from faultload.record import tables as record_tables

        return bool(record_tables.read(self.run.path, "writes", ["state"]).num_rows)

    def _stop_reference(self) -> None:
        name = self.run.info().started_target
        if not name:
            return
        if self.keep_target and self.stopped is None:
            return
        self.watch.status = "stopping the target"
        known = reference.of_id(name)
        left = self._in_thread(lambda: reference.stop(*known)) if known is not None else []
        self.run.update({"started_target": None})
        for what in left:
            self.run.event("note", what="left_behind", text=f"{what} of the target did not end")
            self.screen.say(f"{what} of the target did not end")
