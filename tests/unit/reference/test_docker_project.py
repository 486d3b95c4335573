"""Networks of a project on an engine that keeps the ends of containers that it removed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import pytest
from docker.errors import APIError, NotFound

from faultload.reference.host import docker_project


class Network:
    """One network: it goes once nothing is on it."""

    name = "memory_default"

    def __init__(self, on_it: Mapping[str, str]) -> None:
        self.attrs = {"Containers": {container: {"Name": name} for container, name in on_it.items()}}
        self.taken: list[tuple[str, bool]] = []
        self.removed = False

    def reload(self) -> None:
        pass

    def disconnect(self, name: str, force: bool) -> None:
        self.taken.append((name, force))
        on_it = self.attrs["Containers"]
        self.attrs["Containers"] = {key: end for key, end in on_it.items() if end["Name"] != name}

    def remove(self) -> None:
        if self.attrs["Containers"]:
            raise APIError("403", explanation="network memory_default has active endpoints")
        self.removed = True


class Engine:
    """An engine with this network, these containers besides the project's, and nothing else."""

    def __init__(self, network: Network, containers: tuple[str, ...]) -> None:
        self.network, self.known = network, containers
        self.containers = self.networks = self.volumes = self

    def list(self, filters: Mapping[str, Any], **_: Any) -> list[Network]:
        assert filters == {"label": "com.docker.compose.project=memory"}
        return []

    def get(self, container: str) -> str:
        if container not in self.known:
            raise NotFound(f"no such container: {container}")
        return container


class Networks:
    def __init__(self, network: Network) -> None:
        self.network = network

    def list(self, filters: Mapping[str, Any]) -> list[Network]:
        assert filters == {"label": "com.docker.compose.project=memory"}
        return [] if self.network.removed else [self.network]


def removed(network: Network, containers: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> list[str]:
    engine = Engine(network, containers)
    engine.networks = cast(Any, Networks(network))
    monkeypatch.setattr(docker_project.time, "sleep", lambda _: None)
    return docker_project.remove(cast(Any, engine), "memory")


def test_what_no_container_has_any_more_is_taken_from_the_network(monkeypatch: pytest.MonkeyPatch) -> None:
    network = Network({"4f5e": "memory-api-1", "ep-81": "memory-db-1"})
    assert removed(network, (), monkeypatch) == []
    assert network.removed
    assert network.taken == [("memory-api-1", True), ("memory-db-1", True)]


def test_a_container_of_somebody_else_stays_on_it_and_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    network = Network({"4f5e": "memory-api-1", "77aa": "visitor"})
    [left] = removed(network, ("77aa",), monkeypatch)
    assert left == "network memory_default: network memory_default has active endpoints (visitor)"
    assert not network.removed
    assert network.taken == [("memory-api-1", True)]
