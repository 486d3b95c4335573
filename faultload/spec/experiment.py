"""An experiment file, as far as faultload reads it: which fault, on what, with which configuration."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from faultload.errors import InvalidInput, Mistake
from faultload.spec.target import TARGET_ENV
from faultload.spec.vocabulary import COMMON, FaultWord
from faultload.spec.yamlfile import Document, load

ACTIONS_MODULE = "faultload.chaos.actions"
HYPOTHESIS = "steady-state-hypothesis"
LOOKS: Mapping[str, tuple[str, ...]] = {
    "default": ("before", "after"),
    "before-method-only": ("before",),
    "after-method-only": ("after",),
    "during-method-only": ("during",),
    "continuously": ("before", "during", "after"),
    "skip": (),
}
"""When Chaos Toolkit looks at the hypothesis, by strategy: before, during and after the method."""
_PLAIN = {"title", "description", "tags", "configuration", "method", "rollbacks", "runtime"}
_VARIABLE = re.compile(r"\$\{([^}]+)\}")


@dataclass(frozen=True, slots=True)
class Experiment:
    """One experiment: a fault word with its arguments after the configuration was filled in."""

    file: Path
    title: str
    word: FaultWord
    arguments: Mapping[str, Any]
    duration_s: float
    hypothesis: str | None = None
    """The title of the steady-state hypothesis, where it has probes."""
    looks: tuple[str, ...] = ()
    """When Chaos Toolkit looks at it."""
    activities: tuple[str, ...] = ()
    """The names of the team's own activities."""
    urls: tuple[tuple[str, str], ...] = ()
    """What its probes and actions ask over HTTP, as (name, URL); a variable that only Chaos Toolkit knows stays."""
    preparation_s: float = 0.0
    """How long the helpers of its fault may take to start, on the platform that it is played on."""
    plain: bool = False
    """It holds our own actions and nothing else: Chaos Toolkit has nothing more to refuse."""

    @property
    def service(self) -> str | None:
        value = self.arguments.get("service", self.word.default_service)
        return None if value is None else str(value)

    @property
    def link(self) -> str | None:
        value = self.arguments.get("link")
        return None if value is None else str(value)


Place = tuple[Document, Sequence[str | int]]
"""Where a scenario's `with:` stands: mistakes in its values are reported there."""


def read_experiment(
    file: Path,
    words: Mapping[str, FaultWord],
    variables: Mapping[str, Any] | None = None,
    given_at: Place | None = None,
) -> Experiment:
    """Read an experiment file, with a scenario's `with:` (at `given_at`) laid over its configuration.

    `words` are the fault words by name.

    Raises InvalidInput with every mistake that `chaos run` would find too late.
    """
    document = load(file, expand=False)
    return _Reader(document, words, dict(variables or {}), given_at).experiment()


