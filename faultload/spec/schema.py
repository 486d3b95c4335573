"""JSON Schema for editors: quantities are text with units, not the numbers they become."""

from __future__ import annotations

from typing import Any

from faultload.spec.scenario import Scenario
from faultload.spec.target import TargetFile


def scenario_schema() -> dict[str, Any]:
    """JSON Schema (2020-12) of a scenario file."""
    schema = _named(Scenario.model_json_schema(by_alias=True), "scenario")
    parts = schema["properties"]
    parts["objectives"]["items"] = {"anyOf": [{"type": "string"}, parts["objectives"]["items"]]}
    parts["target"] = {"anyOf": [{"type": "string"}, parts["target"]]}
    return schema


def target_schema() -> dict[str, Any]:
    """JSON Schema (2020-12) of a target file."""
    schema = _named(TargetFile.model_json_schema(by_alias=True), "target file")
    schema["required"] = [name for name in schema.get("required", []) if name != "id"]
    return schema


def _named(schema: dict[str, Any], what: str) -> dict[str, Any]:
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema, "title": f"faultload {what}"}
