"""README's first scenario of one's own works to the letter, from the empty folder to the verdict."""

from __future__ import annotations

import json
import os
import re
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from folder import Folder

from faultload.reference.kit.ports import free_ports

ROOT = Path(__file__).parents[2]
SECTION = re.compile(r"^## A first scenario of your own\n(.*?)^## ", re.MULTILINE | re.DOTALL)
BLOCK = re.compile(r"(?:^<!-- \w+ (\S+) -->\n)?^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)

pytestmark = [pytest.mark.system, pytest.mark.long]


@pytest.fixture
def empty(tmp_path: Path) -> Iterator[Folder]:
    folder = Folder(tmp_path)
    folder.env["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), folder.env["PATH"]])
    yield folder
    folder.clean()


def test_it_passes_as_the_page_says(empty: Folder) -> None:
    found = SECTION.search((ROOT / "README.md").read_text())
    assert found
    web, stock = free_ports(2)
    text = found[1].replace("8081", str(web)).replace("8082", str(stock))
    blocks = BLOCK.findall(text)
    start, commands = [content for _, language, content in blocks if language == "sh"]
    started = empty.bash(f"{start}\njobs -p")
    assert started.returncode == 0, started.stderr
    servers = [int(pid) for pid in started.stdout.split()]
    try:
        assert len(servers) == 2
        for path, content in [(path, content) for path, _, content in blocks if path]:
            (empty.path / path).write_text(content)
        for command in commands.splitlines():
            done = empty.bash(command)
            assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
        verdict = json.loads((empty.path / "runs" / "latest" / "verdict.json").read_text())
        assert verdict["verdict"] == "PASS"
        assert [fault["witnessed"] for fault in verdict["faults"]] == [True]
    finally:
        for pid in servers:
            os.kill(pid, signal.SIGTERM)
