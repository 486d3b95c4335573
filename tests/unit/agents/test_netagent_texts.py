"""What a network agent is told, the rules that it writes, and the image that it runs in."""

from __future__ import annotations

import ast
import io
import json
import sys
import tarfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from faultload.agents.network import nftables, shaping
from faultload.agents.network.faults import parts
from faultload.agents.network.namespace import asked_first, resolvers
from faultload.agents.network.segments import Connection, _checksum, _end, _segment
from faultload.agents.network.shaped import make
from faultload.agents.network.spec import AgentError, Flow, Spec
from faultload.platforms.docker import image as helper_image

FLOW = Flow("client", 5432, "postgres", ("10.0.0.2", "fd00::2"))


def test_a_spec_survives_json() -> None:
    spec = Spec("db#1@run", "loss", (FLOW,), {"share": 0.1}, 20.0, names=("db",))
    assert Spec.from_json(json.loads(spec.text())) == spec
    assert spec.table.startswith("faultload_") and spec.expires_s == 25.0


def test_a_client_drops_what_comes_from_the_servers_port_and_a_server_what_goes_to_it() -> None:
    assert list(nftables.matches(0, FLOW, "in")) == [
        'iifname != "lo" ip saddr @f0v4 meta l4proto { tcp, udp } th sport 5432',
        'iifname != "lo" ip6 saddr @f0v6 meta l4proto { tcp, udp } th sport 5432',
    ]
    server = Flow("server", 5432, "postgres", ("10.0.0.1",))
    assert list(nftables.matches(1, server, "in")) == [
        'iifname != "lo" ip saddr @f1v4 meta l4proto { tcp, udp } th dport 5432'
    ]
    assert "oifname" in next(nftables.matches(1, server, "out"))
    assert "daddr" in next(nftables.matches(1, server, "out"))


def test_every_set_is_under_a_lease_so_that_the_kernel_ends_a_fault_without_its_agent() -> None:
    assert nftables.peer_sets([FLOW]).splitlines() == [
        "set f0v4 { type ipv4_addr; flags timeout; timeout 5s; elements = { 10.0.0.2 } }",
        "set f0v6 { type ipv6_addr; flags timeout; timeout 5s; elements = { fd00::2 } }",
    ]


def test_a_class_is_never_the_root_and_the_same_for_the_same_fault() -> None:
    classes = {shaping.class_of(Spec(f"fault-{n}", "loss").tag) for n in range(200)}
    assert all(0 < int(one.removeprefix("504d:"), 16) < 0xFFFF for one in classes)
    assert len(classes) > 190
    assert shaping.class_of("0123456789ab") == shaping.class_of("0123456789ab")


@pytest.mark.parametrize(("share", "expected"), [(0.00001, 1), (0.0001, 1), (0.3, 3000), (1.0, 10_000)])
def test_a_share_becomes_ten_thousandths(share: float, expected: int) -> None:
    assert parts(share) == expected


def test_a_segment_has_the_checksum_of_rfc_9293() -> None:
    one = Connection("10.0.0.1", 40000, "10.0.0.2", 80)
    segment = _segment(one, 1, 2, 0x10, b"odd")
    pseudo = bytes([10, 0, 0, 1, 10, 0, 0, 2, 0, 6, 0, len(segment)])
    assert _checksum(pseudo + segment) == 0


def test_addresses_of_proc_net_tcp_are_read_and_mapped_ones_are_ipv4() -> None:
    assert sys.byteorder == "little", "the examples are of a little-endian machine"
    assert _end("0100007F:1F90") == ("127.0.0.1", 8080)
    assert _end("0000000000000000FFFF00000200000A:0050") == ("10.0.0.2", 80)
    assert _end("000000FD000000000000000002000000:0050") == ("fd00::2", 80)


def test_a_word_that_works_on_no_network_is_refused() -> None:
    with pytest.raises(AgentError, match="no network agent makes 'kill'"):
        make(Spec("f", "kill"))


def test_a_loss_too_small_to_be_seen_is_refused_before_anything_is_touched() -> None:
    with pytest.raises(AgentError, match="too small to be seen"):
        make(Spec("f", "loss", (FLOW,), {"share": 0.0001})).prepare()


