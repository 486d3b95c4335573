"""The memory service on this machine: proxy and target file share a token, and only the loopback gets there."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import yaml

from faultload.agents.link.proxy import read_config
from faultload.reference.host.targetfile import write_target
from faultload.reference.systems.memory.system import System
from faultload.spec.target import read_target


def test_the_target_file_holds_the_token_of_the_proxy(tmp_path: Path) -> None:
    systems = [System.plan(tmp_path / name / "data", frozenset()) for name in ("one", "two")]
    tokens = set()
    for system in systems:
        system.programs()
        links = system.folder / "links.json"
        file = tmp_path / "target.yaml"
        write_target(file, {"id": "x", "name": "memory", "platform": "local", **system.target()})
        token = read_config(links)["token"]
        assert {link.token for link in read_target(file).links.values()} == {token}
        assert [stat.S_IMODE(path.stat().st_mode) for path in (links, file, system.folder)] == [0o600, 0o600, 0o700]
        assert token not in json.dumps([program.argv for program in system.programs()])
        tokens.add(token)
    assert len(tokens) == 2, "a new one with each start"


def test_a_local_system_listens_on_the_loopback_only(tmp_path: Path) -> None:
    """It is made to be broken, and its Patroni asks for no password: nobody gets there from another machine."""
    system = System.plan(tmp_path / "data", frozenset())
    system.programs()
    config = json.loads((tmp_path / "data" / "config.json").read_text())
    links = json.loads((tmp_path / "data" / "links.json").read_text())
    assert config["host"] == "127.0.0.1"
    assert {pair.get("listen_host") for pairs in links["links"].values() for pair in pairs} <= {None, "127.0.0.1"}
    members = [yaml.safe_load(path.read_text()) for path in (tmp_path / "data" / "db").glob("pg*.yml")]
    assert len(members) == 2
    for member in members:
        assert member["postgresql"]["listen"].startswith("127.0.0.1:")
        assert member["restapi"]["listen"].startswith("127.0.0.1:")
