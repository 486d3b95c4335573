"""Label selectors: every operator of the API's own syntax, and what is left out by negating one."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from faultload.platforms.kubernetes.selectors import negated, requirements, text


@pytest.mark.parametrize(
    ("selector", "expected"),
    [
        ("app=api", [{"key": "app", "operator": "In", "values": ["api"]}]),
        ("app==api", [{"key": "app", "operator": "In", "values": ["api"]}]),
        ("app!=api", [{"key": "app", "operator": "NotIn", "values": ["api"]}]),
        ("tier in (a, b)", [{"key": "tier", "operator": "In", "values": ["a", "b"]}]),
        ("tier notin (a)", [{"key": "tier", "operator": "NotIn", "values": ["a"]}]),
        ("canary", [{"key": "canary", "operator": "Exists"}]),
        ("!canary", [{"key": "canary", "operator": "DoesNotExist"}]),
        ("app=", [{"key": "app", "operator": "In", "values": [""]}]),
        (
            "app.kubernetes.io/name=api,tier in (a,b) , !old",
            [
                {"key": "app.kubernetes.io/name", "operator": "In", "values": ["api"]},
                {"key": "tier", "operator": "In", "values": ["a", "b"]},
                {"key": "old", "operator": "DoesNotExist"},
            ],
        ),
    ],
)
def test_a_selector_is_read_as_its_requirements(selector: str, expected: list[dict[str, Any]]) -> None:
    assert requirements(selector) == expected


@pytest.mark.parametrize("selector", ["", "app=api,", "a b", "tier in a", "=api"])
def test_text_that_is_no_selector_is_said_so(selector: str) -> None:
    with pytest.raises(ValueError, match="is not a label selector"):
        requirements(selector)


def matches(requirement: dict[str, Any], labels: dict[str, str]) -> bool:
    """As the API defines it: NotIn and DoesNotExist hold for a pod without the key."""
    key, operator = requirement["key"], requirement["operator"]
    if operator == "In":
        return labels.get(key) in requirement["values"]
    if operator == "NotIn":
        return key not in labels or labels[key] not in requirement["values"]
    return (key in labels) == (operator == "Exists")


@pytest.mark.parametrize("selector", ["app=api", "app=api,tier in (a,b),!old", "app!=web,canary"])
def test_negated_holds_for_exactly_the_pods_that_the_selector_does_not_find(selector: str) -> None:
    values: dict[str, list[str | None]] = {
        "app": [None, "api", "web"],
        "tier": [None, "a", "c"],
        "old": [None, "yes"],
        "canary": [None, "x"],
    }
    for app in values["app"]:
        for tier in values["tier"]:
            for old in values["old"]:
                for canary in values["canary"]:
                    given = {"app": app, "tier": tier, "old": old, "canary": canary}
                    labels = {key: value for key, value in given.items() if value is not None}
                    found = all(matches(one, labels) for one in requirements(selector))
                    assert any(matches(one, labels) for one in negated(selector)) == (not found), labels


def test_a_selector_of_an_object_becomes_text() -> None:
    expressions = [
        SimpleNamespace(key="tier", operator="In", values=["a", "b"]),
        SimpleNamespace(key="zone", operator="NotIn", values=["x"]),
        SimpleNamespace(key="new", operator="Exists", values=None),
        SimpleNamespace(key="old", operator="DoesNotExist", values=None),
    ]
    selector = SimpleNamespace(match_labels={"app": "api"}, match_expressions=expressions)
    assert text(selector) == "app=api,tier in (a,b),zone notin (x),new,!old"
    assert len(requirements(text(selector))) == 5
