"""`faultload plan` and `faultload list`: what a run would do and need; nothing is touched."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from pathlib import Path

import click

from faultload import reference
from faultload.chaos.guard import check_before_asking, check_fault
from faultload.errors import FaultloadError, InvalidInput, Refused
from faultload.faults import fault_for
from faultload.platforms.base import names
from faultload.run.injections import Injection, injections_of, request_of
from faultload.run.prepare import Prepared, RunOptions, prepare, scenarios_with_profile
from faultload.run.target import Target
from faultload.spec.chance import specs
from faultload.spec.checks import room_of
from faultload.spec.journeys import read_journeys
from faultload.spec.measures import measure_of
from faultload.spec.profile import scale
from faultload.spec.scenario import Scenario, read_scenario
from faultload.spec.stages import area_between, cooldown_start
from faultload.spec.statements import resolved
from faultload.spec.target import TargetFile, read_target
from faultload.spec.term import Objective
from faultload.spec.units import format_number, format_seconds
from faultload.spec.warmup import latest_warmup_end
from faultload.spec.workspace import packs
from faultload_analysis.power import Power

_SEEDS = 2**31


def print_plan(scenario: str, options: RunOptions) -> None:
    """Print timeline, instances and needs of one scenario, or of each in a folder or pack."""
    for file in scenarios_with_profile([scenario], options, Path.cwd()):
        for line in plan_lines(prepare(file, options), options):
            click.echo(line)


def plan_lines(prepared: Prepared, options: RunOptions) -> Iterator[str]:
    """The plan of one scenario, a line each."""
    scenario = prepared.scenario
    seed = options.seed if options.seed is not None else random.SystemRandom().randrange(_SEEDS)
    injections = injections_of(scenario, prepared.profile, prepared.experiments, seed)
    yield f"{scenario.name}, profile {prepared.profile}: {format_seconds(scenario.duration_s)} of load"
    for what in prepared.scaled.values():
        yield f"  scaled: {what}"
    yield from _timeline(prepared, injections)
    yield from _instances(prepared, injections, seed, options)
    yield "objectives"
    for spec in scenario.objectives_in(prepared.profile):
        objective = resolved(spec.parsed, scenario.statements)
        speaks = "of this run" if objective.of_run else "of the system"
        yield f"  {spec.objective} ({speaks}){_need(objective, planned_requests(prepared, objective))}"
    yield from _alerts(scenario)


def _alerts(scenario: Scenario) -> Iterator[str]:
    """The alert rules: what fires them, and what they take for granted of the time before the load."""
    if scenario.alerts:
        yield "alerts"
    for rule in scenario.alerts:
        yield f"  {rule.name} on {rule.objective}: {rule.text}"
        yield f"      a total outage of {format_seconds(rule.shortest_outage_s)} fires it"
        granted = rule.before_the_load(scenario.duration_s)
        if granted:
            yield f"      {granted}"


def _timeline(prepared: Prepared, injections: Sequence[Injection]) -> Iterator[str]:
    load = prepared.scenario.load
    unit = "/s" if load.model == "open" else " users"
    marks = [
        (stage.start_s, f"{stage.kind} {format_number(stage.low)} to {format_number(stage.high)}{unit}")
        if stage.low != stage.high
        else (stage.start_s, f"{stage.kind} {format_number(stage.high)}{unit}")
        for stage in load.stages
    ]
    for injection in injections:
        experiment = prepared.experiments[injection.fault]
        where = experiment.service or experiment.link or ""
        chance = " (random)" if injection.by_chance else ""
        starting = f", after up to {format_seconds(experiment.preparation_s)} until its helper runs"
        marks.append(
            (
                injection.at_s,
                f"{injection.label}: {experiment.word.name} {where} for "
                f"{format_seconds(experiment.duration_s)}{starting if experiment.preparation_s else ''}{chance}",
            )
        )
    if prepared.scenario.warmup is not None:
        marks.append((latest_warmup_end(prepared.scenario), "the warm-up has ended (auto: at the latest)"))
    marks.append((prepared.scenario.duration_s, "end of the load"))
    yield "timeline"
    for at, what in sorted(marks, key=lambda mark: mark[0]):
        yield f"  {at:8.1f} s  {what}"


def _instances(
    prepared: Prepared, injections: Sequence[Injection], seed: int, options: RunOptions
) -> Iterator[str]:
    if not prepared.experiments:
        return
    yield f"instances that `faultload run --seed {seed}` would touch, as things stand now"
    if not injections:
        yield "  none: this seed brings no random fault"
        return
    target = prepared.target.declared or _running(prepared.target)
    if target is None:
        yield f"  {prepared.target.reference} is not up: a run starts it; `faultload target up` would show them"
        return
    try:
        check_before_asking(target, options.approve, prepared.scenario.allow)
    except Refused as refused:
        yield f"  refused: {refused}"
        return
    for injection in injections:
        yield f"  {injection.label}: {_touched(target, injection)}"


def _touched(target: TargetFile, injection: Injection) -> str:
    request = request_of(injection)
    try:
        fault = fault_for(target, request)
        instances = fault.resolve()
        check_fault(target, request, instances)
        fault.see_way_back(instances)
    except FaultloadError as error:
        return f"refused: {error}"
    return names(instances)


def _running(target: Target) -> TargetFile | None:
    found = reference.status(target.reference, target.platform) if target.reference is not None else None
    return read_target(found.target_file) if found is not None and found.ready else None


def planned_requests(prepared: Prepared, objective: Objective) -> float | None:
    """About how many requests a profile plans in an objective's phase; None where that is unknown.

    Iterations times the requests that the journeys make in each; a single request's share of its journey is
    not known, so a filter by request counts one an iteration.
    """
    load = prepared.scenario.load
    if load.model == "closed":
        return None
    start, end = latest_warmup_end(prepared.scenario), cooldown_start(load.stages)
    share = _requests_an_iteration(prepared, objective)
    phase = objective.phase
    if phase == "all":
        return share * area_between(load.stages, 0.0, prepared.scenario.duration_s)
    total = area_between(load.stages, start, end)
    if phase is None:
        return share * total
    named = [stage.area for stage in load.stages if phase in stage.phases]
    if named:
        return share * sum(named)
    # by chance: as many as with any seed, more or less
    injections = injections_of(prepared.scenario, prepared.profile, prepared.experiments, seed=1)
    if phase == "baseline":
        own = [(stage.start_s, stage.end_s) for stage in load.stages if stage.phases]
        spans = _merged([*(_disturbed(prepared, one) for one in injections), *own])
        return share * max(0.0, total - sum(area_between(load.stages, low, high) for low, high in spans))
    kind, _, name = phase.partition(":")
    if kind == "fault":
        wanted = [one for one in injections if name in ("", one.fault, one.label)]
        spans = [(one.at_s, one.at_s + prepared.experiments[one.fault].duration_s) for one in wanted]
        return share * sum(area_between(load.stages, low, high) for low, high in spans)
    return None


def _requests_an_iteration(prepared: Prepared, objective: Objective) -> float:
    """Requests an iteration of the mix makes on average, as far as an objective's filters select them."""
    journeys = read_journeys(prepared.journeys)
    filters = objective.term.filters
    mix = prepared.scenario.load.mix or dict.fromkeys(journeys.requests, 1.0)
    wanted = {name: weight for name, weight in mix.items() if filters.get("journey") in (None, name)}
    each = {name: 1 if "request" in filters else journeys.requests.get(name, 1) for name in wanted}
    return sum(weight * each[name] for name, weight in wanted.items()) / (sum(mix.values()) or 1.0)


