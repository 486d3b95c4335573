"""Turns pydantic's errors into mistakes with file, line, key and a hint."""

from __future__ import annotations

import difflib
from collections.abc import Collection
from dataclasses import replace
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ValidationError

from faultload.errors import InvalidInput, Mistake
from faultload.spec.yamlfile import Document, dotted

M = TypeVar("M", bound=BaseModel)


class MistakeAt(ValueError):
    """A mistake that a validator of a model found in one of its parts."""

    def __init__(self, path: tuple[str | int, ...], message: str) -> None:
        super().__init__(message)
        self.path = path


def mistakes_of(
    model: type[M], document: Document, within: tuple[str | int, ...] = (), hint: str | None = None
) -> M:
    """Validate a document against a model. Raises InvalidInput with all its mistakes.

    `within`: where in its file the document stands. `hint`: what to do where a mistake itself does not say it.
    """
    try:
        return model.model_validate(document.data)
    except ValidationError as error:
        found = [_mistake(model, document, item) for item in error.errors()]
        raise InvalidInput([_placed(one, within, hint) for one in found]) from None


def _placed(mistake: Mistake, within: tuple[str | int, ...], hint: str | None) -> Mistake:
    key = ".".join(part for part in (dotted(within), mistake.key) if part)
    return replace(mistake, key=key or None, hint=mistake.hint or hint)


def _mistake(model: type[BaseModel], document: Document, item: Any) -> Mistake:
    cause = item.get("ctx", {}).get("error")
    path = (*_path_in(document, item["loc"]), *(cause.path if isinstance(cause, MistakeAt) else ()))
    message = str(item["msg"]).removeprefix("Value error, ")
    message = message[:1].lower() + message[1:]
    hint = None
    if item["type"] == "extra_forbidden":
        message = "unknown key"
        hint = nearest(str(item["loc"][-1]), _fields_at(model, item["loc"][:-1]))
    elif item["type"] == "missing":
        message = "this key is missing"
        path = (*path, str(item["loc"][-1])) if path[-1:] != (item["loc"][-1],) else path
    elif item["type"] == "string_pattern_mismatch":
        message = f"{item['input']!r} is not allowed here (it must match {item['ctx']['pattern']})"
    return document.mistake(path, message, hint)


def _path_in(document: Document, loc: tuple[str | int, ...]) -> tuple[str | int, ...]:
    """The part of pydantic's location that exists in the file (unions add steps of their own)."""
    path: tuple[str | int, ...] = ()
    place: Any = document.data
    for part in loc:
        item_of = isinstance(place, list) and isinstance(part, int) and part < len(place)
        if item_of or (isinstance(place, dict) and part in place):
            place = place[part]
            path = (*path, part)
    return path


def _fields_at(model: type[BaseModel], loc: tuple[str | int, ...]) -> list[str]:
    """The keys that a model knows at a location."""
    current: type[BaseModel] | None = model
    for part in loc:
        if current is None or isinstance(part, int):
            continue
        field = next((f for n, f in current.model_fields.items() if part in (n, f.alias)), None)
        if field is not None:
            current = _model_in(field.annotation)
    return [] if current is None else [f.alias or n for n, f in current.model_fields.items()]


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for arg in get_args(annotation) if (found := _model_in(arg)) is not None), None)


def nearest(word: str, known: Collection[str]) -> str | None:
    """A hint about an unknown word: the nearest that there is, else all of them; None where there is none."""
    if not known:
        return None
    close = difflib.get_close_matches(word, list(known), n=1)
    return f"did you mean '{close[0]}'?" if close else f"there are: {', '.join(sorted(known))}"
