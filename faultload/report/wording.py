"""The words all reports use: a verdict's mark and headline, and what happened to each fault."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from faultload.report import values
from faultload.spec.measures import measure_of
from faultload.spec.objective import parse_objective
from faultload.spec.term import ObjectiveError

MARKS: Mapping[str, str] = {"PASS": "✓", "FAIL": "✗", "INCONCLUSIVE": "?", "INVALID": "!"}
_MISSED = {
    "FAIL": ("was missed", "were missed"),
    "INCONCLUSIVE": ("could not be decided", "could not be decided"),
    "INVALID": ("could not be measured", "could not be measured"),
}


def mark(verdict: object) -> str:
    """The sign that stands beside a verdict's word, so that nothing depends on colour."""
    return MARKS.get(str(verdict), "·")


def objectives_of(verdict: Mapping[str, Any], *wanted: str) -> list[Mapping[str, Any]]:
    """The objectives with one of the verdicts; all of them without any."""
    found: Sequence[Mapping[str, Any]] = verdict.get("objectives") or []
    return [one for one in found if not wanted or one.get("verdict") in wanted]


def statements(verdict: Mapping[str, Any]) -> str:
    """What the objectives of a run speak of where it was told to speak of itself; empty else."""
    if verdict.get("statements") != "run":
        return ""
    return "statements: run: what this run showed is judged, unless an objective speaks of the system."


def headline(verdict: Mapping[str, Any]) -> str:
    """Why the run got its verdict, in one sentence; before it, whether it speaks of this run only."""
    return " ".join(filter(None, [statements(verdict), _reason(verdict)]))


def _reason(verdict: Mapping[str, Any]) -> str:
    word = str(verdict.get("verdict", "INVALID"))
    every, these = objectives_of(verdict), objectives_of(verdict, word)
    reasons = [str(reason) for reason in verdict.get("reasons") or []]
    if word == "PASS":
        if len(every) == 1:
            return "The one objective was met."
        return f"All {len(every)} objectives were met."
    if reasons and (word == "INVALID" or not these):
        return _stop("; ".join(reasons))
    if not these:
        return "No objective was judged."
    verb = _MISSED.get(word, _MISSED["INVALID"])[len(these) > 1]
    first = these[0]
    text = str(first.get("why") or first.get("objective"))
    objectives = "objective" if len(every) == 1 else "objectives"
    more = "" if len(these) == 1 else " First of them: "
    return f"{len(these)} of {len(every)} {objectives} {verb}{':' if not more else '.'}{more or ' '}{_stop(text)}"


def _stop(text: str) -> str:
    return text if text.endswith((".", "!", "?")) else f"{text}."


def target(objective: Mapping[str, Any]) -> str:
    """What an objective demands: <= 500ms."""
    wanted = values.quantity(objective.get("target"), str(objective.get("unit") or ""))
    return f"{objective.get('operator', '')} {wanted}".strip()


def estimate(objective: Mapping[str, Any]) -> str:
    return values.quantity(objective.get("estimate"), str(objective.get("unit") or ""))


def bounds(objective: Mapping[str, Any]) -> str:
    return values.interval(objective.get("interval"), str(objective.get("unit") or ""))


def statement(objective: Mapping[str, Any]) -> str:
    """Which kind of statement an objective is; empty in a verdict that was written before there were two."""
    kind = objective.get("statement")
    return f"of {'this run' if kind == 'run' else 'the system'}" if kind else ""


def phase(objective: Mapping[str, Any]) -> str:
    """Which part of the run an objective reads."""
    if objective.get("phase"):
        return str(objective["phase"])
    try:
        whole_run = measure_of(parse_objective(str(objective.get("objective", ""))).term).whole_run
    except ObjectiveError:
        whole_run = False
    return "whole run" if whole_run else "all but warm-up and cool-down"


def fault_name(fault: Mapping[str, Any]) -> str:
    return f"{fault.get('fault')}#{fault.get('k')}"


