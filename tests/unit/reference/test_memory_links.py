"""The memory service's link proxy and its target file share one token, which nobody else can read."""

from __future__ import annotations

import json
import stat
from pathlib import Path

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