class _Reader:
    def __init__(
        self,
        document: Document,
        words: Mapping[str, FaultWord],
        variables: Mapping[str, Any],
        given_at: Place | None,
    ) -> None:
        self.document = document
        self.words = words
        self.data: Mapping[str, Any] = document.data
        self.variables = variables
        self.given_at = given_at
        self.mistakes: list[Mistake] = []
        self.own = self._own_configuration()
        self.values = {**self.own, **variables}

    def experiment(self) -> Experiment:
        self._check_form()
        self._check_variables()
        injected = self._inject()
        self._check_undone(injected)
        duration = self._duration()
        if self.mistakes:
            raise InvalidInput(self.mistakes)
        assert injected is not None
        title = str(self.data.get("title", self.document.file.stem))
        return Experiment(
            self.document.file,
            title,
            *injected,
            duration,
            *self._hypothesis(),
            urls=tuple(self._urls()),
            activities=tuple(name_of(one) for one in own_activities(self.data)),
            plain=_is_plain(self.data),
        )

    def _urls(self) -> Iterator[tuple[str, str]]:
        values = {**self._from_environment(), **self.values}
        hypothesis = self.data.get(HYPOTHESIS)
        probes = hypothesis.get("probes") if isinstance(hypothesis, dict) else None
        for activity in [*(probes or ()), *(self.data.get("method") or ()), *(self.data.get("rollbacks") or ())]:
            provider = activity.get("provider") if isinstance(activity, dict) else None
            if isinstance(provider, dict) and provider.get("type") == "http":
                name = f"{activity.get('name', 'a probe')} of {self.document.file.name}"
                yield name, str(_filled(provider.get("url"), values))

    def _from_environment(self) -> dict[str, Any]:
        configuration = self.data.get("configuration")
        found = configuration.items() if isinstance(configuration, dict) else ()
        named = {name: value for name, value in found if isinstance(value, dict) and value.get("type") == "env"}
        values = {name: os.environ.get(str(one.get("key")), one.get("default")) for name, one in named.items()}
        return {name: value for name, value in values.items() if value is not None}

    def _wrong(self, path: Sequence[str | int], message: str, hint: str | None = None) -> None:
        self.mistakes.append(self.document.mistake(path, message, hint))

    def _wrong_variable(self, name: str | None, message: str, hint: str | None = None) -> None:
        """A mistake in `with:`, reported where it was written."""
        document, path = self.given_at or (self.document, ("configuration",))
        path = path if name is None else (*path, name)
        self.mistakes.append(document.mistake(path, message, hint))

    def _check_form(self) -> None:
        """What Chaos Toolkit would refuse the experiment for, only when its fault is due."""
        for key in ("title", "description"):
            if not self.data.get(key):
                self._wrong((key,), f"Chaos Toolkit needs a {key}", f"add a line `{key}: ...`")
        for section in ("method", "rollbacks"):
            activities = self.data.get(section)
            for index, activity in enumerate(activities if isinstance(activities, list) else []):
                if isinstance(activity, dict) and activity.get("ref"):
                    continue
                for place, lacks in _lacking(activity):
                    self._wrong((section, index, *place), lacks)

    def _own_configuration(self) -> dict[str, Any]:
        configuration = self.data.get("configuration") or {}
        if not isinstance(configuration, dict):
            self._wrong(("configuration",), "must be a mapping")
            return {}
        return {name: value for name, value in configuration.items() if not isinstance(value, dict)}

    def _check_variables(self) -> None:
        configuration = self.data.get("configuration") or {}
        for name in self.variables:
            if name not in configuration:
                hint = f"it has: {', '.join(map(str, configuration))}" if configuration else None
                self._wrong_variable(name, f"the configuration of {self.document.file.name} has no '{name}'", hint)

    def _duration(self) -> float:
        duration = self.values.get("duration_s")
        problem = COMMON["duration_s"].problem(duration)
        if problem is None:
            return float(str(duration))
        message = f"duration_s {problem}"
        if "duration_s" in self.variables:
            self._wrong_variable("duration_s", message)
        else:
            self._wrong(("configuration", "duration_s"), message)
        return 0.0

    def _inject(self) -> tuple[FaultWord, dict[str, Any]] | None:
        method = self.data.get("method")
        if not isinstance(method, list) or not method:
            self._wrong(("method",), "an experiment needs a method with one inject action")
            return None
        found = None
        held = False
        before = len(self.mistakes)
        for index, activity in enumerate(method):
            module, name = _function(activity)
            if module != ACTIONS_MODULE:
                continue
            path: tuple[str | int, ...] = ("method", index, "provider")
            if name == "hold":
                held = True
            elif name == "undo":
                self._wrong((*path, "func"), "undo belongs to the rollbacks", "the fault ends with its duration_s")
            elif name not in self.words:
                self._wrong((*path, "func"), f"unknown fault '{name}'", f"known: {', '.join(self.words)}")
            elif found is not None:
                self._wrong((*path, "func"), "an experiment injects one fault")
            else:
                found = self.words[name], self._arguments(activity, self.words[name], path)
        if found is None and len(self.mistakes) == before:
            hint = f"an action with module {ACTIONS_MODULE} and func: {', '.join(self.words)}"
            self._wrong(("method",), "this method injects no fault", hint)
        if not held:
            hint = f"add an action with module {ACTIONS_MODULE}, func hold"
            self._wrong(("method",), "the method does not hold the fault", hint)
        return found

    def _arguments(self, activity: Any, word: FaultWord, path: Sequence[str | int]) -> dict[str, Any]:
        """An inject action's arguments with all values filled in; mistakes that `with:` made are reported there."""
        written = _written(activity)
        own = word.mistakes({key: _filled(value, self.own) for key, value in written.items()})
        arguments = {key: _filled(value, self.values) for key, value in written.items()}
        for text in word.mistakes(arguments):
            if text in own:
                self._wrong((*path, "arguments"), text)
            else:
                self._wrong_variable(None, text)
        return arguments

    def _hypothesis(self) -> tuple[str | None, tuple[str, ...]]:
        """The title of the hypothesis and when it is looked at; what is wrong with it, Chaos Toolkit says."""
        hypothesis = self.data.get(HYPOTHESIS)
        if not isinstance(hypothesis, dict) or not hypothesis.get("probes"):
            return None, ()
        own = self.data["runtime"].get("hypothesis")
        strategy = own.get("strategy", "default") if isinstance(own, dict) else "default"
        return str(hypothesis.get("title")), LOOKS.get(strategy, ())

    def _check_undone(self, injected: tuple[FaultWord, dict[str, Any]] | None) -> None:
        runtime = self.data.get("runtime")
        rollbacks = runtime.get("rollbacks") if isinstance(runtime, dict) else None
        if not isinstance(rollbacks, dict) or rollbacks.get("strategy") != "always":
            hint = "add: runtime: {rollbacks: {strategy: always}}"
            self._wrong(("runtime",), "rollbacks must always run", hint)
        activities = self.data.get("rollbacks")
        undone = [
            _written(activity).get("fault")
            for activity in (activities if isinstance(activities, list) else [])
            if _function(activity) == (ACTIONS_MODULE, "undo")
        ]
        if not undone:
            hint = f"add a rollback with module {ACTIONS_MODULE}, func undo"
            self._wrong(("rollbacks",), "nothing undoes the fault", hint)
        elif injected is not None:
            name = injected[1].get("fault", injected[0].name)
            if name not in [_filled(value, self.values) for value in undone]:
                self._wrong(("rollbacks",), f"nothing undoes '{name}'", f"func undo, arguments: {{fault: {name}}}")