def _merged(spans: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """Spans joined where they overlap."""
    joined: list[tuple[float, float]] = []
    for low, high in sorted(spans):
        if joined and low <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(joined[-1][1], high))
        else:
            joined.append((low, high))
    return joined


def _disturbed(prepared: Prepared, injection: Injection) -> tuple[float, float]:
    """What a fault may take from the baseline at most: its time or ttr bound, and the hold."""
    every = (*prepared.scenario.faults, *specs(prepared.scenario))
    spec = next(one for one in every if one.name == injection.fault)
    room = room_of(prepared.scenario, prepared.profile, spec, prepared.experiments)
    return injection.at_s, injection.at_s + room


def _need(objective: Objective, planned: float | None) -> str:
    """What an objective needs to be decided, against what is planned."""
    measure = measure_of(objective.term)
    samples, needed = measure.samples_needed(objective), measure.requests_needed(objective)
    if samples is not None:
        return f"\n      needs at least {samples} samples of an instance, taken once a second"
    if needed is None:
        return ""
    requests = f"{needed} requests" if objective.of_run else f"{needed} independent requests"
    load_s = measure.load_needed_s(objective)
    if load_s is not None:
        requests += (
            f" in at least {format_seconds(load_s)}, as each declared event may hit all that come in its time"
        )
    if planned is None:
        return f"\n      needs at least {requests}"
    needs = f"\n      needs at least {requests}; about {planned:.0f} are planned"
    if planned < needed:
        return f"{needs}: TOO FEW, it cannot PASS"
    power = measure.power(objective, planned)
    return needs if power is None else f"{needs}\n      {_power(power)}"


def _power(power: Power) -> str:
    """How often it passes, by the kind of traffic."""
    shares = ", ".join(f"{traffic} {share:.0%}" for traffic, share in power.shares.items())
    return f"if the truth is half the limit, {power.requests} requests pass in this share of runs: {shares}"


def undecidable(prepared: Prepared) -> Iterator[str]:
    """The objectives that a profile cannot decide: too few requests, no steps, no surge; with the figures."""
    stages = prepared.scenario.load.stages
    for spec in prepared.scenario.objectives_in(prepared.profile):
        objective = resolved(spec.parsed, prepared.scenario.statements)
        measure = measure_of(objective.term)
        lacks = measure.undecidable(stages)
        if lacks is not None:
            yield f"{spec.objective}: {lacks}"
        needed, planned = measure.requests_needed(objective), planned_requests(prepared, objective)
        if needed is not None and planned is not None and planned < needed:
            yield f"{spec.objective}: needs at least {needed} requests; about {planned:.0f} are planned"


def print_list(here: Path) -> None:
    """Print packs, their scenarios, and how long each profile loads."""
    for pack, files in packs(here).items():
        click.echo(pack)
        for file in files:
            try:
                scenario = read_scenario(file).scenario
            except InvalidInput as error:
                click.echo(f"  {file.stem}: {error.mistakes[0]}")
                continue
            click.echo(f"  {file.stem:24} {scenario.description or ''}")
            lengths = ", ".join(f"{name} {length}" for name, length in _lengths(scenario))
            click.echo(f"  {'':24} {lengths}")


def _lengths(scenario: Scenario) -> Iterator[tuple[str, str]]:
    for name in scenario.profiles or ["full"]:
        yield name, format_seconds(scale(scenario, name).scenario.duration_s)
