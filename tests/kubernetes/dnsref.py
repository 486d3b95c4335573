"""A dnsmasq in a pod, and what makes other pods ask it: the names of a cluster that may have no DNS of its own."""

from __future__ import annotations

import io
import os

from conftest import PYTHON_IMAGE, Space

DNS_IMAGE = os.environ.get("FAULTLOAD_TEST_DNS_IMAGE", "faultload-test-dnsmasq:bookworm")
NAME, ADDRESS = "stock.shop.test", "192.0.2.7"
DNSMASQ = [
    DNS_IMAGE,
    "dnsmasq",
    "--keep-in-foreground",
    "--user=root",
    "--no-resolv",
    "--no-hosts",
    f"--address=/{NAME}/{ADDRESS}",
]


def name_server(space: Space) -> str:
    """The address of a new dnsmasq, which may not listen yet."""
    _ensure_image()
    space.deploy("names", command=DNSMASQ)
    (server,) = (str(pod.ip) for pod in space.pods("names").values())
    return server


def asking(*servers: str) -> dict[str, object]:
    """What makes a pod ask these name servers, as often as a cluster's pods ask, but not for as long."""
    wanted = {"ndots": "5", "timeout": "1", "attempts": "1"}
    options = [{"name": name, "value": value} for name, value in wanted.items()]
    config = {"nameservers": list(servers), "searches": ["svc.cluster.local"], "options": options}
    return {"dnsPolicy": "None", "dnsConfig": config}


def _ensure_image() -> None:
    """Debian's dnsmasq, built where the cluster's node uses the Docker engine of this machine."""
    if "FAULTLOAD_TEST_DNS_IMAGE" in os.environ:
        return
    import docker
    from docker.errors import ImageNotFound

    engine = docker.from_env()
    try:
        engine.images.get(DNS_IMAGE)
    except ImageNotFound:
        install = "RUN apt-get update -q && apt-get install -y -q --no-install-recommends dnsmasq-base"
        recipe = io.BytesIO(f"FROM {PYTHON_IMAGE}\n{install}\n".encode())
        engine.images.build(fileobj=recipe, tag=DNS_IMAGE, network_mode="host", rm=True)