def _lacking(activity: Any) -> Iterator[tuple[tuple[str, ...], str]]:
    """What an activity lacks for Chaos Toolkit, each with its place in the activity."""
    if not isinstance(activity, dict):
        yield (), "an activity must be a mapping"
        return
    if activity.get("type") not in ("action", "probe"):
        yield ("type",), "an activity needs a type: action or probe"
    if not activity.get("name"):
        yield ("name",), "an activity needs a name"
    provider = activity.get("provider")
    if not isinstance(provider, dict) or provider.get("type") not in ("python", "process", "http"):
        yield ("provider",), "an activity needs a provider with a type: python, process or http"


def is_ours(activity: Any) -> bool:
    """Whether an activity is an action of faultload."""
    return _function(activity)[0] == ACTIONS_MODULE


def names_target(value: object) -> bool:
    """Whether a configuration value is the target file, which a run names."""
    return isinstance(value, dict) and value.get("type") == "env" and value.get("key") == TARGET_ENV


def _is_plain(experiment: Mapping[str, Any]) -> bool:
    """Whether all of an experiment in order was read here: our own actions, and nothing else."""
    values = (experiment.get("configuration") or {}).values()
    activities = [*experiment["method"], *experiment["rollbacks"]]
    return (
        set(experiment) <= _PLAIN
        and all(isinstance(one, str | int | float) or names_target(one) for one in values)
        and all(isinstance(experiment[key], str) for key in ("title", "description"))
        and all(isinstance(tag, str) for tag in experiment.get("tags", ()))
        and all(set(one) == {"type", "name", "provider"} and is_ours(one) for one in activities)
        and all(one["type"] == "action" and one["provider"]["type"] == "python" for one in activities)
        and all(set(one["provider"]) <= {"type", "module", "func", "arguments"} for one in activities)
        and experiment["runtime"] == {"rollbacks": {"strategy": "always"}}
    )


def name_of(activity: Mapping[str, Any]) -> str:
    """What an activity is called, or the one that it refers to."""
    return str(activity.get("name") or activity.get("ref"))


def own_activities(experiment: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """What the team itself plays in method and rollbacks of an experiment."""
    sections = [experiment.get("method"), experiment.get("rollbacks")]
    played = [one for section in sections if isinstance(section, list) for one in section]
    return [one for one in played if isinstance(one, dict) and not is_ours(one)]


def _function(activity: Any) -> tuple[str, str]:
    """Module and function of an action of Python; empty where there is none."""
    provider = activity.get("provider") if isinstance(activity, dict) else None
    if not isinstance(provider, dict):
        return "", ""
    return str(provider.get("module", "")), str(provider.get("func", ""))


def _written(activity: Any) -> Mapping[str, Any]:
    """The arguments of an action as written; none where they are no mapping."""
    arguments = activity["provider"].get("arguments")
    return arguments if isinstance(arguments, dict) else {}


def _filled(value: Any, values: Mapping[str, Any]) -> Any:
    """Configuration values put in place, as Chaos Toolkit does it: a lone `${x}` keeps its type."""
    if not isinstance(value, str):
        return value
    whole = _VARIABLE.fullmatch(value)
    if whole is not None:
        return values.get(whole.group(1), value)
    return _VARIABLE.sub(lambda match: str(values.get(match.group(1), match.group(0))), value)
