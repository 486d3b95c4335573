"""From the command line's options to judged runs: loads and checks scenarios, conducts, judges, reports."""

from __future__ import annotations

import os
import random
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from faultload import faults, reference
from faultload.chaos.guard import APPROVED_ENV, check_places, kill_switch
from faultload.chaos.warden import conductor_lives
from faultload.errors import ExitCode, InvalidInput, Mistake, Refused
from faultload.host.processes import myself
from faultload.platforms import identified, is_here
from faultload.record.directory import SECRETS_ENV, RunDirectory
from faultload.report.live import Screen, open_screen
from faultload.run.conductor import Conductor, Interrupts, Target, leftover
from faultload.run.injections import injections_of
from faultload.run.warm import Servers, warm_servers
from faultload.spec import chance as monkey
from faultload.spec.baseline import declared_slo
from faultload.spec.checks import Known, check_scenario, experiment_of, scaled_with_experiments
from faultload.spec.experiment import Experiment
from faultload.spec.profile import scale
from faultload.spec.scenario import LoadedScenario, Scenario, read_scenario
from faultload.spec.target import external, read_target
from faultload.spec.workspace import find, runs_folder, scenario_files
from faultload.spec.yamlfile import load


@dataclass(frozen=True)
class RunOptions:
    """What the command line asked for."""

    profile: str | None = None
    platform: str | None = None
    url: str | None = None
    target: Path | None = None
    sets: tuple[str, ...] = ()
    seed: int | None = None
    workers: int = 1
    defects: tuple[str, ...] = ()
    approve: tuple[str, ...] = ()
    out: Path | None = None
    command: tuple[str, ...] = ()


@dataclass(frozen=True)
class Prepared:
    """A scenario that was found to be in order, with all that its run needs."""

    loaded: LoadedScenario
    scenario: Scenario
    profile: str
    scaled: dict[str, str]
    journeys: Path
    experiments: dict[str, Experiment]
    target: Target


def target_of(loaded: LoadedScenario, options: RunOptions) -> tuple[Target, Known]:
    """What a scenario is pointed at. Raises InvalidInput."""
    if options.target is not None and options.url is not None:
        raise InvalidInput("give --url or --target, not both: a target file has its own url")
    choice = loaded.scenario.target
    file = options.target
    url = options.url or (choice.url if file is None else None)
    if file is None and url is None and choice.file is not None:
        file = find(choice.file, loaded.folder)
        if file is None:
            raise InvalidInput(loaded.document.mistake(("target",), f"no such file: {choice.file}"))
    if (file is not None or url is not None) and options.platform is not None:
        raise InvalidInput("--platform is for reference systems: a target file names its own platform")
    if (file is not None or url is not None) and options.defects:
        raise InvalidInput("--defect is for reference systems: faultload did not start this target")
    if file is not None:
        declared = read_target(file)
        return Target(file=file.absolute(), declared=declared), Known.of_target(declared)
    if url is not None:
        declared = external(url)
        return Target(declared=declared), Known.of_target(declared)
    name = str(choice.reference)
    known = reference.REFERENCES.get(name)
    if known is None:
        hint = f"there are: {', '.join(reference.REFERENCES)}"
        mistake = loaded.document.mistake(("target", "reference"), f"no reference system '{name}'", hint)
        raise InvalidInput(mistake)
    unknown = [defect for defect in options.defects if defect not in known.defects]
    if unknown:
        hint = f"{name} has: {', '.join(known.defects)}"
        raise InvalidInput(Mistake(f"there is no defect '{unknown[0]}'", hint=hint))
    platform = options.platform or "local"
    if platform not in reference.PLATFORMS:
        hint = f"platforms: {', '.join(reference.PLATFORMS)}"
        raise InvalidInput(Mistake(f"reference systems cannot run on platform '{platform}'", hint=hint))
    target = Target(reference=name, platform=platform, defects=options.defects)
    return target, Known(known.services, known.links, platform)


def prepare(file: Path, options: RunOptions) -> Prepared:
    """Read and check one scenario for a run. Raises InvalidInput with every mistake, before anything starts."""
    loaded = read_scenario(file, options.sets)
    target, known = target_of(loaded, options)
    try:
        scaled = scale(loaded.scenario, options.profile)
    except ValueError as error:
        raise InvalidInput(loaded.document.mistake(("profiles",), str(error))) from None
    mistakes = check_scenario(loaded, known, faults, scaled.profile)
    if mistakes:
        raise InvalidInput(mistakes)
    scaled = scaled_with_experiments(loaded, scaled.profile, faults.words())
    journeys = find(loaded.scenario.load.journeys, loaded.folder)
    assert journeys is not None
    experiments = {}
    for spec in (*scaled.scenario.faults, *monkey.specs(scaled.scenario)):
        experiment = experiment_of(spec, loaded.folder, faults.words())
        assert experiment is not None
        experiments[spec.name] = experiment
    return Prepared(loaded, scaled.scenario, scaled.profile, scaled.scaled, journeys, experiments, target)


