"""From a run's record and scenario to a verdict: arrays to faultload_analysis, results to verdict.json."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import Any

from faultload.errors import ExitCode
from faultload.record.complete import missing_parts
from faultload.record.directory import RunDirectory
from faultload.record.events import ProcessEvent, Slots
from faultload.record.measured import FaultTimes, Measured, read_measured
from faultload.spec import chance
from faultload.spec.baseline import declared_limits
from faultload.spec.scenario import ObjectiveSpec, Scenario
from faultload.spec.statements import resolved
from faultload.spec.term import Objective
from faultload.verdict.alerts import ReplayedRule, all_fired, detected_by, replayed
from faultload.verdict.capacity import Capacity, capacity_found, with_slo, with_steps
from faultload.verdict.evidence import Evidence
from faultload.verdict.experiments import hypotheses, own_trouble
from faultload.verdict.measures.budget import consumed
from faultload.verdict.measures.mtbf import mtbf
from faultload.verdict.objectives import judged
from faultload.verdict.overview import Offered, Overview, OverviewBuilder
from faultload.verdict.phases import Phases, phases_of
from faultload.verdict.recoveries import overloads_of, recoveries_of
from faultload.verdict.spoilage import spoilage
from faultload.verdict.warmup import warmed
from faultload.verdict.writes import recovery_points, write_counts
from faultload_analysis.evidence.verdict import Verdict, worst
from faultload_analysis.latency.generator import Spoiled, offered_achieved
from faultload_analysis.latency.quantiles import summary
from faultload_analysis.recovery.faults import Recovery
from faultload_analysis.recovery.overload import Overload
from faultload_analysis.recovery.production import availability_estimate

_EXIT = {
    Verdict.PASS: ExitCode.PASS,
    Verdict.FAIL: ExitCode.FAIL,
    Verdict.INCONCLUSIVE: ExitCode.INCONCLUSIVE,
    Verdict.INVALID: ExitCode.INVALID,
}


@dataclass(frozen=True)
class Judgement:
    """A judged run: what verdict.json holds, and what a report draws from."""

    verdict: dict[str, Any]
    measured: Measured
    phases: Phases
    recoveries: Mapping[str, Recovery]
    spoiled: Spoiled
    overview: Overview
    capacity: Capacity | None = None

    @property
    def exit_code(self) -> ExitCode:
        """The exit code that `faultload run` and `faultload report` return."""
        return ExitCode(self.verdict["exit_code"])


def judge(run: RunDirectory) -> Judgement:
    """Judge a run from its raw files; the same files give the same verdict."""
    measured = read_measured(run)
    scenario = measured.info.as_run()
    warm = warmed(measured, scenario)
    measured = warm.apply(measured)
    profile = measured.info.profile
    specs = scenario.objectives_in(profile)
    alerts = replayed(measured, scenario.alerts)
    glance = OverviewBuilder(measured)
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="iterations") as beside:
        iterations = beside.submit(glance.read_iterations)
        recoveries = warm.recoveries(recoveries_of(measured, scenario, profile, all_fired(alerts)))
    offered = iterations.result()
    phases = with_steps(measured, phases_of(measured, recoveries))
    wanted = [resolved(with_slo(spec, specs), scenario.statements) for spec in specs]
    spoiled = spoilage(measured, offered.slips, wanted, phases, declared_limits(scenario, profile)[0])
    evidence = Evidence(
        measured,
        phases,
        recoveries,
        spoiled,
        overloads=warm.overloads(overloads_of(measured, scenario, profile)),
        alerts=alerts,
        failure_rates={one.name: one.failure_rate for one in scenario.faults if one.failure_rate is not None},
    )
    evidence.gather(wanted, readers=[lambda part, moments: glance.add(phases, part, moments)])
    overview = glance.finish()
    ran = offered.begun > 0 or bool(measured.health)
    missing = missing_parts(run, measured)
    objectives = [
        judged(evidence, spec, one, ran=ran, missing=missing, unsteady=warm.unsteady)
        for spec, one in zip(specs, wanted, strict=True)
    ]
    objectives += hypotheses(measured)
    capacity = capacity_found(evidence, wanted)
    points = recovery_points(run, measured)
    invalid = [
        *invalid_reasons(measured, begun=offered.begun, dropped=overview.dropped),
        *ended_early(measured, scenario),
        *(one.text for one in missing if one.table is None),
    ]
    partial = [*filter(None, [_cut_short(measured)]), *own_trouble(measured)]
    verdict = worst(Verdict(one["verdict"]) for one in objectives)
    if invalid:
        verdict = Verdict.INVALID
    elif partial and verdict is Verdict.PASS:
        verdict = Verdict.INCONCLUSIVE
    result = {
        "verdict": str(verdict),
        "exit_code": int(_exit_code(measured, verdict)),
        "name": scenario.name,
        "profile": profile,
        "scaled": dict(measured.info.scaled),
        **({} if scenario.statements is None else {"statements": scenario.statements}),
        **warm.to_json(measured),
        "reasons": [*invalid, *partial],
        "objectives": objectives,
        "faults": [
            _fault(fault, recoveries.get(fault.label), points.get(fault.label), alerts) for fault in measured.faults
        ],
        **({"alerts": [one.to_json() for one in alerts.values()]} if alerts else {}),
        "overloads": [_overload(name, one) for name, one in evidence.overloads.items()],
        "budgets": _budgets(evidence, specs, wanted),
        "writes": _writes(measured),
        "generator": _generator(measured, spoiled, offered, overview.dropped),
        "requests": _requests(overview),
        **({} if capacity is None else {"capacity": capacity.to_json()}),
        **_production(evidence),
        **({"missing": [one.text for one in missing]} if missing else {}),
    }
    return Judgement(result, measured, phases, recoveries, spoiled, overview, capacity)


def invalid_reasons(measured: Measured, *, begun: int, dropped: int) -> list[str]:
    """Why the measurement as a whole cannot be trusted; empty when it can. Iterations begun, and slots dropped."""
    reasons = []
    for fault in measured.faults:
        if fault.injected_at is not None and fault.witnessed is not True:
            what = fault.witness_what or "no witness looked"
            reasons.append(f"{fault.label} was not witnessed: {what}")
        if fault.state == "UNDO_FAILED":
            reasons.append(f"{fault.label} could not be undone: {fault.gone_what}")
        elif fault.still_open:
            reasons.append(f"{fault.label} was never undone")
    for one in measured.missing:
        reasons.append(f"{one.label} was never injected, and nothing of ours says why: see logs/{one.process}.log")
    missing = _missing_slots(measured, begun + dropped)
    if missing:
        reasons.append(missing)
    for what in ("conductor_hung", "lost_worker", "deadline"):
        note = measured.note(what)
        if note is not None:
            reasons.append(note.text or what)
    if measured.info.stopped is not None and measured.info.stopped.by == "machine":
        reasons.append(f"this machine could not go on: {measured.info.stopped.why}")
    failed = next((one for one in measured.of_kind(ProcessEvent) if one.state == "failed"), None)
    if failed is not None:
        reasons.append(f"{failed.process} failed: {failed.why or 'see its log'}")
    return reasons


def ended_early(measured: Measured, scenario: Scenario) -> list[str]:
    """A reason for each fault that ended before its time, where its scenario does not want that judged."""
    judged = {spec.name for spec in (*scenario.faults, *chance.specs(scenario)) if spec.on_ended_early == "judge"}
    reasons = []
    for fault in measured.faults:
        if fault.ended_at is None or fault.lasted_s is None or fault.fault in judged:
            continue
        of = "" if fault.max_duration_s is None else f" of the {fault.max_duration_s:g} s that were asked for"
        reasons.append(
            f"{fault.label} ended early, at {fault.ended_at - measured.load_start_s:.1f} s: it was there for "
            f"{fault.lasted_s:.1f} s{of}: {fault.ended_what} (`on_ended_early: judge` judges it on that time)"
        )
    return reasons


def _missing_slots(measured: Measured, recorded: int) -> str | None:
    """Slots that an orderly worker offered and that left neither an iteration nor a dropped sample."""
    totals = list(measured.of_kind(Slots))
    if not totals or measured.info.load.closed:
        return None
    offered = sum(one.offered for one in totals)
    if len(totals) == measured.info.load.workers and recorded < offered:
        return f"{offered - recorded} of {offered} offered slots are missing from the record"
    return None


def _cut_short(measured: Measured) -> str | None:
    """Why the run did not go to its end, or None."""
    stopped = measured.info.stopped
    if stopped is not None:
        return f"the run was stopped early: {stopped.why}"
    if measured.info.ended is None:
        return "the run was killed before its end"
    held = [fault.label for fault in measured.held]
    return f"not injected: {', '.join(held)}" if held else None


def _exit_code(measured: Measured, verdict: Verdict) -> ExitCode:
    """6, 130, 5, then the verdict's."""
    if any(fault.still_open for fault in measured.faults):
        return ExitCode.NOT_UNDONE
    stopped_by = "" if measured.info.stopped is None else measured.info.stopped.by
    if stopped_by == "person":
        return ExitCode.INTERRUPTED
    if measured.held or stopped_by in ("abort", "kill_switch", "guard"):
        return ExitCode.REFUSED
    return _EXIT[verdict]