def fault_outcome(fault: Mapping[str, Any]) -> str:
    """What became of a fault: absorbed, recovered, never recovered, not measurable or not injected, and why."""
    if fault.get("injected_at") is None:
        why = (fault.get("gate") or {}).get("why") or fault.get("why")
        return f"not injected: {why}" if why else "not injected"
    if fault.get("absorbed"):
        return "absorbed"
    if fault.get("recovered"):
        return "; ".join(["recovered", *map(_incident, fault.get("later_incidents") or [])])
    if fault.get("censored_s") is not None:
        return f"never recovered (watched {values.seconds(fault['censored_s'])})"
    why = fault.get("why")
    return f"not measurable: {why}" if why else "not measurable"


def _incident(incident: Mapping[str, Any]) -> str:
    """An incident of its own after a fault's recovery."""
    lasted = incident.get("lasted_s")
    over = "not over" if lasted is None else f"for {values.seconds(lasted)}"
    return f"another incident at {values.moment(incident.get('at'))}, {over}"


def alert(found: Mapping[str, Any]) -> str:
    """When an alert of the scenario's own would have fired, and what that takes for granted."""
    spans = []
    for one in found.get("fired") or []:
        until = "the end" if one["until"] is None else values.moment(one["until"])
        spans.append(f"at {values.moment(one['at'])}, to {until}")
    return "; ".join(
        filter(None, [f"fired {', '.join(spans)}" if spans else "did not fire", str(found.get("why"))])
    )


def detected(fault: Mapping[str, Any]) -> str:
    """How long after its impact a fault was detected, and by which alert of the scenario's own."""
    text = values.seconds(fault.get("detect_s"))
    return f"{text} ({fault['detected_by']})" if fault.get("detected_by") else text


def recover(fault: Mapping[str, Any]) -> str:
    """Time from impact to recovery, with the moments that bracket it."""
    text = values.seconds(fault.get("recover_s"))
    between = fault.get("recover_between_s") or [None, None]
    if fault.get("absorbed") or between[0] is None or between[1] is None:
        return text
    low, high = values.seconds(between[0]), values.seconds(between[1])
    return text if low == high else f"{text} [{low}, {high}]"


def witnessed(fault: Mapping[str, Any]) -> str:
    """Whether the fault was seen to be there."""
    if fault.get("injected_at") is None:
        return values.MISSING
    seen = fault.get("witnessed")
    if seen and fault.get("ended_at") is not None:
        return f"until {values.moment(fault['ended_at'])}: ended early"
    return "not looked" if seen is None else "yes" if seen else "no"


def writes(verdict: Mapping[str, Any]) -> str:
    """What became of the acknowledged writes, in one line; empty when none was acknowledged."""
    found = verdict.get("writes") or {}
    if not found.get("acknowledged"):
        return ""
    lost = f"{values.count(found.get('lost'))} lost" if found.get("lost") is not None else "not read back"
    text = f"{values.count(found['acknowledged'])} acknowledged, {lost}"
    if found.get("indeterminate"):
        text += f", {values.count(found['indeterminate'])} indeterminate"
    return f"{text}: {found['problem']}" if found.get("problem") else text


def generator(verdict: Mapping[str, Any]) -> str:
    """The load generator's own health in one line; empty when nothing was recorded."""
    found = verdict.get("generator") or {}
    if not found:
        return ""
    parts = [
        f"offered {values.rate(found.get('offered'))}",
        f"achieved {values.rate(found.get('achieved'))}",
        f"slip P99 {values.quantity(found.get('slip_p99_ms'), ' ms')}",
        f"loop lag P99 {values.quantity(found.get('loop_lag_p99_ms'), ' ms')}",
        f"CPU {values.quantity(found.get('cpu_percent'), '%')}",
        f"{values.count(found.get('spoiled_s'))} s spoiled",
    ]
    if found.get("dropped"):
        parts.append(f"{values.count(found['dropped'])} slots dropped")
    return ", ".join(parts)
