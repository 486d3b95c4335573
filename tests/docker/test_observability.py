"""Prometheus and the dashboard: the files hold together, and a real Prometheus has data for every query."""

from __future__ import annotations

import json
import math
import subprocess
import threading
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import pytest
import yaml
from dockerref import NAME, Up, built, needed, wait_for

from faultload import reference
from faultload.reference.host import docker_image, docker_project, docker_up
from faultload.reference.kit.ports import free_ports
from faultload.reference.systems.memory import containers

pytestmark = pytest.mark.docker
TOP = containers.COMPOSE_FILE.parent
FOLDER = TOP / "deploy" / "memory"
DASHBOARD = json.loads((FOLDER / "grafana" / "dashboards" / "memory.json").read_text())
DEBIANS = "faultload-test-prometheus:bookworm"
QUERIES = [
    pytest.param(target["expr"], id=f"{panel['title']}-{target['refId']}")
    for panel in DASHBOARD["panels"]
    for target in panel["targets"]
]
LOAD_S = 12.0


def prometheus_image(client: Any) -> str:
    """The compose file's own where it can be pulled, else Debian's Prometheus on the base image at hand."""
    from docker.errors import APIError, ImageNotFound

    shipped = yaml.safe_load(containers.COMPOSE_FILE.read_text())["services"]["prometheus"]["image"]
    official = shipped.partition(":-")[2].rstrip("}")
    if docker_image.is_here(client, official):
        return str(official)
    try:
        client.images.pull(official)
    except (APIError, ImageNotFound):
        if not docker_image.is_here(client, DEBIANS):
            dockerfile = f"""
                FROM {docker_image.recipe(client, NAME).base}
                RUN apt-get update -q && apt-get install -y -q --no-install-recommends prometheus
                ENTRYPOINT ["/usr/bin/prometheus"]
            """
            client.images.build(fileobj=BytesIO(dockerfile.encode()), tag=DEBIANS, network_mode="host", rm=True)
        return DEBIANS
    return str(official)


@pytest.fixture(scope="module")
def client() -> Iterator[Any]:
    needed()
    with docker_project.engine(timeout_s=600) as engine:
        yield engine


@dataclass(frozen=True)
class Observed:
    """A running service that Prometheus scrapes, after a little load."""

    up: Up
    prometheus: str
    sent: int
    at: float
    """Right after the load: rates of that moment are above nothing."""

    def ask(self, expression: str) -> list[dict[str, Any]]:
        return ask(self.prometheus, expression, self.at)


@pytest.fixture(scope="module")
def observed(client: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Observed]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
        patch.setenv("FAULTLOAD_PROMETHEUS_IMAGE", prometheus_image(client))
        patch.setenv("MEMORY_PROMETHEUS_PORT", str(free_ports(1)[0]))
        built()
        try:
            file = reference.start(NAME, "docker").wait_ready(60)
            up = Up(file, client)
            lines = (file.parent / "compose.env").read_text().splitlines()
            variables = dict(line.split("=", 1) for line in lines)
            words = ("up", "-d", "--no-build", "--no-deps", "prometheus")
            docker_up.compose(up.project, containers.COMPOSE_FILE, variables, *words)
            prometheus = f"http://127.0.0.1:{variables['MEMORY_PROMETHEUS_PORT']}"
            wait_for(lambda: scraped(prometheus) == {"gateway": 1, "api": 3, "tier": 2, "patroni": 2}, 40)
            sent = load(up)
            at = time.time()
            wait_for(lambda: counted(prometheus) == sent, 20)
            yield Observed(up, prometheus, sent, at)
        finally:
            assert reference.stop(NAME, "docker") == []


