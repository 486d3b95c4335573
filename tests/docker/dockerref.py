"""A memory service in containers, for tests: asked, looked at, and disturbed by plain engine calls."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from http.client import HTTPException
from pathlib import Path
from typing import Any

import pytest
import yaml

from faultload.errors import InvalidInput, TargetError
from faultload.reference.host import docker as on_docker
from faultload.reference.host import docker_image, docker_project

NAME = "memory"


def needed() -> None:
    """Skip with the reason when the reference system cannot be started on Docker here."""
    try:
        on_docker.check(NAME)
    except InvalidInput as error:
        pytest.skip(f"the reference system cannot be started on Docker here: {error}")


def built() -> str:
    """The image's tag, built when there is none."""
    with docker_project.engine(timeout_s=1200) as client:
        return docker_image.ensure(client, NAME, lambda line: None)


def wait_for(condition: Callable[[], object], timeout_s: float) -> float:
    """Seconds until a condition holds; what raises does not hold."""
    started = time.monotonic()
    while True:
        try:
            if condition():
                return time.monotonic() - started
        except (OSError, HTTPException, ValueError, KeyError, StopIteration):
            pass
        assert time.monotonic() - started < timeout_s, f"not within {timeout_s} s"
        time.sleep(0.1)


class Up:
    """A started memory service and the engine that it runs on."""

    def __init__(self, target_file: Path, client: Any) -> None:
        self.target = yaml.safe_load(target_file.read_text())
        self.file = target_file
        self.client = client

    @property
    def project(self) -> str:
        return str(self.target["project"])

    def ask(self, method: str, path: str, body: Any = None) -> tuple[int, Any, Any, float]:
        """Status, JSON (or text), headers, seconds."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.target["url"] + path, data, method=method)
        started = time.perf_counter()
        try:
            with urllib.request.urlopen(request, timeout=10) as response:
                status, text, headers = response.status, response.read(), response.headers
        except urllib.error.HTTPError as error:
            status, text, headers = error.code, error.read(), error.headers
        took_s = time.perf_counter() - started
        is_json = "json" in headers.get("content-type", "")
        return status, json.loads(text) if is_json else text.decode(), headers, took_s

    def create(self, key: str, text: str = "tea in the garden", user: str = "ann") -> int:
        return self.ask("POST", "/memories/", {"user_id": user, "key": key, "text": text})[0]

    def missing(self, keys: list[str]) -> list[str]:
        """Those of some acknowledged keys that are not there."""
        found: list[str] = []
        for start in range(0, len(keys), 100):
            status, body, *_ = self.ask("GET", "/memories/?keys=" + ",".join(keys[start : start + 100]))
            assert status == 200, body
            found += body["missing"]
        return found

    def containers(self, service: str | None = None) -> list[Any]:
        found = docker_project.containers(self.client, self.project)
        wanted = [c for c in found if service in (None, c.labels[docker_project.SERVICE])]
        return sorted(wanted, key=docker_project.title)

    def addresses(self, service: str) -> set[str]:
        """The addresses of a service's running containers."""
        networks = [c.attrs["NetworkSettings"]["Networks"] for c in self.containers(service)]
        return {network["IPAddress"] for found in networks for network in found.values()}

    def patroni(self, path: str) -> Any:
        """What the first member that answers says."""
        problem: Exception = TargetError("no member")
        for url in self.target["services"]["db"]["patroni"]:
            try:
                with urllib.request.urlopen(url + path, timeout=2) as response:
                    return json.load(response)
            except (OSError, HTTPException) as error:
                problem = error
        raise problem

    def roles(self) -> dict[str, str]:
        """Role by name of the running members."""
        members = self.patroni("/cluster")["members"]
        return {m["name"]: m["role"] for m in members if m["state"] in ("running", "streaming")}

    def leader(self) -> str:
        return next(name for name, role in self.roles().items() if role == "leader")

    def whole(self) -> bool:
        return sorted(self.roles().values()) == ["leader", "sync_standby"]
