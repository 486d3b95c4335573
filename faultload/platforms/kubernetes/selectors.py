"""Kubernetes label selectors as query text, as manifest objects, and negated."""

from __future__ import annotations

import re
from typing import Any

_SET = re.compile(r"^(?P<key>[^\s!=(),]+)\s+(?P<how>in|notin)\s*\((?P<values>[^()]*)\)$")
_EQUAL = re.compile(r"^(?P<key>[^\s!=(),]+)\s*(?P<how>!=|==|=)\s*(?P<value>[^\s!=(),]*)$")
_EXISTS = re.compile(r"^(?P<not>!?)\s*(?P<key>[^\s!=(),]+)$")
_OPPOSITE = {"In": "NotIn", "NotIn": "In", "Exists": "DoesNotExist", "DoesNotExist": "Exists"}


def requirements(selector: str) -> list[dict[str, Any]]:
    """A selector such as `app=api,tier in (a,b),!old` as match expressions; all of them have to hold.

    Raises ValueError for text that is no selector.
    """
    found = []
    for part in re.split(r",(?![^(]*\))", selector):
        text = part.strip()
        if match := _SET.match(text):
            values = [value.strip() for value in match["values"].split(",")]
            operator = "In" if match["how"] == "in" else "NotIn"
            found.append({"key": match["key"], "operator": operator, "values": values})
        elif match := _EQUAL.match(text):
            operator = "NotIn" if match["how"] == "!=" else "In"
            found.append({"key": match["key"], "operator": operator, "values": [match["value"]]})
        elif match := _EXISTS.match(text):
            found.append({"key": match["key"], "operator": "DoesNotExist" if match["not"] else "Exists"})
        else:
            raise ValueError(f"{text!r} is not a label selector")
    return found


def negated(selector: str) -> list[dict[str, Any]]:
    """What holds for every pod that a selector does not find: any one of these match expressions."""
    return [{**one, "operator": _OPPOSITE[one["operator"]]} for one in requirements(selector)]


def text(selector: Any) -> str:
    """A LabelSelector of the API as the text that queries take."""
    parts = [f"{key}={value}" for key, value in (selector.match_labels or {}).items()]
    for one in selector.match_expressions or []:
        if one.operator in ("In", "NotIn"):
            parts.append(f"{one.key} {one.operator.lower()} ({','.join(one.values)})")
        else:
            parts.append(one.key if one.operator == "Exists" else f"!{one.key}")
    return ",".join(parts)
