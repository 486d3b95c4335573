"""The configuration of a link proxy: every mistake names file and key, under both names of the command."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from faultload.agents.link.proxy import BadConfigError, read_config

PAIR = {"name": "web -> db", "listen": 9001, "upstream": ["127.0.0.1", 5432]}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{", "not JSON"),
        ("[]", '"links" must hold'),
        ('{"links": {"a": {}}}', '"links" must hold'),
        ('{"links": {}, "control": "x"}', '"control" must be a port'),
        ('{"links": {}, "control": 1, "token": "short"}', '"token" must be 16 or more ASCII characters'),
        ('{"links": {}, "control": 1, "token": "with spaces in between"}', '"token" must not hold spaces'),
        ('{"links": {}, "control": 1, "token": 1234567890123456}', '"token" must be 16 or more ASCII'),
        (json.dumps({"links": {"a": [{**PAIR, "listen": 0}]}}), 'links["a"][0]: "listen" must be a port, not 0'),
        (json.dumps({"links": {"a": [PAIR, {**PAIR, "upstream": "db:1"}]}}), 'links["a"][1]: "upstream" must be'),
        (json.dumps({"links": {"a": [{"listen": 1}]}}), 'links["a"][0]: needs a "name"'),
    ],
)
def test_a_mistake_names_file_and_key(text: str, says: str, tmp_path: Path) -> None:
    file = tmp_path / "links.json"
    file.write_text(text)
    with pytest.raises(BadConfigError) as caught:
        read_config(file)
    assert str(caught.value).startswith(f"{file}: ") and says in str(caught.value)


def test_a_good_one_is_read(tmp_path: Path) -> None:
    file = tmp_path / "links.json"
    file.write_text(json.dumps({"control": 0, "links": {"a": [PAIR]}}))
    assert read_config(file)["links"]["a"] == [PAIR]


def test_a_token_that_others_can_read_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "links.json"
    file.write_text(json.dumps({"control": 0, "token": "0123456789abcdef", "links": {"a": [PAIR]}}))
    file.chmod(0o640)
    with pytest.raises(BadConfigError, match=f'others can read its "token": chmod 600 {file}'):
        read_config(file)
    file.chmod(0o600)
    assert read_config(file)["token"] == "0123456789abcdef"


@pytest.mark.parametrize("program", [["faultload", "proxy"], ["faultload.platforms.linkproxy"]])
def test_both_commands_say_it_and_end_with_2(program: list[str], tmp_path: Path) -> None:
    argv = [sys.executable, "-m", *program, "--config", str(tmp_path / "none.json")]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert (done.returncode, "none.json: cannot be read" in done.stderr) == (2, True), done.stderr
    assert "Traceback" not in done.stderr
