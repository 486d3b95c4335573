"""Target files and experiments: what they declare, what of it is filled in, and how they go through JSON."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from small_workspace import SmallWorkspace, experiment

from faultload.errors import InvalidInput
from faultload.faults import words
from faultload.platforms.where import elsewhere
from faultload.spec.experiment import read_experiment
from faultload.spec.journeys import read_journeys
from faultload.spec.target import TargetFile, external, id_of_url, read_target, target_from_json
from faultload.spec.workspace import packs_root


def target(**changes: Any) -> TargetFile:
    return TargetFile.model_validate(
        {"name": "shop", "platform": "local", "url": "http://127.0.0.1:8080", **changes}
    )


def test_a_target_file(workspace: SmallWorkspace) -> None:
    shop = read_target(workspace.target)
    assert (shop.id, elsewhere(shop)) == ("http://127.0.0.1:8080", [])
    assert shop.services["web"].instance_ports == [8080, 8081]
    assert (shop.services["web"].declared, shop.services["store"].declared) == (2, 1)


@pytest.mark.parametrize(
    ("service", "ports", "declared"),
    [
        ({"ports": [7, 9]}, [7, 9], 2),
        ({"pids": [1, 2, 3]}, [None] * 3, 3),
        ({"command": ["web"], "count": 2}, [None, None], 2),
        ({"patroni": ["http://a", "http://b"]}, [None, None], 2),
    ],
)
def test_the_declared_instances(service: dict[str, Any], ports: list[int | None], declared: int) -> None:
    one = target(services={"x": service}).services["x"]
    assert (one.instance_ports, one.declared) == (ports, declared)


def test_a_target_goes_through_json() -> None:
    whole = target(
        services={"web": {"port": 80, "count": 2, "min_ready": 1}, "db": {"patroni": ["http://a"], "dsn": "x"}},
        links={"web -> db": {"proxy": "http://127.0.0.1:1"}},
        protected=["x*"],
        guard={"max_share": "33%", "max_instances": 2},
    )
    assert target_from_json(json.loads(json.dumps(whole.to_json()))) == whole
    assert target_from_json(external("https://example.org/x").to_json()) == external("https://example.org/x")


@pytest.mark.parametrize(
    ("url", "identity"),
    [
        ("http://a", "http://a:80"),
        ("https://A.example/path?q", "https://a.example:443"),
        ("http://127.0.0.1:8080/", "http://127.0.0.1:8080"),
    ],
)
def test_a_url_is_an_identity(url: str, identity: str) -> None:
    assert id_of_url(url) == identity


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("name: x\nplatform: local\n", "x.yaml:1: id: a target without a url needs an id"),
        ("name: x\nplatform: moon\nid: a\n", "x.yaml:2: platform: input should be 'local', 'docker'"),
        ("name: x\nplatform: local\nurl: ftp://x\n", "x.yaml:3: url: 'ftp://x' is not allowed here"),
        ("name: x\nplatform: local\nid: a\nservices:\n  w: {}\n", "x.yaml:5: services.w: nothing says which"),
        (
            "name: x\nplatform: local\nid: a\nservices:\n  w: {command: [w, '{port}']}\n",
            "x.yaml:5: services.w.command: {port} stands for a port",
        ),
        (
            "name: x\nplatform: local\nid: a\nservices:\n  w: {port: 1, ports: [2]}\n",
            "x.yaml:5: services.w.ports: give port and count, or ports",
        ),
        (
            "name: x\nplatform: local\nid: a\nservices:\n  w: {ports: [2], count: 3}\n",
            "x.yaml:5: services.w.count: count is 3, but there are 1 ports",
        ),
        (
            "name: x\nplatform: local\nid: a\nservices:\n  w: {port: 2}\nlinks:\n  w: {}\n",
            "x.yaml:7: links.w: a link is written as 'client -> server'",
        ),
        (
            "name: x\nplatform: local\nid: a\nguard: {max_share: 0.5}\n",
            "x.yaml:4: guard.max_share: 0.5 is not a share",
        ),
        ("name: x\nplatform: local\nid: a\nguard: {max_share: 101%}\n", "guard.max_share: '101%' is not a share"),
    ],
)
def test_a_mistake_in_a_target_file(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "x.yaml").write_text(text)
    with pytest.raises(InvalidInput) as refused:
        read_target(tmp_path / "x.yaml")
    assert says in str(refused.value)


# -- experiments


def test_an_experiment_with_a_scenarios_values(tmp_path: Path) -> None:
    file = tmp_path / "cut.yaml"
    file.write_text(experiment("partition", '{link: "web -> store", on_heal: "${mode}", fault: "cut ${mode}"}')
                    .replace("{fault: partition}", '{fault: "cut ${mode}"}'))  # fmt: skip
    plain = read_experiment(file, words())
    assert plain.arguments == {"link": "web -> store", "on_heal": "deliver", "fault": "cut deliver"}
    assert (plain.duration_s, plain.link, plain.service, plain.word.name) == (
        5.0,
        "web -> store",
        None,
        "partition",
    )
    changed = read_experiment(file, words(), {"mode": "reset", "duration_s": 2.5})
    assert (changed.arguments["on_heal"], changed.duration_s) == ("reset", 2.5)
    with pytest.raises(InvalidInput, match="configuration: on_heal must be one of deliver, reset, not 'drop'"):
        read_experiment(file, words(), {"mode": "drop"})


def test_what_an_experiment_asks_over_http_is_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OUR_PORT", "8080")
    url = "http://${host}:${port}/${token}"
    probe = {"type": "probe", "name": "well", "provider": {"type": "http", "url": url}}
    whole = yaml.safe_load(experiment("pause", "{service: web}"))
    whole["configuration"] |= {"host": "127.0.0.1", "port": {"type": "env", "key": "OUR_PORT"}}
    whole["secrets"] = {"a": {"token": {"type": "vault", "path": "x"}}}
    whole["steady-state-hypothesis"] = {"title": "well", "probes": [{**probe, "tolerance": 200}]}
    whole["method"].append({**probe, "name": "told", "provider": {"type": "http", "url": "http://203.0.113.5"}})
    (tmp_path / "x.yaml").write_text(yaml.safe_dump(whole))
    assert read_experiment(tmp_path / "x.yaml", words()).urls == (
        ("well of x.yaml", "http://127.0.0.1:8080/${token}"),
        ("told of x.yaml", "http://203.0.113.5"),
    )


@pytest.mark.parametrize("value", [0, -1, "5", True, None, float("nan"), float("inf")])
def test_a_duration_is_a_number_above_zero(tmp_path: Path, value: object) -> None:
    (tmp_path / "x.yaml").write_text(experiment("pause", "{service: web}"))
    with pytest.raises(InvalidInput, match="duration_s must be a number of seconds above 0"):
        read_experiment(tmp_path / "x.yaml", words(), {"duration_s": value})


def test_a_database_fault_has_its_service(tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text(experiment("failover_database", "{mode: member}"))
    assert read_experiment(tmp_path / "x.yaml", words()).service == "db"


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("rollbacks: {strategy: always}", "rollbacks: always"),
        ("runtime:\n  rollbacks: {strategy: always}", "runtime: always"),
        ("arguments: {fault: pause}", "arguments: [pause]"),
        ("      arguments: {service: web}", "      arguments: [web]"),
        ("func: pause", "func: [pause]"),
        ("method:\n", "method: 5\nnothing:\n"),
        ("method:\n", "method: []\nnothing:\n"),
        ("rollbacks:\n  - type", "rollbacks: 5\nnothing:\n  - type"),
        ("configuration:\n", "configuration: [5]\nnothing:\n"),
        ("module: faultload.chaos.actions\n      func: pause", "module: os\n      func: remove"),
    ],
)
def test_an_experiment_of_a_wrong_shape_is_refused(tmp_path: Path, old: str, new: str) -> None:
    text = experiment("pause", "{service: web}")
    assert old in text
    (tmp_path / "x.yaml").write_text(text.replace(old, new, 1))
    with pytest.raises(InvalidInput, match=r"x.yaml:\d+: "):
        read_experiment(tmp_path / "x.yaml", words())


@pytest.mark.parametrize("file", sorted((packs_root() / "experiments").rglob("*.yaml")), ids=lambda file: file.stem)
def test_a_shipped_experiment_is_in_order(file: Path) -> None:
    assert read_experiment(file, words()).duration_s > 0


@pytest.mark.parametrize(
    ("word", "given", "says"),
    [
        ("kill", {"service": "web", "count": 2}, []),
        ("kill", {"service": "web", "count": 0}, ["count must be a whole number of at least 1, not 0"]),
        ("kill", {"service": "web", "count": True}, ["count must be a whole number of at least 1, not True"]),
        ("kill", {"service": "web", "count": 1, "share": 0.5}, ["give count or share, not both"]),
        ("kill", {"service": "web", "share": 1.5}, ["share must be above 0 and at most 1, not 1.5"]),
        ("kill", {"service": ""}, ["service must be a name, not ''"]),
        ("kill", {"service": "web", "worker": True}, []),
        ("kill", {"service": "web", "worker": "yes"}, ["worker must be true or false, not 'yes'"]),
        (
            "restart",
            {"service": "web", "worker": True},
            ["restart takes no 'worker' (known: service, count, share, fault, duration_s, seed)"],
        ),
        ("latency", {"link": "a -> b"}, ["latency needs 'delay_ms'"]),
        ("latency", {"link": "a -> b", "delay_ms": -1}, ["delay_ms must be a number that is not negative, not -1"]),
        (
            "latency",
            {"link": "a -> b", "delay_ms": float("inf")},
            ["delay_ms must be a number that is not negative, not inf"],
        ),
    ],
)
def test_arguments_of_a_fault_word(word: str, given: dict[str, Any], says: list[str]) -> None:
    assert words()[word].mistakes(given) == says


def test_an_argument_that_a_platform_does_not_know_is_foreign_there() -> None:
    kill = words()["kill"]
    assert kill.foreign("local", {"worker": True}) == []
    assert kill.foreign("docker", {"worker": False, "count": 2}) == []
    said = "kill: 'worker' is for platform local only, not for kubernetes"
    assert kill.foreign("kubernetes", {"worker": True}) == [said]


@pytest.mark.parametrize(
    ("key", "value", "says"),
    [
        ("cwd", "shop", "'shop' does not begin with /"),
        ("address", "localhost", "'localhost' is not an IP address such as 127.0.0.1"),
        ("pids", "[0]", "greater than or equal to 1"),
        ("pids", "[{started: 1.0}]", "this key is missing"),
        ("pids", "[x]", "must be a pid, or its pid and start: {pid: 4711, started: 812.3}"),
        ("start", "[]", "at least 1 item"),
        ("start", "systemctl start shop", "should be a valid list"),
        ("systemd", "two words", "'two words' is not allowed here"),
        ("supervisor", "systemd", "should be 'external'"),
    ],
)
def test_what_tells_processes_apart_is_checked_when_the_file_is_read(
    tmp_path: Path, key: str, value: str, says: str
) -> None:
    file = tmp_path / "target.yaml"
    file.write_text(f"id: x\nname: x\nplatform: local\nservices:\n  web:\n    ports: [80]\n    {key}: {value}\n")
    with pytest.raises(InvalidInput) as error:
        read_target(file)
    assert str(error.value).startswith(f"{file}:7: services.web.{key}") and says in str(error.value)


@pytest.mark.parametrize(
    ("platform", "service", "says"),
    [
        ("local", "{port: 80, start: [a], systemd: b}", ["systemd: give start or systemd, not both"]),
        (
            "local",
            "{port: 80, start: [a], supervisor: external}",
            ["supervisor: give start or supervisor, not both"],
        ),
        ("local", "{pids: [1], supervisor: external}", ["supervisor: what comes back has another pid"]),
        (
            "local",
            "{patroni: ['http://127.0.0.1:1'], start: [a]}",
            ["start: one command cannot start every member"],
        ),
        ("local", "{command: [a], start: [a, '{port}']}", ["start: {port} stands for a port, but none is given"]),
        (
            "local",
            "{command: [a], systemd: 'a@{port}'}",
            ["systemd: {port} stands for a port, but none is given"],
        ),
        (
            "docker",
            "{labels: {a: b}, supervisor: external}",
            ["supervisor: is for processes on platform local, not for docker", "the engine or the cluster starts"],
        ),
    ],
)
def test_one_key_at_most_says_how_a_local_process_comes_back(
    tmp_path: Path, platform: str, service: str, says: list[str]
) -> None:
    file = tmp_path / "target.yaml"
    file.write_text(f"id: x\nname: x\nplatform: {platform}\nservices:\n  web: {service}\n")
    with pytest.raises(InvalidInput) as error:
        read_target(file)
    assert str(error.value).startswith(f"{file}:5: services.web.")
    assert all(part in str(error.value) for part in says), str(error.value)


def test_the_unit_of_a_databases_member_may_be_named_by_its_port(tmp_path: Path) -> None:
    file = tmp_path / "target.yaml"
    db = "{patroni: ['http://127.0.0.1:1'], systemd: 'patroni@{port}'}"
    file.write_text(f"id: x\nname: x\nplatform: local\nservices:\n  db: {db}\n")
    assert read_target(file).services["db"].systemd == "patroni@{port}"


# -- journeys


def test_what_a_journey_file_names_without_being_imported(tmp_path: Path) -> None:
    file = tmp_path / "j.py"
    file.write_text(
        "raise SystemExit('imported')\nfrom base import Base as Root\nclass Visit(Root):\n"
        "    def a(self):\n        observe('hit', 1)\n        faultload.observe('age', 2)\n"
    )
    journeys = read_journeys(file)
    assert journeys.classes == {"Visit", "Root"}
    assert journeys.observations == frozenset({"hit", "age"})
    assert not journeys.acknowledges
    file.write_text(file.read_text() + "        observe(name, 3)\n        acknowledge(key)\n")
    assert read_journeys(file).observations is None, "any name may be observed"
    assert read_journeys(file).acknowledges


LACKS: list[tuple[Callable[[dict[str, Any]], Any], str, str]] = [
    (lambda whole: whole.pop("title"), "title", "Chaos Toolkit needs a title"),
    (lambda whole: whole.pop("description"), "description", "Chaos Toolkit needs a description"),
    (lambda whole: whole.update(description=""), "description", "Chaos Toolkit needs a description"),
    (lambda whole: whole["method"][0].pop("type"), "method[0].type", "needs a type: action or probe"),
    (lambda whole: whole["method"][0].pop("name"), "method[0].name", "needs a name"),
    (
        lambda whole: whole["rollbacks"][0]["provider"].pop("type"),
        "rollbacks[0].provider",
        "python, process or http",
    ),
    (lambda whole: whole["method"].append("wait"), "method[2]", "an activity must be a mapping"),
]


@pytest.mark.parametrize(("change", "key", "says"), LACKS, ids=[f"{key}: {says}" for _, key, says in LACKS])
def test_what_chaos_toolkit_refuses_is_refused_before_anything_starts(
    change: Callable[[dict[str, Any]], Any], key: str, says: str, tmp_path: Path
) -> None:
    """chaoslib's own check sees the same mistake, which it would tell only when the fault is due."""
    from chaoslib.exceptions import ChaosException
    from chaoslib.experiment import ensure_experiment_is_valid

    whole = yaml.safe_load(experiment("pause", "{service: web}"))
    ensure_experiment_is_valid(whole)
    change(whole)
    with pytest.raises((ChaosException, AttributeError)):
        ensure_experiment_is_valid(whole)
    file = tmp_path / "experiment.yaml"
    file.write_text(yaml.safe_dump(whole))
    with pytest.raises(InvalidInput) as refused:
        read_experiment(file, words())
    assert [(one.key, says in one.message) for one in refused.value.mistakes] == [(key, True)]
