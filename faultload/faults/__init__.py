"""The fault words, and the class that makes each on each platform.

A class says so with `@makes("kill", "local")`. Found are the classes in every module of this package and its
folders, and in modules that an installed distribution names as entry points of the group `faultload.faults`. A
module may declare a word of its own with `declare`: a fault in one file.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import entry_points
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from faultload.errors import InvalidInput, Mistake
from faultload.faults.refusals import refusal
from faultload.spec.vocabulary import WORDS, FaultWord

if TYPE_CHECKING:
    from faultload.faults.base import FaultRequest, PlatformFault
    from faultload.spec.target import TargetFile

PLATFORMS = ("local", "docker", "kubernetes")
GROUP = "faultload.faults"

PlatformName = Literal["local", "docker", "kubernetes"]
F = TypeVar("F", bound="type[PlatformFault]")


@dataclass(frozen=True, slots=True)
class _Made:
    word: str
    platform: str


_words: dict[str, FaultWord] = {word.name: word for word in WORDS}
_classes: dict[_Made, type[PlatformFault]] = {}
_broken: dict[str, str] = {}


def declare(word: FaultWord) -> FaultWord:
    """Add a word to the vocabulary. Raises ValueError for a name that another word has."""
    if _words.setdefault(word.name, word) != word:
        raise ValueError(f"there is a fault word '{word.name}' already")
    return word


def makes(word: str, *platforms: PlatformName) -> Callable[[F], F]:
    """Say that a class makes a fault on platforms. Raises ValueError when another class does already."""

    def note(cls: F) -> F:
        for platform in platforms:
            known = _classes.setdefault(_Made(word, platform), cls)
            if (known.__module__, known.__qualname__) != (cls.__module__, cls.__qualname__):
                raise ValueError(f"{known.__qualname__} makes '{word}' on {platform} already")
        return cls

    return note


@cache
def _discover() -> None:
    """Import every module that may hold words and classes, once."""
    for module in pkgutil.walk_packages(__path__, f"{__name__}."):
        importlib.import_module(module.name)
    _check_words()
    for entry in entry_points(group=GROUP):
        words_before, classes_before = set(_words), set(_classes)
        try:
            entry.load()
            _check_words()
        except Exception as error:  # noqa: BLE001 - a broken package must not keep other faults from being undone
            _broken[entry.name] = f"{entry.value} cannot be used: {type(error).__name__}: {error}"
            for name in _words.keys() - words_before:
                del _words[name]
            for made in _classes.keys() - classes_before:
                del _classes[made]


def _check_words() -> None:
    for made in _classes:
        if made.word not in _words:
            raise ValueError(f"a class makes '{made.word}' on {made.platform}, but no word is declared")


def words() -> Mapping[str, FaultWord]:
    """Every fault word by name."""
    _discover()
    return MappingProxyType(_words)


def broken() -> Mapping[str, str]:
    """Entry points of other packages that could not be loaded, and why."""
    _discover()
    return MappingProxyType(_broken)


def faults_of(platform: str) -> Mapping[str, type[PlatformFault]]:
    """The classes of a platform by word; empty for a platform that can make none."""
    _discover()
    return {word: found for word in _words if (found := _classes.get(_Made(word, platform))) is not None}


def cannot(platform: str, word: str) -> Mistake | None:
    """Why a platform cannot make a fault, with the nearest that it can; None when it can."""
    able = faults_of(platform)
    if word in able:
        return None
    known = refusal(platform, word)
    message = f"platform '{platform}' cannot do '{word}'"
    if known is not None:
        return Mistake(f"{message}: {known.why}", hint=known.instead)
    hint = f"it can do: {', '.join(able)}" if able else "it can be loaded; for faults give a target file"
    return Mistake(message, hint=hint)


def preparation_s(platform: str, word: str, arguments: Mapping[str, Any]) -> float:
    """How many seconds the helpers of a fault may take to start on a platform; 0 where it has none."""
    made = faults_of(platform).get(word)
    return 0.0 if made is None else made.prepares_within_s(arguments)


def preflight(target: TargetFile, kinds: Collection[str]) -> list[str]:
    """What is missing for injecting and undoing faults of these kinds, in words; empty when nothing is."""
    from faultload.platforms import platform_of

    made = faults_of(target.platform)
    return platform_of(target).preflight({kind: made[kind] for kind in sorted(kinds) if kind in made})


def fault_for(target: TargetFile, request: FaultRequest) -> PlatformFault:
    """The fault that a request means on its target's platform. Raises InvalidInput when it has none."""
    mistake = cannot(target.platform, request.kind)
    if mistake is not None:
        raise InvalidInput(mistake)
    foreign = words()[request.kind].foreign(target.platform, request.arguments)
    if foreign:
        raise InvalidInput(Mistake(foreign[0], hint="leave it out"))
    return faults_of(target.platform)[request.kind](target, request)
