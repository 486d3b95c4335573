"""The addresses behind a service's name, from the resolver or a Kubernetes cluster's Endpoints.

`MEMORY_NAMES=endpoints` asks the cluster's API, which also answers in a cluster without DNS, and knows sooner than
a resolver's cache that a pod is not ready any more.
"""

from __future__ import annotations

import asyncio
import http.client
import json
import os
import socket
import ssl
from pathlib import Path
from typing import Any

from faultload.reference.kit.settings import Address

NAMES_ENV = "MEMORY_NAMES"
_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
_TIMEOUT_S = 2.0


async def addresses_of(host: str, port: int) -> set[Address]:
    """Every address of a name. Raises OSError when it stands for nothing right now."""
    if os.environ.get(NAMES_ENV) == "endpoints":
        return await asyncio.to_thread(_endpoints, host, port)
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return {(str(sockaddr[0]), port) for *_, sockaddr in found}


def _endpoints(service: str, port: int) -> set[Address]:
    """The ready pods behind a service of this pod's own namespace, as the API server knows them."""
    env = os.environ
    namespace = (_ACCOUNT / "namespace").read_text().strip()
    token = (_ACCOUNT / "token").read_text().strip()
    trusted = ssl.create_default_context(cafile=str(_ACCOUNT / "ca.crt"))
    server = http.client.HTTPSConnection(
        env["KUBERNETES_SERVICE_HOST"], int(env["KUBERNETES_SERVICE_PORT"]), timeout=_TIMEOUT_S, context=trusted
    )
    try:
        path = f"/api/v1/namespaces/{namespace}/endpoints/{service}"
        server.request("GET", path, headers={"authorization": f"Bearer {token}"})
        response = server.getresponse()
        body = response.read()
    except http.client.HTTPException as error:
        raise OSError(f"the API server broke off: {error}") from None
    finally:
        server.close()
    if response.status != 200:
        raise OSError(f"the API server answers {response.status} for the endpoints of {service}")
    found = ready_addresses(json.loads(body), port)
    if not found:
        raise OSError(f"no pod of {service} is ready")
    return found


def ready_addresses(endpoints: dict[str, Any], port: int) -> set[Address]:
    """The ready addresses of an Endpoints object."""
    return {
        (str(address["ip"]), port)
        for subset in endpoints.get("subsets") or ()
        for address in subset.get("addresses") or ()
    }
