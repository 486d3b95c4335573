"""Runs scenarios one after another: conducts, judges and reports each; the exit code is the most severe one."""

from __future__ import annotations

import os
import random
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

from faultload import faults, reference
from faultload.chaos.guard import Unapproved, check_before_asking, check_here, check_places, kill_switch
from faultload.errors import ExitCode, Refused
from faultload.host.secrets import SECRETS_ENV
from faultload.platforms import identified
from faultload.platforms.where import names_of
from faultload.record.directory import RunDirectory
from faultload.record.info import RunInfo
from faultload.report.live import Screen, open_screen
from faultload.run.conductor import Conductor
from faultload.run.finish import finish
from faultload.run.injections import Injection, injections_of
from faultload.run.interrupts import Interrupts, counted_interrupts
from faultload.run.prepare import Prepared, RunOptions, prepare, scenarios_with_profile
from faultload.run.target import Target
from faultload.run.warm import Servers, warm_servers
from faultload.spec.baseline import declared_slo
from faultload.spec.target import TargetFile
from faultload.spec.workspace import runs_folder
from faultload.spec.yamlfile import load


def run_scenarios(names: Sequence[str], options: RunOptions, *, screen: Screen | None = None) -> ExitCode:
    """Run scenarios one after another: the exit code is the worst of theirs.

    All are checked before the first one starts. Several share a reference system where they ask for the
    same one, and write one junit.xml and summary.md beside their folders.
    """
    here = Path.cwd()
    prepared = [prepare(file, options) for file in scenarios_with_profile(names, options, here)]
    for one in prepared:
        if one.target.reference is not None:
            reference.check(one.target.reference, one.target.defects, one.target.platform)
    folder = options.out if options.out is not None and len(prepared) > 1 else runs_folder(here)
    results: list[tuple[Path, dict[str, Any]]] = []
    with counted_interrupts() as interrupts, warm_servers(any(one.experiments for one in prepared)) as servers:
        for index, one in enumerate(prepared):
            later = [other.target.reference for other in prepared[index + 1 :]]
            keep = one.target.reference is not None and one.target.reference in later
            out = options.out if options.out is not None and len(prepared) == 1 else None
            path = out or _new_folder(folder, one.scenario.name)
            try:
                verdict = _run_one(one, options, path, interrupts, screen, servers, keep_target=keep)
            except BaseException as error:
                error.add_note(f"run directory: {path}")
                one.target.stop_mine()
                raise
            results.append((path, verdict))
            if verdict["exit_code"] in (ExitCode.INTERRUPTED, ExitCode.NOT_UNDONE):
                one.target.stop_mine()  # kept for a scenario that will not come
                break
    if len(prepared) > 1:
        from faultload.report import write_summary

        write_summary(folder, results)
    from faultload.verdict.judge import worst_exit

    return worst_exit([verdict["exit_code"] for _, verdict in results])


def _run_one(
    prepared: Prepared,
    options: RunOptions,
    path: Path,
    interrupts: Interrupts,
    screen: Screen | None,
    servers: Servers | None,
    *,
    keep_target: bool,
) -> dict[str, Any]:
    """One run: conduct, seal, judge, report."""
    switch = kill_switch()
    if switch is not None:
        raise Refused(f"the kill switch {switch} exists: remove it first")
    known = prepared.target.declared or TargetFile(id=prepared.target.id, name=prepared.target.id, platform="local")
    approved = _approved(prepared, known, _before_asking(prepared), options.approve)
    target = _checked(prepared)
    target.check_free()
    approved = _approved(prepared, target.declared, check_here, approved)
    seed = options.seed if options.seed is not None else random.SystemRandom().randrange(2**31)
    injections = injections_of(prepared.scenario, prepared.profile, prepared.experiments, seed)
    run = _begin(prepared, options, path, seed, injections)
    own_screen = screen or open_screen()
    conductor = Conductor(
        run=run,
        scenario=prepared.scenario,
        profile=prepared.profile,
        target=target,
        injections=injections,
        workers=options.workers,
        slo=declared_slo(prepared.scenario, prepared.profile),
        screen=own_screen,
        interrupts=interrupts,
        approved=approved,
        kinds=prepared.kinds,
        servers=servers,
        keep_target=keep_target,
    )
    try:
        own_screen.say(f"{prepared.scenario.name}, profile {prepared.profile}, seed {seed}: {path}")
        conductor.conduct()
    finally:
        if screen is None:
            own_screen.close()
    return finish(run, skip_analysis=interrupts.count >= 2)


def _checked(prepared: Prepared) -> Target:
    """The target with its identity, where it was there before: nothing protected is asked for, nothing is missing.

    Raises Refused.
    """
    target = prepared.target
    if target.declared is None:
        return target
    for experiment in prepared.experiments.values():
        check_places(target.declared, [experiment.service or "", experiment.link or ""])
    declared = identified(target.declared)
    missing = faults.preflight(declared, prepared.kinds) if prepared.kinds else []
    if missing:
        raise Refused("; ".join(missing))
    return replace(target, declared=declared)


def _begin(
    prepared: Prepared, options: RunOptions, path: Path, seed: int, injections: Sequence[Injection]
) -> RunDirectory:
    """Make the run directory and write what is about to be run."""
    secrets = set(prepared.loaded.document.secrets)
    if prepared.target.file is not None:
        secrets |= set(load(prepared.target.file).secrets)
    os.environ[SECRETS_ENV] = ",".join(sorted(secrets))
    run = RunDirectory.create(path)
    info = RunInfo(
        scenario=prepared.scenario.to_json(),
        file=str(prepared.loaded.document.file),
        profile=prepared.profile,
        scaled=prepared.scaled,
        seed=seed,
        defects=prepared.target.defects,
        secrets=tuple(sorted(secrets)),
        command=options.command,
        load=prepared.load_info(seed, options.workers),
        injections=tuple(one.planned() for one in injections),
    )
    run.begin(info.to_json())
    _link_latest(path)
    return run


def _before_asking(prepared: Prepared) -> Callable[[TargetFile, Sequence[str], Sequence[str]], None]:
    urls = [url for experiment in prepared.experiments.values() for url in experiment.urls]
    return partial(check_before_asking, urls=urls)


def _approved(
    prepared: Prepared,
    declared: TargetFile | None,
    check: Callable[[TargetFile, Sequence[str], Sequence[str]], None],
    approved: Sequence[str],
) -> Sequence[str]:
    """What may be touched although it is not on this machine; a person at a terminal is asked. Raises Refused."""
    if declared is None:
        return approved
    allowed = prepared.scenario.allow if prepared.experiments else names_of(declared)
    try:
        check(declared, approved, allowed)
    except Unapproved as missing:
        if not _typed(missing.name):
            raise
        return [*approved, missing.name]
    return approved


def _typed(target_id: str) -> bool:
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        return False
    print(f"{target_id} is not on this machine. Type its id to continue: ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip() == target_id


def _new_folder(folder: Path, name: str) -> Path:
    moment = datetime.now().strftime("%Y%m%d-%H%M%S")
    path = folder / f"{name}-{moment}"
    number = 2
    while path.exists():
        path = folder / f"{name}-{moment}-{number}"
        number += 1
    return path.absolute()


def _link_latest(path: Path) -> None:
    """`runs/latest` names the newest run of its folder."""
    link = path.parent / "latest"
    if path.parent.name != "runs" or (link.exists() and not link.is_symlink()):
        return
    link.unlink(missing_ok=True)
    link.symlink_to(path.name)
