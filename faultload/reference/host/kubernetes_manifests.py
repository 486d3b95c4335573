"""A reference system's manifests: read like kustomize does, placed in a namespace, created in a cluster."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from faultload.errors import TargetError
from faultload.spec.workspace import packs_root

REFERENCE = "faultload.io/reference"
"""The label of the namespace of a reference system."""
START = "faultload.io/start"
"""The annotation with the id of the start that made the namespace: no other start removes it."""
_API_SERVER = "kubernetes.default"
"""A name that every API server's certificate is for."""


@dataclass(frozen=True, slots=True)
class Placement:
    """Where a reference system goes, and what its manifests leave open."""

    name: str
    namespace: str
    image: str
    start_id: str
    password: str
    settings: Mapping[str, str] = field(default_factory=dict)

    def labels(self) -> dict[str, str]:
        return {"app.kubernetes.io/managed-by": "faultload", REFERENCE: self.name}


def objects(place: Placement) -> list[dict[str, Any]]:
    """Every object of the system in the order of its kustomization, the namespace and the password first."""
    found = [_placed(one, place) for one in _documents(_folder(place.name))]
    secret = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": place.name, "namespace": place.namespace},
        "stringData": {"password": place.password},
    }
    namespaces = [one for one in found if one["kind"] == "Namespace"]
    return [*namespaces, secret, *(one for one in found if one["kind"] != "Namespace")]


def bridge(place: Placement, api_port: int) -> list[dict[str, Any]]:
    """A way to an API server that listens on its node's loopback only."""
    text = (_folder(place.name) / "loopback" / "bridge.yaml").read_text()
    text = text.replace("HOST_PORT", str(random.randint(20000, 29999))).replace("API_PORT", str(api_port))
    return [_placed(one, place) for one in yaml.safe_load_all(text)]


def across(one: dict[str, Any], bridge_address: str) -> dict[str, Any]:
    """The same workload with its pods asking the API server across the bridge, where they ask it at all."""
    spec = _pod_spec(one)
    if spec is not None and "serviceAccountName" in spec:
        spec["hostAliases"] = [{"ip": bridge_address, "hostnames": [_API_SERVER]}]
        for container in spec["containers"]:
            container["env"] = [
                *container.get("env", ()),
                {"name": "KUBERNETES_SERVICE_HOST", "value": _API_SERVER},
                {"name": "KUBERNETES_SERVICE_PORT", "value": "443"},
            ]
    return one


def create(api: Any, one: dict[str, Any]) -> Any:
    """Make one object; gives it as the API made it."""
    from kubernetes.utils import FailToCreateError, create_from_dict

    try:
        return create_from_dict(api, one)[0]  # type: ignore[no-untyped-call]
    except FailToCreateError as error:
        what = f"{one['kind']} {one['metadata']['name']}"
        why = "; ".join(str(problem.body or problem.reason) for problem in error.api_exceptions)
        raise TargetError(f"{what} could not be made: {why.strip()}") from None


def _folder(name: str) -> Path:
    return packs_root() / "deploy" / name / "kubernetes"


def _documents(folder: Path) -> Iterator[dict[str, Any]]:
    for resource in yaml.safe_load((folder / "kustomization.yaml").read_text())["resources"]:
        yield from yaml.safe_load_all((folder / resource).read_text())


def _placed(one: dict[str, Any], place: Placement) -> dict[str, Any]:
    metadata = one["metadata"]
    if one["kind"] == "Namespace":
        metadata["name"] = place.namespace
        metadata.setdefault("labels", {}).update(place.labels())
        metadata["annotations"] = {START: place.start_id}
        return one
    metadata["namespace"] = place.namespace
    if one["kind"] == "RoleBinding":
        for subject in one["subjects"]:
            subject["namespace"] = place.namespace
    if one["kind"] == "ConfigMap":
        one["data"].update(place.settings)
    for container in (_pod_spec(one) or {}).get("containers", ()):
        container["image"] = place.image
    return one


def _pod_spec(one: dict[str, Any]) -> dict[str, Any] | None:
    found = one.get("spec", {}).get("template", {}).get("spec")
    return found if isinstance(found, dict) else None
