"""report.html: one self-contained page with everything about a run."""

from __future__ import annotations

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
from markupsafe import Markup

from faultload.record.directory import RunDirectory
from faultload.record.redactor import Redactor
from faultload.record.visible import visible
from faultload.record.writes import WriteChecks
from faultload.report import aside, values, wording
from faultload.report.drawings import drawings
from faultload.verdict.judge import Judgement


def render_html(run: RunDirectory, judgement: Judgement) -> str:
    """The report of a judged run as one self-contained page; whatever was not measured is said to be missing."""
    measured, verdict = judgement.measured, judgement.verdict
    template = _environment().get_template("report.html.j2")
    return template.render(
        run=run.path.name,
        verdict=verdict,
        info=measured.info,
        scenario=measured.info.scenario or {},
        headline=wording.headline(verdict),
        drawings={name: (one, Markup(one.svg)) for name, one in drawings(judgement).items()},
        locust=aside.beside_locust(judgement),
        failed=aside.failed_processes(run, measured),
        notes=aside.notes(measured, verdict.get("missing", ())),
        command=aside.command(measured.info),
        version=measured.info.versions.get("faultload"),
        facts=aside.facts(measured.info),
        write_checks=_write_checks(measured.write_checks),
        values=values,
        wording=wording,
    )


def _environment() -> Environment:
    redactor = Redactor.from_environment()

    def finalize(value: object) -> object:
        """Replace secrets and control characters before HTML escapes hide them from whoever writes the file."""
        if not isinstance(value, str) or isinstance(value, Markup):
            return value
        return visible(redactor.text(value))

    return Environment(
        loader=PackageLoader("faultload.report"),
        autoescape=select_autoescape(enabled_extensions=("html", "j2"), default=True),
        finalize=finalize,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _write_checks(found: WriteChecks | None) -> list[dict[str, str]]:
    """What each verifier found of the acknowledged keys."""
    return [
        {
            "name": check.name,
            "missing": values.count(check.missing_count),
            "such_as": check.error or ", ".join(check.missing[:5]) or values.MISSING,
        }
        for check in (() if found is None else found.checks)
    ]
