"""`faultload validate`: every mistake in scenario, target and experiment files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from faultload import reference
from faultload.errors import InvalidInput, Mistake
from faultload.experiment import read_experiment
from faultload.run import Wishes, target_of
from faultload.scenario import read_scenario
from faultload.scenario_checks import check_scenario
from faultload.target import read_target
from faultload.workspace import scenario_files
from faultload.yamlfile import load


def validate_files(paths: Sequence[str], here: Path) -> tuple[list[Mistake], int]:
    """All mistakes in the files that the arguments name, and how many files were looked at."""
    mistakes: list[Mistake] = []
    count = 0
    for path in paths:
        files = [Path(path)] if Path(path).is_file() else scenario_files(path, here)
        if not files:
            mistakes.append(Mistake(f"no file, folder or pack '{path}'"))
        for file in files:
            count += 1
            try:
                mistakes += _of_file(file)
            except InvalidInput as error:
                mistakes += error.mistakes
    return list(dict.fromkeys(mistakes)), count


def _of_file(file: Path) -> list[Mistake]:
    """Mistakes of one file, by what it looks like: an experiment, a target file, else a scenario."""
    keys = set(load(file, expand=False).data)
    if "method" in keys:
        read_experiment(file)
        return []
    if "platform" in keys and "load" not in keys:
        read_target(file)
        return []
    loaded = read_scenario(file)
    name = loaded.scenario.target.reference
    if name is not None and name not in reference.REFERENCES:
        hint = f"there are: {', '.join(reference.REFERENCES)}"
        mistake = loaded.document.mistake(("target", "reference"), f"no reference system '{name}'", hint)
        return [mistake, *check_scenario(loaded, None)]
    _, known = target_of(loaded, Wishes())
    return check_scenario(loaded, known)
