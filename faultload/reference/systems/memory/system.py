"""The memory service as a whole: its processes and its target file."""

from __future__ import annotations

import json
import secrets
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from faultload.host.private import make_folder, write_text
from faultload.reference.kit import patroni
from faultload.reference.kit.ports import free_ports
from faultload.reference.kit.program import Program
from faultload.reference.kit.settings import Settings
from faultload.reference.systems.memory import ready
from faultload.reference.systems.memory.model import SCHEMA
from faultload.reference.systems.memory.ready import API_INSTANCES

HOST = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class System:
    """A planned memory service; nothing runs yet."""

    folder: Path
    defects: frozenset[str]
    gateway: int
    apis: tuple[int, ...]
    tiers: dict[str, int]
    control: int
    token: str
    api_links: tuple[int, ...]
    db_links: tuple[tuple[int, int], ...]
    cluster: patroni.Cluster

    @classmethod
    def plan(cls, folder: Path, defects: frozenset[str]) -> System:
        """Choose ports and passwords."""
        ports = iter(free_ports(11 + 3 * API_INSTANCES + API_INSTANCES))
        return cls(
            folder=folder,
            defects=defects,
            gateway=next(ports),
            apis=tuple(next(ports) for _ in range(API_INSTANCES)),
            tiers={"cloud": next(ports), "shortterm": next(ports)},
            control=next(ports),
            token=secrets.token_hex(16),
            api_links=tuple(next(ports) for _ in range(API_INSTANCES)),
            db_links=tuple((next(ports), next(ports)) for _ in range(API_INSTANCES)),
            cluster=patroni.Cluster.plan(
                folder / "db",
                [next(ports) for _ in range(7)],
                synchronous="async-replication" not in defects,
            ),
        )

    def programs(self) -> list[Program]:
        """Write the configuration files; the database first, for it takes longest."""
        make_folder(self.folder)
        config, links = self.folder / "config.json", self.folder / "links.json"
        _write(config, self._settings().to_json())
        _write(links, self._links())
        schema = SCHEMA.format(password=self.cluster.password)
        programs = self.cluster.programs(schema)
        proxy = (sys.executable, "-m", "faultload.agents.link.proxy", "--config", str(links))
        others: list[tuple[str, tuple[str, ...], float]] = [("links", proxy, 0.5)]
        others += [(name, _at(self._command(name), port), 2.0) for name, port in self.tiers.items()]
        others += [(f"api-{n + 1}", _at(self._command("api"), p), 2.0) for n, p in enumerate(self.apis)]
        others += [("gateway", _at(self._command("gateway"), self.gateway), 1.0)]
        for name, argv, restart_after_s in others:
            programs.append(Program(name, argv, restart_after_s, after_port=self.cluster.settled_port))
        return programs

    async def not_ready(self) -> str | None:
        """What is still missing, in words; None when the whole system works."""
        return await ready.not_ready(self.url, self.cluster.urls, self.defects)

    async def when_ready(self) -> None:
        """What a defect changes once everything is up."""
        await ready.when_ready(self.cluster.urls, self.defects)

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.gateway}"

    def target(self) -> dict[str, Any]:
        """The target file without `id`, `name` and `platform`."""
        link = {"proxy": f"http://{HOST}:{self.control}", "token": self.token}
        ports = {"gateway": (self.gateway,), "api": self.apis} | {n: (p,) for n, p in self.tiers.items()}
        services: dict[str, Any] = {}
        for name, found in ports.items():
            place = {"port": found[0]} if len(found) == 1 else {"ports": list(found)}
            services[name] = {
                "command": list(self._command(name)),
                **place,
                "count": len(found),
                "health": "/health",
            }
        services["db"] = {
            "patroni": [member.url for member in self.cluster.members],
            "dsn": self.cluster.dsn,
        }
        return {
            "url": self.url,
            "services": services,
            "links": {"gateway -> api": dict(link), "api -> db": dict(link)},
        }

    def _command(self, service: str) -> tuple[str, ...]:
        """The exact argument list of a service's processes, with `{port}` for the instance's port."""
        module, more = (service, ()) if service in ("api", "gateway") else ("tier", ("--name", service))
        home = "kit" if module == "gateway" else "systems.memory"
        config = str(self.folder / "config.json")
        start = (sys.executable, "-m", f"faultload.reference.{home}.{module}", *more)
        return (*start, "--port", "{port}", "--config", config)

    def _settings(self) -> Settings:
        return Settings(
            gateway_upstreams=tuple((HOST, port) for port in self.api_links),
            api_databases={
                api: tuple((HOST, port) for port in links)
                for api, links in zip(self.apis, self.db_links, strict=True)
            },
            database=tuple((HOST, member.sql_port) for member in self.cluster.members),
            user="memory",
            password=self.cluster.password,
            tiers={name: (HOST, port) for name, port in self.tiers.items()},
            defects=self.defects,
        )

    def _links(self) -> dict[str, Any]:
        to_api = [
            _pair(f"api-{n + 1}", listen, api, "http", f"gateway:{self.gateway}", f"api:{api}")
            for n, (listen, api) in enumerate(zip(self.api_links, self.apis, strict=True))
        ]
        to_db = [
            _pair(
                f"api-{n + 1} -> {member.name}",
                listen,
                member.sql_port,
                "postgres",
                f"api:{api}",
                f"db:{member.sql_port}",
            )
            for n, (api, listens) in enumerate(zip(self.apis, self.db_links, strict=True))
            for listen, member in zip(listens, self.cluster.members, strict=True)
        ]
        links = {"gateway -> api": to_api, "api -> db": to_db}
        return {"control": self.control, "token": self.token, "links": links}


def _pair(name: str, listen: int, to: int, protocol: str, client: str, server: str) -> dict[str, Any]:
    return {
        "name": name,
        "listen": listen,
        "upstream": [HOST, to],
        "protocol": protocol,
        "client": client,
        "server": server,
    }


def _at(command: tuple[str, ...], port: int) -> tuple[str, ...]:
    return tuple(str(port) if part == "{port}" else part for part in command)


def _write(path: Path, value: Any) -> None:
    write_text(path, json.dumps(value, indent=1))
