"""What Chaos Toolkit found in the experiments of a run: an objective for each hypothesis, and own activities."""

from __future__ import annotations

from typing import Any

from faultload.record.events import ExperimentEnded, Look
from faultload.record.info import PlannedInjection
from faultload.record.measured import Measured
from faultload_analysis.evidence.verdict import Verdict


def hypotheses(measured: Measured) -> list[dict[str, Any]]:
    """An objective for each fault whose experiment looks at a hypothesis during or after its method.

    A look that deviates is a FAIL; one that is missing of a fault that was injected keeps it from a PASS. The
    look before the method is no part of it: it holds the fault, as the gate does.
    """
    planned: dict[str, list[PlannedInjection]] = {}
    for one in measured.info.injections:
        if set(one.looks) - {"before"}:
            planned.setdefault(one.fault, []).append(one)
    return [_objective(measured, fault, injections) for fault, injections in planned.items()]


def _objective(measured: Measured, fault: str, planned: list[PlannedInjection]) -> dict[str, Any]:
    ended = _ended(measured)
    looks: list[tuple[str, Look]] = []
    missing = []
    for one in planned:
        if not _injected(measured, one):
            continue
        wanted = [when for when in one.looks if when != "before"]
        note = ended.get((one.fault, one.k))
        mine = [look for look in (note.looks if note is not None else ()) if look.when in wanted]
        looks += [(one.label, look) for look in mine]
        missing += [f"{one.label} {when}" for when in wanted if when not in [look.when for look in mine]]
    deviated = [f"{label} {look.when} the method: {look.why}" for label, look in looks if not look.met]
    if deviated:
        verdict, why = Verdict.FAIL, f"the hypothesis deviated, {'; '.join(deviated)}"
    elif missing or not looks:
        verdict = Verdict.INCONCLUSIVE
        why = f"not looked at: {', '.join(missing)} the method" if missing else "the fault was not injected"
    else:
        verdict, why = (
            Verdict.PASS,
            f"the hypothesis held in {'each of ' if len(looks) > 1 else ''}{len(looks)} looks",
        )
    held = 100.0 * sum(look.met for _, look in looks) / len(looks) if looks else None
    return {
        "objective": f"hypothesis({fault}) == holds",
        "verdict": str(verdict),
        "statement": "run",
        "estimate": held,
        "interval": [held, held],
        "unit": "%",
        "n": len(looks),
        "n_eff": None,
        "phase": None,
        "showed": None if held is None else f"held in {sum(look.met for _, look in looks)} of {len(looks)} looks",
        "missed": sum(not look.met for _, look in looks),
        "why": why,
        "method": "every look of Chaos Toolkit during and after the method",
        "target": 100.0,
        "operator": "==",
        "name": planned[0].hypothesis,
        "critical": False,
        "weight": 1.0,
        "dimension": None,
    }


def own_trouble(measured: Measured) -> list[str]:
    """What the team's own actions and probes did not do, and where the record does not say."""
    ended = _ended(measured)
    found = []
    for one in measured.info.injections:
        note = ended.get((one.fault, one.k))
        if not _injected(measured, one):
            continue  # what was held says so itself
        if note is not None:
            found += [f"{one.label}: {what}" for what in note.failed]
        elif one.activities:
            names = ", ".join(one.activities)
            found.append(
                f"{one.label}: how its own activities went ({names}) is not known: it did not come to its end"
            )
    return found


def _ended(measured: Measured) -> dict[tuple[str | None, int], ExperimentEnded]:
    return {note.injection: note for note in measured.of_kind(ExperimentEnded)}


def _injected(measured: Measured, injection: PlannedInjection) -> bool:
    return any(
        (fault.fault, fault.k) == (injection.fault, injection.k) and fault.injected_at is not None
        for fault in measured.faults
    )