def _fault(
    fault: FaultTimes, recovery: Recovery | None, rpo_s: float | None, alerts: Mapping[str, ReplayedRule]
) -> dict[str, Any]:
    return {
        "fault": fault.fault,
        "k": fault.k,
        "kind": fault.kind,
        "instances": fault.instances,
        "injected_at": fault.injected_at,
        "undone_at": fault.undone_at,
        **({} if fault.ended_at is None else {"ended_at": fault.ended_at, "ended": fault.ended_what}),
        "state": fault.state,
        "gate": {"passed": fault.gate, "why": fault.gate_why},
        "witnessed": fault.witnessed,
        "witness": fault.witness_what,
        "gone": fault.gone_what,
        "impact_s": None if recovery is None else recovery.impact_s,
        "detect_s": None if recovery is None else recovery.detect_s,
        **({"detected_by": detected_by(alerts, recovery)} if alerts else {}),
        "recover_s": None if recovery is None else recovery.recover_s,
        "recover_between_s": None if recovery is None else [recovery.low_s, recovery.high_s],
        "censored_s": None if recovery is None else recovery.censored_s,
        "rpo_s": rpo_s,
        "worst_bad_share": None if recovery is None else recovery.worst_bad_share,
        "absorbed": recovery is not None and recovery.absorbed,
        "recovered": recovery is not None and recovery.recovered,
        **_later(recovery),
        "why": "" if recovery is None else recovery.why,
    }


