"""`faultload schema`: the shipped scenarios fit the schema, and mistakes do not."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from small_workspace import SCENARIO, TARGET

from faultload.spec.schema import scenario_schema, target_schema
from faultload.spec.workspace import packs_root


def problems(value: Any, schema: Mapping[str, Any], root: Mapping[str, Any], path: str = "") -> list[str]:
    """What a value has that its schema does not allow: the part of JSON Schema that the two schemas use."""
    if "$ref" in schema:
        schema = {
            **root["$defs"][schema["$ref"].rpartition("/")[2]],
            **{k: v for k, v in schema.items() if k != "$ref"},
        }
    if "anyOf" in schema:
        found = [problems(value, part, root, path) for part in schema["anyOf"]]
        return min(found, key=len)
    types: dict[str, type | tuple[type, ...]] = {
        "object": dict, "array": list, "string": str, "boolean": bool, "null": type(None), "integer": int,
        "number": (int, float),
    }  # fmt: skip
    kind = schema.get("type")
    if kind is not None and (not isinstance(value, types[kind]) or (isinstance(value, bool) and kind != "boolean")):
        return [f"{path}: {value!r} is no {kind}"]
    known = {"$ref", "anyOf", "type", "title", "description", "default", "examples", "$defs", "$schema"}
    known |= {"properties", "required", "additionalProperties", "items", "minItems", "pattern", "maxLength", "enum"}
    known |= {"minimum", "maximum", "exclusiveMinimum", "const"}
    assert set(schema) <= known, f"this test does not know {set(schema) - known}"
    bad = []
    if "enum" in schema and value not in schema["enum"]:
        bad.append(f"{path}: {value!r} is none of {schema['enum']}")
    if "pattern" in schema and not re.search(schema["pattern"], value):
        bad.append(f"{path}: {value!r} is not {schema['pattern']}")
    if "exclusiveMinimum" in schema and value <= schema["exclusiveMinimum"]:
        bad.append(f"{path}: {value!r} is too low")
    if "minimum" in schema and value < schema["minimum"]:
        bad.append(f"{path}: {value!r} is too low")
    if len(value) < schema.get("minItems", 0) if isinstance(value, list) else False:
        bad.append(f"{path}: too few")
    if isinstance(value, list) and "items" in schema:
        bad += [
            one for i, item in enumerate(value) for one in problems(item, schema["items"], root, f"{path}[{i}]")
        ]
    if isinstance(value, dict):
        inside = schema.get("properties", {})
        bad += [f"{path}.{name} is missing" for name in schema.get("required", []) if name not in value]
        for name, item in value.items():
            more = schema.get("additionalProperties", True)
            if name in inside:
                bad += problems(item, inside[name], root, f"{path}.{name}")
            elif more is False:
                bad.append(f"{path}.{name} is unknown")
            elif isinstance(more, dict):
                bad += problems(item, more, root, f"{path}.{name}")
    return bad


@pytest.mark.parametrize("file", sorted((packs_root() / "scenarios").rglob("*.yaml")), ids=lambda file: file.stem)
def test_a_shipped_scenario_fits_the_schema(file: Path) -> None:
    schema = scenario_schema()
    assert problems(yaml.safe_load(file.read_text()), schema, schema) == []


def test_files_as_people_write_them_fit() -> None:
    schema, of_target = scenario_schema(), target_schema()
    assert problems(yaml.safe_load(SCENARIO), schema, schema) == []
    assert problems(yaml.safe_load(TARGET), of_target, of_target) == []


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("timeout: 2s", "timout: 2s"),
        ("timeout: 2s", "timeout: 2"),
        ("name: shop", "name: [shop]"),
        ("name: shop\n", ""),
        ("at: 20s", "at: 20"),
        ("{rate: 0.5}", "{rate: 0}"),
        ("- mean(cache_hit) >= 0.9", "- {objectiv: mean(cache_hit) >= 0.9}"),
        ("Buy: 1", "Buy: many"),
    ],
)
def test_a_mistake_does_not_fit(old: str, new: str) -> None:
    assert SCENARIO.count(old) == 1
    schema = scenario_schema()
    assert problems(yaml.safe_load(SCENARIO.replace(old, new)), schema, schema)


def test_the_command_prints_it() -> None:
    for arguments, title in ((["schema"], "faultload scenario"), (["schema", "--target"], "faultload target file")):
        done = subprocess.run(
            [sys.executable, "-m", "faultload", *arguments], capture_output=True, text=True, check=True
        )
        printed = yaml.safe_load(done.stdout)
        assert printed["title"] == title
        assert printed["$schema"] == "https://json-schema.org/draft/2020-12/schema"