def load(up: Up) -> int:
    """Every kind of request for a few seconds; how many went through the gateway."""
    sent = [0] * 3
    until = time.monotonic() + LOAD_S

    def one(number: int) -> None:
        while time.monotonic() < until:
            user = f"user-{number}-{sent[number] % 7}"
            for method, path, body in (
                ("POST", "/memories/", {"user_id": user, "text": "tea in the garden"}),
                ("GET", f"/memories/search?user_id={user}&query=tea", None),
                ("GET", f"/analytics/insights/{user}", None),
                ("GET", "/memories/?keys=a,b", None),
                ("GET", "/memories/nothing", None),
            ):
                assert up.ask(method, path, body)[0] in (200, 201, 404)
                sent[number] += 1
            time.sleep(0.05)

    threads = [threading.Thread(target=one, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(sent)


def ask(prometheus: str, expression: str, at: float | None = None) -> list[dict[str, Any]]:
    """The series of an instant query. Raises for one that Prometheus refuses."""
    query = urllib.parse.urlencode({"query": expression, **({} if at is None else {"time": f"{at:.3f}"})})
    with urllib.request.urlopen(f"{prometheus}/api/v1/query?{query}", timeout=10) as response:
        answer = json.load(response)
    assert answer["status"] == "success", answer
    if answer["data"]["resultType"] == "scalar":
        return [{"metric": {}, "value": answer["data"]["result"]}]
    return list(answer["data"]["result"])


def scraped(prometheus: str) -> dict[str, int]:
    """How many targets of each job answer."""
    return {series["metric"]["job"]: int(series["value"][1]) for series in ask(prometheus, "sum by (job) (up)")}


def counted(prometheus: str) -> float:
    """The requests that the gateway has answered, as Prometheus knows it."""
    (series,) = ask(prometheus, 'sum(memory_requests_total{service="gateway"})')
    return float(series["value"][1])


def test_the_configuration_of_prometheus_passes_its_own_check(client: Any) -> None:
    entrypoint = {"entrypoint": "promtool"}
    mount = {str(FOLDER / "prometheus.yml"): {"bind": "/etc/prometheus/prometheus.yml", "mode": "ro"}}
    said = client.containers.run(
        prometheus_image(client),
        ["check", "config", "/etc/prometheus/prometheus.yml"],
        volumes=mount,
        remove=True,
        stderr=True,
        **entrypoint,
    )
    assert b"SUCCESS" in said


def test_the_dashboard_is_one_that_grafana_takes() -> None:
    assert DASHBOARD["uid"] and DASHBOARD["title"] and DASHBOARD["schemaVersion"] >= 36
    panels = DASHBOARD["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels) >= 20
    for panel in panels:
        assert panel["title"] and panel["type"] in ("timeseries", "stat"), panel
        assert panel["fieldConfig"]["defaults"]["unit"], panel["title"]
        assert panel["targets"], panel["title"]
        references = [target["refId"] for target in panel["targets"]]
        assert len(set(references)) == len(references), panel["title"]


def test_panels_lie_beside_each_other_and_within_the_grid() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert at["x"] + at["w"] <= 24 and not cells & taken, panel["title"]
        taken |= cells


def test_every_data_source_that_the_dashboard_names_is_provisioned() -> None:
    provisioned = yaml.safe_load((FOLDER / "grafana/datasources/prometheus.yml").read_text())["datasources"]
    known = {(source["type"], source["uid"]) for source in provisioned}
    named = {
        (thing["datasource"]["type"], thing["datasource"]["uid"])
        for panel in DASHBOARD["panels"]
        for thing in (panel, *panel["targets"])
    }
    assert named <= known
    services = yaml.safe_load(containers.COMPOSE_FILE.read_text())["services"]
    (source,) = provisioned
    place = urllib.parse.urlsplit(source["url"])
    assert place.hostname in services and services[place.hostname]["ports"][0].endswith(f":{place.port}")


def test_grafana_finds_data_source_and_dashboard_where_they_are_mounted() -> None:
    grafana = yaml.safe_load(containers.COMPOSE_FILE.read_text())["services"]["grafana"]
    source, mounted, _ = grafana["volumes"][0].split(":")
    assert (TOP / source).resolve() == (FOLDER / "grafana").resolve()
    (provider,) = yaml.safe_load((FOLDER / "grafana/dashboards/dashboards.yml").read_text())["providers"]
    home = grafana["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    for path in (provider["options"]["path"] + "/memory.json", home):
        assert (FOLDER / "grafana" / path.removeprefix(mounted + "/")).is_file(), path


def test_the_compose_file_is_in_order_with_its_profile() -> None:
    command = docker_project.compose_command()
    if command is None:
        pytest.skip("there is no compose here")
    argv = [*command, "-f", str(containers.COMPOSE_FILE), "--profile", "observability", "config", "--quiet"]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr


def test_prometheus_is_published_on_loopback_and_healthy(observed: Observed) -> None:
    up = observed.up
    (container,) = up.containers("prometheus")
    assert {b["HostIp"] for b in container.attrs["NetworkSettings"]["Ports"]["9090/tcp"]} == {"127.0.0.1"}
    wait_for(lambda: up.containers("prometheus")[0].attrs["State"]["Health"]["Status"] == "healthy", 30)


def test_prometheus_counted_every_request_that_was_sent(observed: Observed) -> None:
    assert counted(observed.prometheus) == observed.sent > 100


@pytest.mark.parametrize("expression", QUERIES)
def test_a_query_of_the_dashboard_finds_data(observed: Observed, expression: str) -> None:
    series = observed.ask(expression)
    assert series, f"no data: {expression}"
    values = [float(one["value"][1]) for one in series]
    assert any(math.isfinite(value) for value in values), f"nothing but {values}: {expression}"


def test_a_query_without_data_would_be_found(observed: Observed) -> None:
    assert observed.ask("memory_there_is_no_such_metric") == []


def test_legends_name_labels_that_the_series_have(observed: Observed) -> None:
    for panel in DASHBOARD["panels"]:
        for target in panel["targets"]:
            wanted = {part.partition("}}")[0] for part in target["legendFormat"].split("{{")[1:]}
            for series in observed.ask(target["expr"]):
                assert wanted <= set(series["metric"]), (panel["title"], series["metric"])