def _later(recovery: Recovery | None) -> dict[str, Any]:
    """The incidents after this one that are its own no more; nothing where there was none."""
    if recovery is None or not recovery.later:
        return {}
    return {
        "later_incidents": [
            {"at": at, "lasted_s": None if ended is None else ended - at} for at, ended in recovery.later
        ]
    }


def _overload(name: str, overload: Overload) -> dict[str, Any]:
    return {
        "surge": name,
        "state": str(overload.state.value),
        "recover_s": overload.recover_s,
        "recover_between_s": [overload.low_s, overload.high_s],
        "watched_s": overload.watched_s,
        "why": overload.why,
    }


def _budgets(
    evidence: Evidence, specs: Sequence[ObjectiveSpec], wanted: Sequence[Objective]
) -> list[dict[str, Any]]:
    """Budget and burn rate for each budget objective, over the phase that it reads."""
    found = []
    for spec, objective in zip(specs, wanted, strict=True):
        if objective.term.name == "budget":
            budget = consumed(evidence, objective)
            found.append(
                {
                    "objective": spec.objective,
                    "window": str(objective.term.quantity(1)),
                    "consumed": budget.consumed,
                    "burn_rate": budget.burn_rate,
                }
            )
    return found


def _production(evidence: Evidence) -> dict[str, Any]:
    """MTBF and availability in production, where the scenario declares how often its faults strike there."""
    rates = evidence.failure_rates
    if not rates:
        return {}
    found = {name: [one for _, one in evidence.recoveries_of(name)] for name in rates}
    availability, between = availability_estimate(rates, found), mtbf(evidence)
    return {
        "production": {
            "failure_rates_per_s": dict(rates),
            "mtbf_s": [between.value, between.low, between.high],
            "availability": [availability.value, availability.low, availability.high],
            "why": "; ".join(filter(None, [between.why, availability.why])),
        }
    }


def _writes(measured: Measured) -> dict[str, Any]:
    counts = write_counts(measured)
    if counts is None:
        return {"acknowledged": 0, "lost": None, "indeterminate": 0, "verified": False}
    lost = counts.lost if counts.verified else None
    return {**asdict(counts), "lost": lost}


def _generator(measured: Measured, spoiled: Spoiled, offered: Offered, dropped: int) -> dict[str, Any]:
    duration = max(measured.load_end_s - measured.load_start_s, 1e-9)
    planned = offered.begun + dropped
    rates = offered_achieved(planned, offered.begun, offered.late, dropped, duration_s=duration)
    return {
        "slip_p99_ms": _ms(spoiled.slip_p99_s),
        "loop_lag_p99_ms": _ms(spoiled.loop_lag_p99_s),
        "cpu_percent": spoiled.cpu_percent_max,
        "offered": rates.offered_per_s,
        "achieved": rates.achieved_per_s,
        "spoiled_s": spoiled.seconds,
        "dropped": dropped,
        "waited_max_s": offered.waited_max_s,
        "reasons": list(spoiled.reasons),
    }


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds * 1e3, 3)


def _requests(overview: Overview) -> list[dict[str, Any]]:
    """Latency by request over everything but warm-up and cool-down, and all of them together; milliseconds."""
    rows = []
    for name, ranked in overview.by_request.items():
        part = summary(ranked)
        if part.n:
            values = {key: value for key, value in asdict(part).items() if key not in ("n", "n_failed")}
            rows.append(
                {
                    "request": name or "all",
                    "n": part.n,
                    "failed": part.n_failed,
                    **{key: None if value is None else value * 1e3 for key, value in values.items()},
                }
            )
    return rows


def worst_exit(codes: Sequence[int]) -> ExitCode:
    """The exit code of several scenarios: 2, 6, 130 and 5 first, then 4, 1, 3, 0."""
    order = [70, 2, 6, 130, 5, 4, 1, 3, 0]
    return ExitCode(min(codes, key=order.index)) if codes else ExitCode.USAGE
