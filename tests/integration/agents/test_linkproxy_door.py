"""The link proxy's control interface: whoever has no token changes nothing, and no web page gets in."""

from __future__ import annotations

import http.client
import json
import os
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

import pytest
from linkbench import LINK, TOKEN, Bench, bench, echo

from faultload.agents.link.door import kept_token_file
from faultload.errors import TargetError
from faultload.faults.network.local import listens
from faultload.platforms.local.links import LinkProxy
from faultload.reference.kit.ports import free_ports

GOOD = {"host": "127.0.0.1:9000", "authorization": f"Bearer {TOKEN}"}
PATH = f"/links/{quote(LINK)}/faults/cut"
CUT = json.dumps({"kind": "partition", "expires_s": 60})


@pytest.fixture(scope="module")
def links(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    with bench(tmp_path_factory.mktemp("door")) as started:
        yield started


def ask(control: str, method: str, path: str, headers: dict[str, str], body: str | None = None) -> tuple[int, str]:
    connection = http.client.HTTPConnection(control, timeout=3)
    connection.putrequest(method, path, skip_host=True)
    for name, value in {**headers, "content-length": str(len(body or ""))}.items():
        connection.putheader(name, value)
    connection.endheaders(None if body is None else body.encode())
    response = connection.getresponse()
    found = response.status, response.read().decode()
    connection.close()
    return found


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"authorization": None}, 401),
        ({"authorization": "Bearer not-the-token-at-all"}, 401),
        ({"authorization": f"Basic {TOKEN}"}, 401),
        ({"authorization": f"Bearer {TOKEN}x"}, 401),
        ({"host": None}, 403),
        ({"host": "evil.example:9000"}, 403),
        ({"host": "127.0.0.1.evil.example"}, 403),
        ({"host": "evil.example@localhost:9000x"}, 403),
        ({"host": "192.0.2.1"}, 403),
        ({"origin": "http://evil.example"}, 403),
        ({"origin": "null"}, 403),
        ({"origin": "http://127.0.0.1:9000"}, 403),
    ],
    ids=str,
)
def test_a_request_that_may_not_pass_changes_nothing_and_learns_nothing(
    links: Bench, changes: dict[str, str | None], status: int
) -> None:
    headers = {name: value for name, value in {**GOOD, **changes}.items() if value is not None}
    control = links.proxy.url.removeprefix("http://")
    for method, path, body in [("PUT", PATH, CUT), ("DELETE", PATH, None), ("GET", "/links", None)]:
        found, said = ask(control, method, path, headers, body)
        assert (found, TOKEN in said, LINK in said) == (status, False, False), said
    assert links.proxy.links()[LINK]["faults"] == []
    with links.connect() as connection:
        assert echo(connection) < 1


@pytest.mark.parametrize("host", ["127.0.0.1:9000", "127.0.0.1", "localhost:1", "[::1]:9000", "127.1.2.3"])
def test_with_the_token_every_name_of_the_loopback_is_good(links: Bench, host: str) -> None:
    control = links.proxy.url.removeprefix("http://")
    assert ask(control, "GET", "/links", {**GOOD, "host": host})[0] == 200


def test_a_client_without_the_token_is_told_what_to_add(links: Bench) -> None:
    with pytest.raises(TargetError, match=r"token is missing; add the `token` of its configuration to the link"):
        LinkProxy(links.proxy.url).links()


def test_a_token_may_be_a_secret_of_the_environment(links: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    proxy = LinkProxy(links.proxy.url, "${secret:PROXY_TOKEN}")
    with pytest.raises(TargetError, match="the environment has no PROXY_TOKEN"):
        proxy.links()
    monkeypatch.setenv("PROXY_TOKEN", TOKEN)
    assert LINK in proxy.links()


@contextmanager
def written_by_hand(folder: Path, program: list[str]) -> Iterator[tuple[int, subprocess.Popen[str]]]:
    """A proxy with a configuration that has no token, and its control port."""
    control, listen = free_ports(2)
    config = folder / "links.json"
    pair = {"name": "web -> db", "listen": listen, "upstream": ["127.0.0.1", 1]}
    config.write_text(json.dumps({"control": control, "links": {LINK: [pair]}}))
    process = subprocess.Popen(
        [sys.executable, "-m", *program, "--config", str(config)], stderr=subprocess.PIPE, text=True
    )
    try:
        yield control, process
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize("program", [["faultload", "proxy"], ["faultload.platforms.linkproxy"]])
def test_without_a_token_in_the_configuration_only_this_user_gets_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, program: list[str]
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    with written_by_hand(tmp_path, program) as (control, process):
        proxy = LinkProxy(f"http://127.0.0.1:{control}")
        assert process.stderr is not None
        assert 'no "token" in the configuration: made one' in process.stderr.readline()
        deadline = time.monotonic() + 10
        while not listens(proxy.url):
            assert time.monotonic() < deadline
        assert LINK in proxy.links()
        file = kept_token_file(control)
        made = [file, *(folder for folder in file.parents if folder.is_relative_to(tmp_path / "state"))]
        assert [stat.S_IMODE(path.stat().st_mode) for path in made] == [0o600, 0o700, 0o700, 0o700]
        monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "another"))  # as it is for another user
        with pytest.raises(TargetError, match="token is missing"):
            proxy.links()
        with pytest.raises(TargetError, match="token is missing"):
            proxy.add(LINK, "cut", "partition", {}, 60)


def test_where_no_token_can_be_kept_the_proxy_says_what_to_add(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "file"))
    with written_by_hand(tmp_path, ["faultload", "proxy"]) as (_, process):
        _, said = process.communicate(timeout=30)
    assert process.returncode == 2 and 'add "token" to it, and `token` to the links' in said, said
    assert "Traceback" not in said


def test_a_fifo_in_the_place_of_a_token_keeps_nobody_waiting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    file = kept_token_file(9)
    file.parent.mkdir(parents=True)
    os.mkfifo(file)
    with pytest.raises(TargetError, match="does not answer"):
        LinkProxy("http://127.0.0.1:9").links()
