"""Conducts one run: starts the target, plays load and faults on one clock, reads writes back, undoes everything."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from faultload import faults, reference
from faultload.chaos.guard import kill_switch
from faultload.errors import TargetError, in_words, of_the_machine
from faultload.host.processes import Spawn, myself
from faultload.host.state import write_json
from faultload.platforms import platform_of
from faultload.record.directory import RunDirectory
from faultload.report.live import Screen
from faultload.run import deadlines
from faultload.run.children import LEAD_S, Child, Children
from faultload.run.ending import Ending, Stopped
from faultload.run.injections import Injection
from faultload.run.interrupts import Interrupts
from faultload.run.kept_warden import KeptWarden
from faultload.run.load_watch import LoadWatch
from faultload.run.narration import Narration
from faultload.run.patience import Late, Patience
from faultload.run.target import Target
from faultload.run.warm import ForkServer, Servers, one_thread, spawn_from
from faultload.run.watch import Watch
from faultload.spec.scenario import Scenario
from faultload.spec.stages import end_of
from faultload.spec.target import TargetFile, read_target

_TICK_S = 0.1


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
        self.patience = Patience(self._tick)
        self.stopped: Stopped | None = None
        self._ending = False
        self._warden: KeptWarden | None = None
        self._children: Children | None = None
        self._sampler: Any = None
        self._declared: TargetFile | None = self.target.declared
        self._target_file: Path | None = self.target.file

    # -- the run

    def conduct(self) -> None:
        """Everything from warden to warden; what goes wrong with target or machine ends up in the record.

        Raises NoVerdict where the record could not be brought to its end.
        """
        me = myself()
        try:
            self.run.event("process", process="conductor", state="started", pid=me.pid, started=me.started)
            self._warden = KeptWarden(self.run, self._spawn(self._chaos_server))
            self._prepare()
            self._load_and_faults()
        except Stopped as stopped:
            self._stop(stopped)
        except TargetError as error:
            who = error.who if isinstance(error, Late) else "target"
            self._note("process", process=who, state="failed", why=str(error))
            self.screen.say(str(error))
        except Exception as error:
            if not of_the_machine(error):
                raise
            self._stop(Stopped("machine", in_words(error)))
        finally:
            self._end()

    def _stop(self, stopped: Stopped) -> None:
        self.stopped = stopped
        self.screen.say(f"stopping: {stopped}")
        self._note("note", what="stopped", text=str(stopped), by=stopped.by)

    def _note(self, kind: str, **fields: Any) -> None:
        """Write an event; a record that takes no more keeps nothing from being undone and ended."""
        with suppress(OSError):
            self.run.event(kind, **fields)

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
            ready_s = deadlines.TARGET_READY_S[platform]
            self.patience.in_thread(
                lambda: started.wait_ready(ready_s), deadlines.TARGET_START_S, "target", "its start"
            )
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
            problems[:] = self.patience.in_thread(
                lambda: [problem for name in declared.services for problem in platform.not_ready(name)],
                deadlines.LOOK_S,
                "target",
                "a look at its services",
            )
            return not problems

        if not self.patience.until(ready, deadlines.TARGET_READY_S[declared.platform]):
            raise TargetError(f"the target is not ready: {'; '.join(problems)}")

    def _preflight(self, declared: TargetFile) -> None:
        """Nothing is injected where something is missing for injecting or for undoing."""
        if self.target.reference is None or not self.kinds:
            return  # a target that was there before has been looked at before the run
        missing = self.patience.in_thread(
            lambda: faults.preflight(declared, self.kinds), deadlines.LOOK_S, "target", "a look at what faults need"
        )
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
        load = self.scenario.load
        goes_on = LoadWatch(start, start + end_of(load.stages), load.timeout + 1.0)
        while any(child.running for child in self._children.load):
            now = self.run.clock.now()
            while waiting and now >= start + waiting[0].at_s - LEAD_S:
                self._children.start_chaos(waiting.pop(0))
            self._tick()
            self._check_load()
            for worker, child in enumerate(self._children.load):
                problem = goes_on.problem(worker, self.run.clock.now(), self.watch.beats) if child.running else None
                if problem is not None:
                    self._lost(problem)
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

        def late() -> list[Child]:
            self._check_load()
            return [child for child in children.load if child.name not in self.narration.ready]

        ready_s = deadlines.LOAD_READY_S + self.scenario.load.timeout
        if not self.patience.until(lambda: not late(), ready_s):
            raise Late(late()[0].name, "its start", ready_s)

        def ready() -> bool:
            return all(child.name in self.narration.ready or not child.running for child in children.chaos)

        self.patience.until(ready, deadlines.FIRST_FAULTS_READY_S)

    def _check_load(self) -> None:
        assert self._children is not None
        for child in self._children.load:
            code = child.process.poll()
            if code not in (None, 0) and child.name not in self.narration.failed:
                self._lost(f"{child.name} ended with {code}: see logs/{child.name}.log")

    def _lost(self, text: str) -> NoReturn:
        try:
            self.run.event("note", what="lost_worker", text=text)
        except OSError as error:
            raise Stopped("machine", f"{in_words(error)} ({text})") from None
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
            self.patience.until(server.ready, deadlines.SERVER_READY_S)

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

    def _end(self) -> None:
        self._ending = True
        Ending(
            run=self.run,
            screen=self.screen,
            watch=self.watch,
            patience=self.patience,
            interrupts=self.interrupts,
            stopped=self.stopped,
            warden=self._warden,
            children=self._children,
            sampler=self._sampler,
            longest_s=max((injection.max_duration_s for injection in self.injections), default=0.0),
            timeout_s=self.scenario.load.timeout,
            keep_target=self.keep_target,
        ).end()
