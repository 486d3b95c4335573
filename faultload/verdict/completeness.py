"""What the record lacks of that which an objective reads."""

from __future__ import annotations

from collections.abc import Sequence

from faultload.record.complete import Missing
from faultload.spec.measures import measure_of
from faultload.spec.term import Objective
from faultload.verdict.evidence import Evidence


def lacking_for(evidence: Evidence, objective: Objective, missing: Sequence[Missing]) -> list[str]:
    """What is missing of the tables, seconds and services that an objective reads, in sentences."""
    measure, term = measure_of(objective.term), objective.term
    tables = measure.reads(evidence, term)
    stretches = None if measure.whole_run else evidence.phases.stretches(objective.phase)
    return [
        one.text
        for one in missing
        if (measure.of_load if one.table is None else one.table in tables)
        and (stretches is None or any(one.since_s < end and one.until_s > start for start, end in stretches))
        and (one.service is None or term.filters.get("service", one.service) == one.service)
    ]
