"""Containers for the kill matrix: a web server that asks a store by name, and beside them what is not ours."""

from __future__ import annotations

import secrets
import socket
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import yaml
from kill_worlds import DatabaseWorld, Facts, World, command_lines, status_of
from standin import Workspace, wait_for

sys.path.insert(0, str(Path(__file__).parent / "docker"))

from container_pair import ContainerPair

from faultload.platforms.docker import client as docker_client
from faultload.platforms.docker import image as helper_image

PORT = 8080
SERVER = """
import http.client, http.server, sys, urllib.request
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = 'HTTP/1.1'
    def do_GET(self):
        status = 200
        if self.path == '/ask':
            try:
                status = urllib.request.urlopen('http://store:8080/', timeout=0.8).status
            except urllib.error.HTTPError as error:
                status = error.code
            except (OSError, http.client.HTTPException):
                status = 504
        self.send_response(status)
        self.send_header('content-length', '2')
        self.end_headers()
        self.wfile.write(b'ok')
    do_HEAD = do_GET
    def log_message(self, *args):
        pass
import urllib.error
http.server.ThreadingHTTPServer(('', 8080), Handler).serve_forever()
"""


LOOK = "nft list tables; tc qdisc show; find /data /tmp -type f; cat /etc/resolv.conf /etc/hosts"
"""Rules, queues, files and names in a container, in one go: a command in a container is slow to start."""
_STORE, _LINK = {"service": "store"}, {"link": "web -> store"}


class DockerWorld(World):
    """Two containers on a network; a paused container and an nftables table of others."""

    platform = "docker"
    shows: ClassVar = {
        "kill": _STORE,
        "terminate": {**_STORE, "grace_s": 2},
        "restart": _STORE,
        "pause": _STORE,
        "scale": {**_STORE, "to": 2},
        "partition": _LINK,
        "isolate": _STORE,
        "latency": {**_LINK, "delay_ms": 400},
        "loss": {**_LINK, "share": 1.0},
        "bandwidth": {**_LINK, "bytes_per_s": 300},
        "reset_connections": _LINK,
        "dns_failure": {"service": "web"},
        "http_error": {**_LINK, "status": 503},
        "cpu_stress": {**_STORE, "workers": 1, "load": 0.3},
        "memory_stress": {**_STORE, "bytes": "16MB"},
        "io_stress": {**_STORE, "path": "/tmp"},
        "fill_disk": {**_STORE, "path": "/data", "floor": "32MB"},
    }
    duration_s = 6.0

    def __init__(self, workspace: Workspace) -> None:
        self.workspace = workspace
        self.name = f"killmatrix{secrets.token_hex(4)}"
        self.client = docker_client.client()
        self.image = helper_image.ensure(self.client)
        self.made: list[Any] = []
        self.network = self.client.networks.create(f"{self.name}_default", driver="bridge")
        try:
            with socket.create_server(("127.0.0.1", 0)) as free:
                self.port = free.getsockname()[1]
            self.store = self._container("store")
            self.web = self._container("web", ports={f"{PORT}/tcp": ("127.0.0.1", self.port)})
            self.other = self.client.containers.create(self.image, ["sleep", "3600"], name=f"{self.name}-of-others")
            self.made.append(self.other)
            self.other.start()
            self.other.pause()
            self._inside(self.web, "nft add table inet ofothers")
            wait_for(lambda: status_of(f"http://127.0.0.1:{self.port}/ask") == "200", 30, "web asks store")
        except BaseException:
            self.end()
            raise
        self.target_file = workspace.folder / "target.yaml"
        service = {"port": PORT, "health": "/health"}
        target = {
            "name": self.name,
            "platform": "docker",
            "project": self.name,
            "url": f"http://127.0.0.1:{self.port}",
            "services": {name: {"compose": name, **service} for name in ("web", "store")},
            "links": {"web -> store": {"port": PORT, "protocol": "http"}},
            "guard": {"max_share": "100%"},
        }
        self.target_file.write_text(yaml.safe_dump(target))

    def _container(self, service: str, **options: Any) -> Any:
        labels = {
            docker_client.PROJECT: self.name,
            docker_client.SERVICE: service,
            docker_client.NUMBER: "1",
            docker_client.ONE_OFF: "False",
        }
        found = self.client.containers.create(
            self.image,
            ["python3", "-c", SERVER],
            name=f"{self.name}-{service}-1",
            labels=labels,
            restart_policy={"Name": "always"},
            cap_add=["NET_ADMIN"],
            init=True,
            tmpfs={"/data": "size=64m"},
            networking_config={
                self.network.name: self.client.api.create_endpoint_config(aliases=[service]),
            },
            network=self.network.name,
            **options,
        )
        self.made.append(found)
        found.start()
        return found

    def facts(self) -> Facts:
        mine = self.client.containers.list(
            all=True, filters={"label": f"{docker_client.PROJECT}={self.name}"}, ignore_removed=True
        )
        return {
            "containers": sorted(f"{one.name} {one.status}" for one in mine),
            "web": status_of(f"http://127.0.0.1:{self.port}/health"),
            "web -> store": status_of(f"http://127.0.0.1:{self.port}/ask"),
            "inside": [self._inside(one, LOOK) for one in (self.web, self.store)],
            "helpers": helpers_of(self.client, self.made),
            "of others": self.client.containers.get(self.other.id).status,
            "processes": [line for line in command_lines(self.workspace.folder) if "helper" in line],
        }

    def traces(self) -> Facts:
        """Since when each container runs: its restart policy may have brought it back."""
        for one in self.made:
            one.reload()
        return {str(one.name): one.attrs["State"]["StartedAt"] for one in self.made}

    def _inside(self, container: Any, command: str) -> str:
        """What a command says inside a container; the addresses that a start changes are left out."""
        from docker.errors import APIError

        try:
            answer = container.exec_run(["timeout", "5", "sh", "-c", command])
        except APIError:
            return "not running"
        lines = answer.output.decode(errors="replace").splitlines()
        return "\n".join(line for line in lines if self.name not in line and not _own_address(line))

    def end(self) -> None:
        mine = self.client.containers.list(
            all=True, filters={"label": f"{docker_client.PROJECT}={self.name}"}, ignore_removed=True
        )
        helpers = [self.client.containers.get(name) for name in helpers_of(self.client, self.made)]
        for container in {str(one.id): one for one in (*helpers, *mine, *self.made)}.values():
            if docker_client.container(str(container.id)) is not None:
                container.remove(force=True, v=True)
        self.network.remove()


