"""`faultload validate`: reports every mistake in scenario, target and experiment files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from faultload import faults, reference
from faultload.commands.plan import undecidable
from faultload.errors import InvalidInput, Mistake
from faultload.run.prepare import RunOptions, prepare, refused, target_of
from faultload.spec.checks import check_scenario
from faultload.spec.experiment import read_experiment
from faultload.spec.scenario import read_scenario
from faultload.spec.target import read_target
from faultload.spec.workspace import scenario_files
from faultload.spec.yamlfile import load


@dataclass
class Found:
    """What validation found: mistakes, and notes on what a profile cannot decide."""

    files: int = 0
    mistakes: list[Mistake] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def validate_files(paths: Sequence[str], here: Path) -> Found:
    """All mistakes in the files that the arguments name."""
    found = Found()
    for path in paths:
        files = [Path(path)] if Path(path).is_file() else scenario_files(path, here)
        if not files:
            found.mistakes.append(Mistake(f"no file, folder or pack '{path}'"))
        for file in files:
            found.files += 1
            try:
                mistakes = _of_file(file)
                if not mistakes:
                    found.notes += _notes(file)
                found.mistakes += mistakes
            except InvalidInput as error:
                found.mistakes += error.mistakes
    found.mistakes = list(dict.fromkeys(found.mistakes))
    return found


def _notes(file: Path) -> Iterator[str]:
    """For each profile of a scenario, the objectives that it plans too few requests for."""
    if "load" not in load(file, expand=False).data:
        return
    for profile in read_scenario(file).scenario.profiles or ["full"]:
        for text in undecidable(prepare(file, RunOptions(profile=profile))):
            yield f"{file}: profile {profile} may be INCONCLUSIVE: {text}"


def _of_file(file: Path) -> list[Mistake]:
    """Mistakes of one file, by what it looks like: an experiment, a target file, else a scenario."""
    keys = set(load(file, expand=False).data)
    if "method" in keys:
        return refused(read_experiment(file, faults.words()))
    if "platform" in keys and "load" not in keys:
        read_target(file)
        return []
    loaded = read_scenario(file)
    name = loaded.scenario.target.reference
    if name is not None and name not in reference.REFERENCES:
        hint = f"there are: {', '.join(reference.REFERENCES)}"
        mistake = loaded.document.mistake(("target", "reference"), f"no reference system '{name}'", hint)
        return [mistake, *check_scenario(loaded, None, faults)]
    _, known = target_of(loaded, RunOptions())
    return check_scenario(loaded, known, faults)
