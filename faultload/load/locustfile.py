"""Imports a journey file and finds its user classes and their mix."""

from __future__ import annotations

import importlib.util
import sys
import traceback
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType

from locust import LoadTestShape, User
from locust.util.load_locustfile import is_user_class

from faultload.errors import InvalidInput, Mistake


def import_file(path: Path) -> ModuleType:
    """Import a journey file as Locust does, its folder on the path. Raises InvalidInput with file and line."""
    name = path.stem
    if name in sys.modules or name in sys.stdlib_module_names:
        name = f"{name}_journeys"
    spec = importlib.util.spec_from_file_location(name, path)
    if not path.is_file() or spec is None or spec.loader is None:
        raise InvalidInput(Mistake("there is no such journey file", path))
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    folder = str(path.parent)
    sys.path.insert(0, folder)
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
        line = error.lineno if isinstance(error, SyntaxError) else frames[-1].lineno if frames else None
        text = f"cannot be imported: {type(error).__name__}: {error}"
        raise InvalidInput(Mistake(text, path, line)) from error
    finally:
        # still there for a later import, but no longer before the installed packages
        sys.path.remove(folder)
        sys.path.append(folder)
    return module


def journeys_of(module: ModuleType) -> dict[str, type[User]]:
    """The user classes of a module that Locust would run, by class name."""
    return {found.__name__: found for found in vars(module).values() if is_user_class(found)}


def shapes_of(module: ModuleType) -> list[str]:
    """The load shapes of a module, which a scenario's own stages replace."""
    return [
        name
        for name, found in vars(module).items()
        if isinstance(found, type) and issubclass(found, LoadTestShape) and found.__module__ == module.__name__
    ]


def choose(journeys: Mapping[str, type[User]], mix: Mapping[str, float] | None, path: Path) -> dict[str, float]:
    """The mix to run: the declared one, else Locust's class weights. Raises InvalidInput."""
    if not journeys:
        raise InvalidInput(Mistake("has no user class", path, hint="a class made from Journey or HttpUser"))
    if not mix:
        return {name: journey.weight for name, journey in journeys.items() if journey.weight > 0}
    unknown = [name for name in mix if name not in journeys]
    if unknown:
        hint = f"it has {', '.join(journeys)}"
        raise InvalidInput(Mistake(f"has no user class {', '.join(unknown)}", path, key="mix", hint=hint))
    return {name: weight for name, weight in mix.items() if weight > 0}
