"""An experiment file as far as faultload reads it: which fault, on what, with which configuration."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from faultload.errors import InvalidInput, Mistake
from faultload.vocabulary import FAULTS, FaultWord
from faultload.yamlfile import Document, load

ACTIONS_MODULE = "faultload.chaos.actions"
_VARIABLE = re.compile(r"\$\{([^}]+)\}")


@dataclass(frozen=True, slots=True)
class Experiment:
    """One experiment: a fault word with its arguments after the configuration was filled in."""

    file: Path
    title: str
    word: FaultWord
    arguments: Mapping[str, Any]
    duration_s: float

    @property
    def service(self) -> str | None:
        value = self.arguments.get("service", self.word.default_service)
        return None if value is None else str(value)

    @property
    def link(self) -> str | None:
        value = self.arguments.get("link")
        return None if value is None else str(value)


def read_experiment(file: Path, variables: Mapping[str, Any] | None = None) -> Experiment:
    """Read an experiment file, with a scenario's `with:` laid over its configuration.

    Raises InvalidInput with every mistake that `chaos run` would find too late.
    """
    document = load(file, expand=False)
    mistakes: list[Mistake] = []
    data = document.data
    configuration = data.get("configuration") or {}
    values = _configuration(document, configuration, variables or {}, mistakes)
    inject = _inject(document, values, mistakes)
    strategy = (((data.get("runtime") or {}).get("rollbacks")) or {}).get("strategy")
    if strategy != "always":
        hint = "add: runtime: {rollbacks: {strategy: always}}"
        mistakes.append(document.mistake(("runtime",), "rollbacks must always run", hint))
    if not any(_function(activity)[1] == "undo" for activity in data.get("rollbacks") or []):
        hint = f"add a rollback with module {ACTIONS_MODULE}, func undo"
        mistakes.append(document.mistake(("rollbacks",), "nothing undoes the fault", hint))
    duration = values.get("duration_s")
    if not isinstance(duration, int | float) or isinstance(duration, bool) or duration <= 0:
        mistakes.append(
            document.mistake(("configuration", "duration_s"), "duration_s must be a number of seconds above 0")
        )
    if mistakes:
        raise InvalidInput(mistakes)
    assert inject is not None
    word, arguments = inject
    return Experiment(file, str(data.get("title", file.stem)), word, arguments, float(str(duration)))


def _configuration(
    document: Document, configuration: Any, variables: Mapping[str, Any], mistakes: list[Mistake]
) -> dict[str, Any]:
    if not isinstance(configuration, dict):
        mistakes.append(document.mistake(("configuration",), "must be a mapping"))
        return {}
    for name in variables:
        if name not in configuration:
            hint = f"known: {', '.join(map(str, configuration))}"
            mistakes.append(document.mistake(("configuration",), f"has no '{name}' to be set by `with`", hint))
    literal = {name: value for name, value in configuration.items() if not isinstance(value, dict)}
    return {**literal, **variables}


def _function(activity: Any) -> tuple[str | None, str | None]:
    provider = activity.get("provider") if isinstance(activity, dict) else None
    if not isinstance(provider, dict):
        return None, None
    return provider.get("module"), provider.get("func")


def _inject(
    document: Document, values: Mapping[str, Any], mistakes: list[Mistake]
) -> tuple[FaultWord, dict[str, Any]] | None:
    method = document.data.get("method")
    if not isinstance(method, list) or not method:
        mistakes.append(document.mistake(("method",), "an experiment needs a method with one inject action"))
        return None
    found = None
    held = False
    for index, activity in enumerate(method):
        module, name = _function(activity)
        if module != ACTIONS_MODULE:
            continue
        path: tuple[str | int, ...] = ("method", index, "provider")
        if name == "hold":
            held = True
        elif name not in FAULTS:
            hint = f"known: {', '.join(FAULTS)}"
            mistakes.append(document.mistake((*path, "func"), f"unknown fault '{name}'", hint))
        elif found is not None:
            mistakes.append(document.mistake((*path, "func"), "an experiment injects one fault"))
        else:
            arguments = activity["provider"].get("arguments") or {}
            arguments = {key: _filled(value, values) for key, value in arguments.items()}
            word = FAULTS[str(name)]
            mistakes += [document.mistake((*path, "arguments"), text) for text in word.mistakes(arguments)]
            found = word, arguments
    if found is None and not mistakes:
        hint = f"an action with module {ACTIONS_MODULE} and func: {', '.join(FAULTS)}"
        mistakes.append(document.mistake(("method",), "this method injects no fault", hint))
    if not held:
        hint = f"add an action with module {ACTIONS_MODULE}, func hold"
        mistakes.append(document.mistake(("method",), "the method does not hold the fault", hint))
    return found


def _filled(value: Any, values: Mapping[str, Any]) -> Any:
    """Configuration values put in place, as Chaos Toolkit does it: a lone `${x}` keeps its type."""
    if not isinstance(value, str):
        return value
    whole = _VARIABLE.fullmatch(value)
    if whole is not None:
        return values.get(whole.group(1), value)
    return _VARIABLE.sub(lambda match: str(values.get(match.group(1), match.group(0))), value)