@pytest.mark.parametrize(
    ("text", "servers", "asked"),
    [
        ("nameserver 127.0.0.11\noptions ndots:0\n", ["127.0.0.11"], "app-1"),
        (
            "search shop.svc.cluster.local svc.cluster.local\nnameserver 10.96.0.10\noptions timeout:1 ndots:5\n",
            ["10.96.0.10"],
            "app-1.shop.svc.cluster.local",
        ),
        (
            "search x.test\nnameserver fd00::1\nnameserver 10.0.0.1\n",
            ["fd00::1", "10.0.0.1"],
            "app-1.x.test",
        ),
        ("search x.test\noptions ndots:0\nsearch\n# nothing\n\n", [], "app-1"),
    ],
)
def test_name_servers_are_asked_what_a_process_of_the_namespace_asks_first(
    tmp_path: Path, text: str, servers: list[str], asked: str
) -> None:
    file = tmp_path / "resolv.conf"
    file.write_text(text)
    assert resolvers(file) == servers
    assert asked_first("app-1", file) == asked
    assert asked_first("a.b.c.d.e.f", file) == "a.b.c.d.e.f"


def test_name_servers_of_no_file_are_none(tmp_path: Path) -> None:
    assert resolvers(tmp_path / "none") == []
    assert asked_first("app-1", tmp_path / "none") == "app-1"


def test_a_name_failure_where_no_name_server_answers_is_refused(tmp_path: Path) -> None:
    """By the file that the specification names: a helper pod's own is that of another network."""
    file = tmp_path / "resolv.conf"
    file.write_text("nameserver 127.93.0.1\n")
    with pytest.raises(AgentError, match=r"no name server answers even without a fault \(asked: 127\.93\.0\.1\)"):
        make(Spec("f", "dns_failure", names=("app-1",), resolv_conf=str(file))).prepare()
    with pytest.raises(AgentError, match=r"\(asked: none\)"):
        make(Spec("f", "dns_failure", resolv_conf=str(tmp_path / "none"))).prepare()


def test_the_image_holds_only_modules_that_need_nothing_but_the_standard_library() -> None:
    contents = helper_image.contents()
    assert "faultload/agents/network/shaped.py" in contents
    assert "faultload/agents/link/pair.py" in contents, "what a program imports comes with it"
    for path, text in contents.items():
        for node in ast.parse(text).body:
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            for name in names:
                top = name.partition(".")[0]
                assert top in (*sys.stdlib_module_names, "faultload", ""), f"{path} imports {name}"
                if top == "faultload":
                    place = name.replace(".", "/")
                    assert {f"{place}.py", f"{place}/__init__.py"} & set(contents), f"{path} imports {name}"


def test_an_image_of_another_version_has_another_name() -> None:
    contents = helper_image.contents()
    changed = {**contents, "faultload/agents/lifeline.py": contents["faultload/agents/lifeline.py"] + b"\n"}
    assert helper_image._digest(changed) != helper_image._digest(contents)
    assert helper_image.name().startswith("faultload-helper:")


def test_another_base_has_another_name(monkeypatch: pytest.MonkeyPatch) -> None:
    before = helper_image._digest({})
    monkeypatch.setenv(helper_image.BASE_ENV, "registry.example/python:3.12")
    assert helper_image._digest({}) != before


def test_the_build_context_is_made_in_memory_and_always_the_same() -> None:
    context = helper_image._context()
    assert context == helper_image._context()
    with tarfile.open(fileobj=io.BytesIO(context)) as archive:
        names = archive.getnames()
    assert names[0] == "Dockerfile"
    assert "faultload/agents/network/agent.py" in names


def test_images_of_other_versions_are_told_from_our_own() -> None:
    asked = []

    def listed(filters: dict[str, str]) -> list[SimpleNamespace]:
        asked.append(filters)
        return [
            SimpleNamespace(tags=[helper_image.name()], short_id="sha256:1"),
            SimpleNamespace(tags=["faultload-helper:0123"], short_id="sha256:2"),
            SimpleNamespace(tags=[], short_id="sha256:3"),
        ]

    client: Any = SimpleNamespace(images=SimpleNamespace(list=listed))
    assert helper_image.others(client) == ["faultload-helper:0123", "sha256:3"]
    assert asked == [{"label": "faultload.image=helper"}]