def find_scenarios(names: Sequence[str], here: Path) -> list[Path]:
    """The scenario files that the arguments name. Raises InvalidInput for a name without any."""
    found: list[Path] = []
    for name in names:
        files = scenario_files(name, here)
        if not files:
            hint = "`faultload list` shows the packs and their scenarios"
            raise InvalidInput(Mistake(f"no scenario file, folder or pack '{name}'", hint=hint))
        found += files
    return list(dict.fromkeys(found))


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
    with _interrupts() as interrupts, warm_servers(any(one.experiments for one in prepared)) as servers:
        for index, one in enumerate(prepared):
            later = [other.target.reference for other in prepared[index + 1 :]]
            one.target.keep = one.target.reference is not None and one.target.reference in later
            out = options.out if options.out is not None and len(prepared) == 1 else None
            path = out or _new_folder(folder, one.scenario.name)
            try:
                verdict = _run_one(one, options, path, interrupts, screen, servers)
            except BaseException as error:
                error.add_note(f"run directory: {path}")
                _stop_kept(one)
                raise
            results.append((path, verdict))
            if verdict["exit_code"] in (ExitCode.INTERRUPTED, ExitCode.NOT_UNDONE):
                _stop_kept(one)
                break
    if len(prepared) > 1:
        from faultload.report import write_summary

        write_summary(folder, results)
    from faultload.verdict.judge import worst_exit

    return worst_exit([verdict["exit_code"] for _, verdict in results])


def scenarios_with_profile(names: Sequence[str], options: RunOptions, here: Path) -> list[Path]:
    """The scenario files that the arguments name. Of a folder or pack those that have the wanted profile.

    The others are named and left out. Raises InvalidInput for a name without any.
    """
    files = find_scenarios(names, here)
    named = {Path(name).absolute() for name in names}
    kept = []
    for file in files:
        profiles = read_scenario(file, options.sets).scenario.profiles
        if file in named or options.profile in (None, "full", *profiles):
            kept.append(file)
        else:
            print(f"{file.stem}: left out, it has no profile '{options.profile}'", file=sys.stderr)
    if not kept:
        raise InvalidInput(f"no scenario here has the profile '{options.profile}'")
    return kept


def _stop_kept(one: Prepared) -> None:
    """Stop a reference system that was kept for a scenario which will not come; never somebody else's."""
    if one.target.reference is None:
        return
    found = reference.status(one.target.reference, one.target.platform)
    if found is not None and found.owner == myself():
        reference.stop(one.target.reference, one.target.platform)


def _run_one(
    prepared: Prepared,
    options: RunOptions,
    path: Path,
    interrupts: Interrupts,
    screen: Screen | None,
    servers: Servers | None,
) -> dict[str, Any]:
    """One run: conduct, seal, judge, report."""
    switch = kill_switch()
    if switch is not None:
        raise Refused(f"the kill switch {switch} exists: remove it first")
    declared = prepared.target.declared
    if declared is not None:
        for experiment in prepared.experiments.values():
            check_places(declared, [experiment.service or "", experiment.link or ""])
        declared = prepared.target.declared = identified(declared)
        kinds = _kinds(prepared)
        missing = faults.preflight(declared, kinds) if kinds else []
        if missing:
            raise Refused("; ".join(missing))
    target_id = _target_id(prepared.target)
    problems = leftover(target_id)
    if problems:
        raise Refused(f"{'; '.join(problems)}: `faultload undo {target_id}` undoes and stops what was left behind")
    _check_already_up(prepared.target)
    approved = _approve(prepared, options)
    secrets = set(prepared.loaded.document.secrets)
    if prepared.target.file is not None:
        secrets |= set(load(prepared.target.file).secrets)
    os.environ[SECRETS_ENV] = ",".join(sorted(secrets))
    run = RunDirectory.create(path)
    seed = options.seed if options.seed is not None else random.SystemRandom().randrange(2**31)
    injections = injections_of(prepared.scenario, prepared.profile, prepared.experiments, seed)
    run.begin(
        {
            "scenario": prepared.scenario.to_json(),
            "file": str(prepared.loaded.document.file),
            "profile": prepared.profile,
            "scaled": prepared.scaled,
            "seed": seed,
            "defects": list(prepared.target.defects),
            "secrets": sorted(secrets),
            "command": list(options.command),
            "load": _load_plan(prepared, seed, options.workers),
            "injections": [one.to_json() for one in injections],
        }
    )
    _link_latest(path)
    own_screen = screen or open_screen()
    conductor = Conductor(
        run=run,
        scenario=prepared.scenario,
        profile=prepared.profile,
        target=prepared.target,
        injections=injections,
        workers=options.workers,
        slo=declared_slo(prepared.scenario, prepared.profile),
        screen=own_screen,
        interrupts=interrupts,
        env={APPROVED_ENV: ",".join(approved)} if approved else {},
        kinds=_kinds(prepared),
        servers=servers,
    )
    try:
        own_screen.say(f"{prepared.scenario.name}, profile {prepared.profile}, seed {seed}: {path}")
        conductor.conduct()
    finally:
        if screen is None:
            own_screen.close()
    return finish(run, skip_analysis=interrupts.count >= 2)


