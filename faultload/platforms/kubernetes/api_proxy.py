"""URLs of pods through the API server's proxy; they work from wherever the API does."""

from __future__ import annotations

import ssl
from urllib.request import HTTPSHandler, OpenerDirector, ProxyHandler, build_opener

from faultload.platforms.databases import patroni
from faultload.platforms.kubernetes.client import api_client
from faultload.spec.target import TargetFile


def proxied(target: TargetFile, namespace: str, pod: str, port: int) -> str:
    """The URL of a pod's port through the API server; it is asked as the target's user is."""
    configuration = api_client(target).configuration
    host = str(configuration.host).rstrip("/")
    patroni.ask_by(host, _opener(configuration))
    return f"{host}/api/v1/namespaces/{namespace}/pods/{pod}:{port}/proxy"


def _opener(configuration: object) -> OpenerDirector:
    """With the certificates and the token that the API client has."""
    known = vars(configuration)
    context = ssl.create_default_context(cafile=known.get("ssl_ca_cert"))
    if not known.get("verify_ssl", True):
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if known.get("cert_file"):
        context.load_cert_chain(known["cert_file"], known.get("key_file"))
    opener = build_opener(ProxyHandler({}), HTTPSHandler(context=context))
    token = configuration.get_api_key_with_prefix("BearerToken")  # type: ignore[attr-defined]
    if token:
        opener.addheaders = [("Authorization", token)]
    return opener
