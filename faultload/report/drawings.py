"""A run's figures as inline SVG, each with a caption in words."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING
from xml.etree import ElementTree

import numpy as np

from faultload.record.measured import Measured
from faultload.record.rows import joined_times
from faultload.record.visible import visible
from faultload.spec.baseline import declared_limits
from faultload.spec.term import Objective
from faultload.spec.units import Quantity, parse
from faultload.verdict.judge import Judgement
from faultload.verdict.phases import Phases

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from faultload_analysis.figures import FaultSpan, MetricSeries, PhaseSpan

MOST_CURVES = 8
MOST_REQUESTS = 5
MOST_INSTANCES = 12
_LONGEST_NAME = 48
_SVG, _HREF = "{http://www.w3.org/2000/svg}", "{http://www.w3.org/1999/xlink}href"
ElementTree.register_namespace("", _SVG[1:-1])
ElementTree.register_namespace("xlink", _HREF[1:-5])
_BEFORE_S = 10.0
_SHORTEST_AFTER_S, _LONGEST_AFTER_S = 20.0, 120.0


@dataclass(frozen=True, slots=True)
class Drawing:
    """One figure: `svg` is markup of our own making, or empty with the reason in `missing`."""

    name: str
    caption: str
    svg: str = ""
    missing: str = ""


def drawings(judgement: Judgement) -> dict[str, Drawing]:
    """Every figure of a report as markup, by name."""
    return {name: _draw(name, plan) for name, plan in figures_of(judgement).items()}


@dataclass(frozen=True, slots=True)
class FigurePlan:
    """A figure that can be drawn: `figure` raises ValueError when there is nothing to draw."""

    caption: str
    figure: Callable[[], Figure]


def figures_of(judgement: Judgement) -> dict[str, FigurePlan]:
    """The figures of a run by name: timeline, recoveries, quantiles, instances; budget, capacity if asked for."""
    measured = judgement.measured
    scenario = measured.info.as_run()
    limit, quantile, _ = declared_limits(scenario, measured.info.profile)
    found = {
        "timeline": FigurePlan(
            "Requests on the run's clock: offered and achieved iterations, latency from the intended start, "
            "errors by outcome. Shaded: each fault, from injection until it was undone.",
            lambda: _timeline(judgement, limit),
        ),
        "recoveries": FigurePlan(
            "Share of successful requests, and their P99 latency. All faults are overlaid, starting at the moment "
            "of injection. A dot marks recovery.",
            lambda: _recoveries(judgement, limit),
        ),
        "quantiles": FigurePlan(
            "Latency by quantile, without warm-up and cool-down. A failed request is infinitely slow; a line ends "
            "in an open circle where only failed requests are left.",
            lambda: _quantiles(judgement, limit, quantile),
        ),
        "instances": FigurePlan(
            "Resident memory and CPU of the instances. A gap means that an instance was not running.",
            lambda: _instances(judgement),
        ),
    }
    budgets = (one for one in scenario.objectives if one.parsed.term.name == "budget")
    budget = next((one for one in budgets if one.parsed.term.condition is None), None)  # drawn by failures
    if budget is not None:
        found["budget"] = FigurePlan(
            f"Error budget left for the window in {budget.objective}, over the whole run; at 0 it is spent.",
            lambda: _budget(judgement, budget.parsed),
        )
    if judgement.capacity is not None:
        found["capacity"] = FigurePlan(
            "Throughput and latency at each offered rate. Shaded: from the highest rate that passed to the lowest "
            "that failed. Next to it, throughput by concurrency with the fitted curve.",
            lambda: _capacity(judgement),
        )
    return found


class Missing(ValueError):
    """There is nothing to draw; says why."""


def _draw(name: str, plan: FigurePlan) -> Drawing:
    try:
        return Drawing(name, plan.caption, svg=_svg(plan.figure(), name, plan.caption))
    except (Missing, ImportError) as missing:  # matplotlib may not be installed
        return Drawing(name, plan.caption, missing=str(missing))
    except ValueError as error:
        return Drawing(name, plan.caption, missing=f"This figure could not be drawn: {error}.")


def _svg(figure: Figure, name: str, caption: str) -> str:
    """A figure as an <svg> element that may stand beside others in one page: ids of its own, styles of nobody."""
    text = io.StringIO()
    figure.savefig(text, format="svg", metadata={"Date": None, "Creator": None})
    root = ElementTree.fromstring(visible(text.getvalue()))
    for parent in [*root.iter()]:
        for child in [*parent]:
            if child.tag == f"{_SVG}metadata" or [one.tag for one in child] == [f"{_SVG}style"]:
                parent.remove(child)
    for element in root.iter():
        for key, value in element.items():
            if key == "id":
                element.set(key, f"{name}-{value}")
            elif key == _HREF:
                element.set(key, value.replace("#", f"#{name}-", 1))
            else:
                element.set(key, value.replace("url(#", f"url(#{name}-"))
    for key in ("width", "height"):
        root.attrib.pop(key, None)
    root.set("role", "img")
    root.set("aria-label", caption)
    return ElementTree.tostring(root, encoding="unicode")


def _end_s(judgement: Judgement) -> float:
    """The last moment that a figure shows."""
    measured = judgement.measured
    moments = [measured.load_end_s, judgement.overview.last_end_s]
    moments += [moment for fault in measured.faults for moment in (fault.injected_at, fault.undone_at) if moment]
    return max(moments)


def _timeline(judgement: Judgement, limit_s: float | None) -> Figure:
    from faultload_analysis.figures import timeline

    if not judgement.overview.count:
        raise Missing("No request was recorded.")
    end = _end_s(judgement)
    figure = timeline(
        judgement.overview.timeline,
        end_s=end,
        faults=fault_spans(judgement),
        phases=phase_spans(judgement.phases, end),
        spoiled=judgement.spoiled,
        limit_s=limit_s,
    )
    start = max(0.0, judgement.measured.load_start_s)
    if start < end:
        figure.axes[-1].set_xlim(start, end)
    return figure


def fault_spans(judgement: Judgement) -> list[FaultSpan]:
    """The injected faults as a figure shows them."""
    from faultload_analysis.figures import FaultSpan

    found = []
    for fault in judgement.measured.faults:
        if fault.injected_at is not None:
            recovery = judgement.recoveries.get(fault.label)
            recovered = None if recovery is None else recovery.recovered_at_s
            found.append(FaultSpan(fault.label, fault.injected_at, fault.over_at, recovered))
    return found


def phase_spans(phases: Phases, end_s: float) -> list[PhaseSpan]:
    """The phases side by side: of two that overlap the fault or recovery shows; the rest is baseline."""
    from faultload_analysis.figures import PhaseSpan

    spans = [(one.name, max(one.start, 0.0), min(one.end, end_s)) for one in phases.spans]
    edges = sorted({phases.start_s, end_s, *(edge for _, *both in spans for edge in both)})
    found: list[PhaseSpan] = []
    for start, stop in pairwise(edges):
        if stop <= phases.start_s or start >= end_s:
            continue
        names = [name for name, first, last in spans if first <= start and stop <= last]
        name = min(names, key=_rank, default="baseline")
        if found and found[-1].name == name:
            found[-1] = PhaseSpan(name, found[-1].start_s, stop)
        else:
            found.append(PhaseSpan(name, start, stop))
    return found


def _rank(name: str) -> int:
    kinds = ("fault", "recovery", "warmup", "cooldown")
    kind = name.split(":")[0]
    return kinds.index(kind) if kind in kinds else len(kinds)


def _recoveries(judgement: Judgement, limit_s: float | None) -> Figure:
    from faultload_analysis.figures import RecoveryCurve, recovery_curves

    spans = fault_spans(judgement)
    if not spans:
        raise Missing("No fault was injected.")
    if not judgement.overview.count:
        raise Missing("No request was recorded.")
    starts = sorted(span.injected_s for span in spans)
    apart = min((b - a for a, b in pairwise(starts) if b > a), default=_LONGEST_AFTER_S)
    ends = [max(s.recovered_s or 0.0, s.undone_s or 0.0, s.injected_s) - s.injected_s for s in spans]
    after = min(max(_SHORTEST_AFTER_S, max(ends) * 1.3 + 5.0), max(apart, _SHORTEST_AFTER_S), _LONGEST_AFTER_S)
    curves = []
    for span in spans[:MOST_CURVES]:
        following = min((start for start in starts if start > span.injected_s), default=np.inf)
        until = min(after, following - span.injected_s - (limit_s or 0.0))
        record = judgement.measured.record
        near = joined_times(record.times(span.injected_s - _BEFORE_S, span.injected_s + until))
        curves.append(RecoveryCurve(span.name, near.intended_s, near.latency_s, span.injected_s, span.recovered_s))
    return recovery_curves(curves, before_s=_BEFORE_S, after_s=after, limit_s=limit_s)


def _quantiles(judgement: Judgement, limit_s: float | None, quantile: float) -> Figure:
    from faultload_analysis.figures import QuantileSeries, latency_by_quantile

    by_request = judgement.overview.by_request
    if not by_request[None].n:
        raise Missing("No request was recorded outside of warm-up and cool-down.")
    often = sorted((name for name in by_request if name is not None), key=lambda name: -by_request[name].n)
    series = [QuantileSeries("all", by_request[None])]
    if len(often) > 1:
        series += [QuantileSeries(_short(name), by_request[name]) for name in often[:MOST_REQUESTS]]
    declared = None if limit_s is None else quantile
    return latency_by_quantile(series, limit_s=limit_s, limit_quantile=declared)


def _budget(judgement: Judgement, objective: Objective) -> Figure:
    from faultload_analysis.figures import budget_burn_down
    from faultload_analysis.slo.budget import burn_down

    if not judgement.overview.count:
        raise Missing("No request was recorded.")
    share, window = (arg for arg in objective.term.args if isinstance(arg, Quantity))
    timeline = judgement.overview.timeline
    events = objective.term.filters.get("events")
    line = burn_down(
        timeline.total,
        timeline.failed,
        share.value,
        window.value,
        start_s=timeline.start_s,
        width_s=timeline.width_s,
        end_s=_end_s(judgement),
        expected_events=None if events is None else parse(events).value,
    )
    return budget_burn_down(line, faults=fault_spans(judgement))


def _capacity(judgement: Judgement) -> Figure:
    from faultload_analysis.figures import capacity

    found = judgement.capacity
    assert found is not None
    return capacity(found.bracket, limit_s=found.limit_s, limit_quantile=found.quantile or 0.99, usl=found.usl)


def _short(name: str) -> str:
    return name if len(name) <= _LONGEST_NAME else name[: _LONGEST_NAME - 1] + "…"


def _instances(judgement: Judgement) -> Figure:
    from faultload_analysis.figures import FaultSpan, metrics

    measured = judgement.measured
    rss, cpu = _series(measured, "rss_bytes"), _series(measured, "cpu_percent")
    if not rss and not cpu:
        raise Missing("No metrics of instances were taken.")
    end = _end_s(judgement)
    faults = [
        FaultSpan(fault.label, fault.injected_at, fault.over_at)
        for fault in measured.faults
        if fault.injected_at is not None
    ]
    last = max(float(series.times_s.max()) for series in (*rss, *cpu))
    return metrics(rss, cpu, end_s=max(end, last), faults=faults)


def _series(measured: Measured, name: str) -> Sequence[MetricSeries]:
    """One series an instance; of many instances those with the highest values."""
    from faultload_analysis.figures import MetricSeries

    table = measured.metrics
    chosen = table.name.equal(name) & np.isfinite(table.value)
    instances = table.labels["instance"]
    found = [
        MetricSeries(instances.names[code] or "", table.t_s[rows], table.value[rows])
        for code in np.unique(instances.codes[chosen])
        if code >= 0
        for rows in [chosen & (instances.codes == code)]
    ]
    highest = sorted(found, key=lambda series: -float(series.values.max()))[:MOST_INSTANCES]
    return sorted(highest, key=lambda series: series.instance)