def report_again(path: Path) -> ExitCode:
    """Judge and report a run from its raw files. Raises InvalidInput for no run, Refused for one under way."""
    run = RunDirectory.existing(path)
    if conductor_lives(run):
        raise Refused(f"{path} is still running")
    return ExitCode(finish(run)["exit_code"])


def finish(run: RunDirectory, *, skip_analysis: bool = False) -> dict[str, Any]:
    """Seal, judge and report a run; also one that was killed."""
    from faultload.record.sealed import seal

    os.environ.setdefault(SECRETS_ENV, ",".join((run.info() or {}).get("secrets", [])))

    seal(run.path)
    run.redact_foreign_files()
    run.trim_logs()
    if skip_analysis:
        return {"verdict": "INCONCLUSIVE", "exit_code": int(ExitCode.INTERRUPTED), "objectives": []}
    from faultload.report import write_reports
    from faultload.report.terminal import print_verdict
    from faultload.verdict.judge import judge

    judgement = judge(run)
    run.update({"verdict": judgement.verdict["verdict"]})
    write_reports(run, judgement)
    print_verdict(judgement.verdict, run.path)
    return judgement.verdict


def _target_id(target: Target) -> str:
    if target.reference is not None:
        return reference.target_id(target.reference, target.platform)
    assert target.declared is not None
    return target.declared.id


def _check_already_up(target: Target) -> None:
    """A reference system that is up already is used as it is, if its defects are those asked for."""
    if target.reference is None:
        return
    found = reference.status(target.reference, target.platform)
    if found is None or not found.running:
        return
    if set(found.defects) != set(target.defects):
        has = ", ".join(found.defects) or "none"
        hint = f"`faultload target down {target.reference} --platform {target.platform}` first"
        raise InvalidInput(Mistake(f"{target.reference} is already up with defects: {has}", hint=hint))
    if found.owner is not None and found.owner != myself():
        raise Refused(f"{target.reference} belongs to another run that is still in progress")


def _approve(prepared: Prepared, options: RunOptions) -> list[str]:
    """The ids that may be touched although they are not on this machine. Raises Refused."""
    declared = prepared.target.declared
    if declared is None or is_here(declared):
        return []
    if prepared.experiments and declared.id not in (*prepared.scenario.allow, *declared.allow):
        raise Refused(f"{declared.id} is not on this machine: list it under `allow` to let faults touch it")
    if declared.id not in options.approve and not _typed(declared.id):
        raise Refused(f"{declared.id} is not on this machine: confirm with --approve {declared.id}")
    return [declared.id]


def _typed(target_id: str) -> bool:
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        return False
    print(f"{target_id} is not on this machine. Type its id to continue: ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip() == target_id


def _kinds(prepared: Prepared) -> frozenset[str]:
    """The fault words of a scenario."""
    return frozenset(experiment.word.name for experiment in prepared.experiments.values())


def _load_plan(prepared: Prepared, seed: int, workers: int) -> dict[str, Any]:
    load = prepared.scenario.load
    return {
        "journeys": str(prepared.journeys),
        "model": load.model,
        "stages": [stage.to_json() for stage in load.stages],
        "mix": dict(load.mix),
        "arrivals": load.arrivals,
        "max_users": load.max_users,
        "timeout_s": load.timeout,
        "drop_after_s": load.drop_after,
        "drain_s": load.timeout + 1.0,
        "seed": seed,
        "workers": workers,
    }


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


@contextmanager
def _interrupts() -> Iterator[Interrupts]:
    """Ctrl-C and SIGTERM are counted, not raised, while runs are conducted."""
    interrupts = Interrupts()
    before = {signum: signal.signal(signum, interrupts.handle) for signum in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield interrupts
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)