class DockerDatabaseWorld(DatabaseWorld):
    """A PostgreSQL pair under Patroni in containers, a web server for the load, and a stopped process of others."""

    platform = "docker"
    duration_s = 6.0

    def _pair(self) -> ContainerPair:
        return ContainerPair()

    def _declared(self) -> dict[str, Any]:
        services = self.pair.target.to_json()["services"]
        return {"platform": "docker", "services": services, "links": {}}

    def facts(self) -> Facts:
        mine = list(self.pair.containers.values())
        for one in mine:
            one.reload()
        return {
            **super().facts(),
            "containers": sorted(f"{one.name} {one.status}" for one in mine),
            "helper containers": helpers_of(self.pair.client, mine),
        }


def helpers_of(client: Any, made: Sequence[Any]) -> list[str]:
    """Containers beside ours: in a namespace of theirs, or marked with a fault of these runs."""
    found = []
    known = {str(one.id) for one in made}
    for one in client.containers.list(all=True, ignore_removed=True):
        host, labels = one.attrs.get("HostConfig") or {}, one.labels
        shared = str([host.get(way) for way in ("NetworkMode", "PidMode", "CgroupParent", "VolumesFrom")])
        marked = str(labels.get(docker_client.FAULT_LABEL, "")).startswith("one#") and any(
            identity in str(one.attrs) for identity in known
        )
        if str(one.id) not in known and (marked or any(identity in shared for identity in known)):
            found.append(str(one.name))
    return sorted(found)


def _own_address(line: str) -> bool:
    """A line of /etc/hosts with the container's own address."""
    parts = line.split()
    return len(parts) == 2 and parts[0].count(".") == 3 and parts[0] != "127.0.0.1" and len(parts[1]) == 12
