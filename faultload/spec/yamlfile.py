"""Reads YAML files with the line of every key, so mistakes can say where they are."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

from faultload.errors import InvalidInput, Mistake
from faultload.host.secrets import keep_secret

Path_ = tuple[str | int, ...]
_MERGE = "tag:yaml.org,2002:merge"
_MOST_VALUES = 200_000
"""In one file, with those that aliases repeat: a few lines of aliases of aliases could be billions."""
_REFERENCE = re.compile(r"\$\{(secret:)?([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\}")


@dataclass(frozen=True, slots=True)
class Document:
    """A parsed file: its data, the line of each value, and the secrets that it named."""

    file: Path
    data: Any
    lines: dict[Path_, int] = field(default_factory=dict)
    secrets: dict[str, str] = field(default_factory=dict)

    def line(self, path: Sequence[str | int]) -> int | None:
        """The line of a value, or of its nearest parent that has one."""
        key = tuple(path)
        while key and key not in self.lines:
            key = key[:-1]
        return self.lines.get(key)

    def mistake(self, path: Sequence[str | int], message: str, hint: str | None = None) -> Mistake:
        """A mistake at a value of this document."""
        return Mistake(message, self.file, self.line(path), dotted(path) or None, hint)


def dotted(path: Sequence[str | int]) -> str:
    """A path as people write it: faults[0].at"""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


class _Reader:
    def __init__(self, file: Path, expand: bool) -> None:
        self.file = file
        self.expand = expand
        self.lines: dict[Path_, int] = {}
        self.secrets: dict[str, str] = {}
        self.mistakes: list[Mistake] = []
        self._loader = yaml.SafeLoader("")
        self._inside: list[yaml.Node] = []
        self._values = 0

    def _mistake(self, node: yaml.Node, path: Path_, message: str, hint: str | None = None) -> None:
        self.mistakes.append(Mistake(message, self.file, node.start_mark.line + 1, dotted(path), hint))

    def value(self, node: yaml.Node, path: Path_) -> Any:
        self.lines.setdefault(path, node.start_mark.line + 1)
        self._values += 1
        if self._values > _MOST_VALUES:
            text = f"more than {_MOST_VALUES} values: aliases of aliases multiply"
            raise InvalidInput(Mistake(text, self.file, node.start_mark.line + 1))
        if isinstance(node, yaml.ScalarNode):
            return self._scalar(node, path)
        if any(node is outer for outer in self._inside):
            self._mistake(node, path, "this alias contains itself")
            return None
        self._inside.append(node)
        try:
            if isinstance(node, yaml.MappingNode):
                return self._mapping(node, path)
            return [self.value(child, (*path, index)) for index, child in enumerate(node.value)]
        finally:
            self._inside.pop()

    def _mapping(self, node: yaml.MappingNode, path: Path_) -> dict[Any, Any]:
        result: dict[Any, Any] = {}
        merged: dict[Any, Any] = {}
        for key_node, value_node in node.value:
            if key_node.tag == _MERGE:
                for key, value in self._merged(value_node, path).items():
                    merged.setdefault(key, value)
                continue
            key = self._key(key_node, path)
            if key is None:
                continue
            here = (*path, _step(key))
            if key in result:
                self._mistake(key_node, here, "this key appears twice")
            self.lines[here] = key_node.start_mark.line + 1
            result[key] = self.value(value_node, here)
        return {**merged, **result}

    def _merged(self, node: yaml.Node, path: Path_) -> dict[Any, Any]:
        """What `<<: *other` brings; of several the first one wins."""
        parts = node.value if isinstance(node, yaml.SequenceNode) else [node]
        found: dict[Any, Any] = {}
        for part in parts:
            value = self.value(part, path)
            if isinstance(value, dict):
                found = {**value, **found}
            else:
                self._mistake(part, path, "<< takes a mapping, or a list of mappings")
        return found

    def _key(self, node: yaml.Node, path: Path_) -> str | int | float | bool | None:
        key = None
        with suppress(yaml.YAMLError, ValueError):
            key = self._loader.construct_object(node, deep=True)
        if isinstance(key, str | int | float | bool):
            return key
        self._mistake(node, path, "a key must be a plain word")
        return None

    def _scalar(self, node: yaml.ScalarNode, path: Path_) -> Any:
        if self.expand and "${" in node.value:
            text = _REFERENCE.sub(lambda match: self._expanded(match, node, path), node.value)
            tag = node.tag
            if node.style is None:
                tag = self._loader.resolve(  # type: ignore[no-untyped-call]
                    yaml.ScalarNode, text, (True, False)
                )
            node = yaml.ScalarNode(tag, text, node.start_mark, node.end_mark, node.style)
        try:
            return self._loader.construct_object(node, deep=True)
        except (yaml.YAMLError, ValueError) as error:
            self._mistake(node, path, f"cannot read this value: {_problem(error)}")
            return None

    def _expanded(self, match: re.Match[str], node: yaml.Node, path: Path_) -> str:
        secret, name, default = match.groups()
        if secret and default is not None:
            self._mistake(node, path, "a secret cannot have a default: its value must not be in a file")
            return ""
        value = os.environ.get(name)
        if not value and default is not None:
            value = default
        if value is None:
            self._mistake(node, path, f"the environment has no {name}", f"export {name}=...")
            return ""
        if secret:
            self.secrets[name] = value
            return match.group(0)  # a secret stays a reference: it travels in the environment only
        return value


def _step(key: str | float) -> str | int:
    """A key as a step of a path."""
    return key if isinstance(key, int) and not isinstance(key, bool) else str(key)


def expand_secrets(value: Any) -> Any:
    """`${secret:NAME}` replaced from the environment, in texts and in all that mappings and lists hold.

    Only for what is used at once: whatever this process writes afterwards has it replaced. Raises InvalidInput.
    """
    if isinstance(value, dict):
        return {key: expand_secrets(item) for key, item in value.items()}
    if isinstance(value, list):
        return [expand_secrets(item) for item in value]
    return _REFERENCE.sub(_secret, value) if isinstance(value, str) else value


def _secret(match: re.Match[str]) -> str:
    secret, name, _ = match.groups()
    if not secret:
        return match.group(0)
    if name not in os.environ:
        raise InvalidInput(f"the environment has no {name}: export {name}=...")
    keep_secret(name)
    return os.environ[name]


def _problem(error: Exception) -> str:
    return str(getattr(error, "problem", None) or error)


@lru_cache(maxsize=128)
def _composed(text: str) -> yaml.Node | None:
    """The nodes of a text, which nobody changes: one file is read for each scenario and profile that names it."""
    return yaml.compose(text, Loader=yaml.SafeLoader)


def load(file: Path, *, expand: bool = True) -> Document:
    """Read a YAML file; with `expand`, `${NAME}` and `${NAME:-default}` come from the environment.

    A default stands in for a name that is not set or empty, as in a shell.

    Raises InvalidInput with file and line when it cannot be read or is no mapping.
    """
    try:
        text = file.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise InvalidInput(Mistake("there is no such file", file)) from None
    except IsADirectoryError:
        raise InvalidInput(Mistake("this is a folder, not a file", file)) from None
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput(Mistake(f"cannot be read: {error}", file)) from None
    try:
        node = _composed(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = None if mark is None else mark.line + 1
        raise InvalidInput(Mistake(f"not valid YAML: {_problem(error)}", file, line)) from None
    except RecursionError:
        raise InvalidInput(Mistake("nested too deeply", file)) from None
    if not isinstance(node, yaml.MappingNode):
        line = 1 if node is None else node.start_mark.line + 1
        what = "empty" if node is None else f"a {type(node).__name__.removesuffix('Node').lower()}"
        raise InvalidInput(Mistake(f"must be a mapping of keys to values, but is {what}", file, line))
    reader = _Reader(file, expand)
    data = reader.value(node, ())
    if reader.mistakes:
        raise InvalidInput(reader.mistakes)
    return Document(file, data, reader.lines, reader.secrets)
