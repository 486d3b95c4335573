"""What Chaos Toolkit would refuse an experiment for, or leave out in silence: found before anything starts."""

from __future__ import annotations

import copy
import importlib
import logging
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from chaoslib.activity import ensure_activity_is_valid
from chaoslib.configuration import load_configuration
from chaoslib.control import validate_controls
from chaoslib.experiment import ensure_experiment_is_valid
from chaoslib.hypothesis import ensure_hypothesis_is_valid
from chaoslib.secret import load_secrets
from chaoslib.types import Strategy

from faultload.errors import Mistake
from faultload.spec.experiment import HYPOTHESIS, LOOKS, is_ours, names_target
from faultload.spec.yamlfile import Document, load

SECTIONS = ("method", "rollbacks")
Place = tuple[str | int, ...]
_DRY = "Chaos Toolkit takes no notice of `dry` in a file"


def refusals(file: Path) -> list[Mistake]:
    """Every mistake of an experiment that `read_experiment` found in order, each with its line.

    Imports the modules that the experiment names, as `chaos validate` does, and asks nobody for a secret that is
    kept elsewhere.
    """
    with _in_silence():
        return _refusals(load(file, expand=False))


def _refusals(document: Document) -> list[Mistake]:
    data: dict[str, Any] = copy.deepcopy(document.data)
    configuration, secrets = data.pop("configuration", None) or {}, data.pop("secrets", None) or {}
    found: list[Mistake] = []

    def check(path: Place, look: Callable[[], object], hint: str | None = None) -> None:
        try:
            look()
        except Exception as error:  # noqa: BLE001 - whatever Chaos Toolkit, or a module that it imports, raises
            found.append(document.mistake(path, _said(error), hint))

    for name, value in configuration.items():
        if not names_target(value):
            look = partial(load_configuration, {name: value})
            check(("configuration", name), look, "set the variable, or give a `default`")
    if not isinstance(secrets, dict):
        found.append(document.mistake(("secrets",), "must be a mapping"))
    for path, value in _secrets_of_environment(secrets, ("secrets",)):
        check(path, partial(load_secrets, {"secret": value}), "set the variable")
    for path, hypothesis in _parts(data.get(HYPOTHESIS)):
        check((HYPOTHESIS, *path), partial(ensure_hypothesis_is_valid, {HYPOTHESIS: hypothesis}))
    named = {one.get("name") for section in SECTIONS for one in _list(data.get(section)) if is_ours(one)}
    for section in SECTIONS:
        for index, activity in enumerate(_list(data.get(section))):
            check((section, index), partial(ensure_activity_is_valid, activity))
            for key, message, hint in _not_honoured(activity, named):
                found.append(document.mistake((section, index, key), message, hint))
    for path, control in _controls(data):
        check(path, partial(_check_control, control))
    check(("runtime", "hypothesis"), partial(_check_strategy, data.get("runtime")))
    if "dry" in data:
        found.append(document.mistake(("dry",), _DRY, "take it away, or use `chaos run --dry`"))
    if not found:
        check((), partial(ensure_experiment_is_valid, data))  # whatever a newer Chaos Toolkit demands
    return found


def _secrets_of_environment(value: Any, path: Place) -> Iterator[tuple[Place, Any]]:
    """Secrets that environment variables hold, wherever they stand."""
    if isinstance(value, dict):
        if value.get("type") == "env":
            yield path, value
        elif value.get("type") != "vault":
            for name, inner in value.items():
                yield from _secrets_of_environment(inner, (*path, name))


def _parts(hypothesis: Any) -> Iterator[tuple[Place, Any]]:
    """A hypothesis without its probes, then with each of them alone."""
    if hypothesis is None:
        return
    probes = _mapping(hypothesis).get("probes")
    if not isinstance(probes, list):
        yield (), hypothesis
        return
    yield (), {**hypothesis, "probes": []}
    for index, probe in enumerate(probes):
        yield ("probes", index), {"title": "one probe", "probes": [probe]}


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: Any) -> Sequence[Any]:
    return value if isinstance(value, list) else []


def _not_honoured(activity: Any, ours: Collection[str | None]) -> Iterator[tuple[str, str, str]]:
    """What cannot be kept of what an activity asks for: key, message and hint. `ours`: names of our own actions."""
    activity = _mapping(activity)
    if "dry" in activity:
        yield "dry", _DRY, "take it away"
    if "ref" in activity and activity["ref"] in ours:
        yield "ref", f"'{activity['ref']}' is played once in an experiment", "refer to activities of your own only"
    if not is_ours(activity):
        return
    func = activity["provider"].get("func")
    if activity.get("background"):
        message = f"{func} cannot run in the background: no signal reaches it there, and its failure ends nothing"
        yield "background", message, "take `background` away"
    if _mapping(activity.get("pauses")).get("before") and func not in ("hold", "undo"):
        message = f"a pause before {func} does not move the fault: a run injects it when it is due"
        yield "pauses", message, "say with the scenario's `at:` when the fault comes"


def _controls(data: Mapping[str, Any]) -> Iterator[tuple[Place, Any]]:
    """Every control of an experiment, of its hypothesis and of its activities, with its place."""
    hypothesis = _mapping(data.get(HYPOTHESIS))
    holders: list[tuple[Place, Any]] = [((), data), ((HYPOTHESIS,), hypothesis)]
    probes = enumerate(_list(hypothesis.get("probes")))
    holders += [((HYPOTHESIS, "probes", index), probe) for index, probe in probes]
    for section in SECTIONS:
        holders += [((section, index), one) for index, one in enumerate(_list(data.get(section)))]
    for place, holder in holders:
        controls = _list(_mapping(holder).get("controls"))
        yield from (((*place, "controls", index), one) for index, one in enumerate(controls))


def _check_control(control: Any) -> None:
    """Raises what is wrong; Chaos Toolkit itself goes on without a control whose module is not there."""
    if "ref" in control:
        return  # looked for in the whole experiment
    validate_controls({"controls": [control]})
    if control["provider"].get("type") == "python":
        importlib.import_module(control["provider"]["module"])


def _check_strategy(runtime: Any) -> None:
    strategy = runtime.get("hypothesis", {}).get("strategy", Strategy.DEFAULT.value)
    try:
        Strategy.from_string(strategy)
    except ValueError:
        raise ValueError(f"there is no strategy '{strategy}' (known: {', '.join(LOOKS)})") from None


def _said(error: Exception) -> str:
    if isinstance(error, ImportError):
        return f"{error}: Chaos Toolkit would go on without this control"
    if type(error).__module__.startswith("chaoslib") or isinstance(error, ValueError):
        return str(error)
    return f"Chaos Toolkit cannot use this: {type(error).__name__}: {error}"


@contextmanager
def _in_silence() -> Iterator[None]:
    """Chaos Toolkit logs what it checks; here the mistakes are said once, by whoever asked."""
    log = logging.getLogger("chaostoolkit")
    before = log.disabled
    log.disabled = True
    try:
        yield
    finally:
        log.disabled = before
