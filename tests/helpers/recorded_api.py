"""A Kubernetes API that answers with recorded objects, and keeps what is done to them."""

from __future__ import annotations

import copy
import json
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import yaml

RECORDED = Path(__file__).parent / "recorded"
Answer = tuple[int, dict[str, Any]]


def recorded(name: str) -> Any:
    return json.loads((RECORDED / f"{name}.json").read_text())


def status(code: int, reason: str, message: str) -> Answer:
    """An error as the API words it."""
    return code, {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": message,
        "reason": reason,
        "code": code,
    }


NOT_FOUND = status(404, "NotFound", "the server could not find the requested resource")


class RecordedApi:
    """Objects by collection path, such as `/api/v1/namespaces/shop/pods`; every request is kept in `asked`."""

    def __init__(self, folder: Path) -> None:
        self.objects: dict[str, dict[str, Any]] = {}
        self.asked: list[tuple[str, str, Any]] = []
        self.special: list[Callable[[str, str, Any], Answer | None]] = []
        self.version = 1
        api = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _serve(self) -> None:
                length = int(self.headers.get("Content-Length") or 0)
                body = json.loads(self.rfile.read(length)) if length else None
                code, answer = api.answer(self.command, self.path, body)
                text = json.dumps(answer).encode()
                self.send_response(code)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            do_GET = do_POST = do_PATCH = do_DELETE = _serve  # noqa: N815

            def log_message(self, *_: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()
        context = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "recorded",
            "clusters": [
                {"name": "recorded", "cluster": {"server": f"http://127.0.0.1:{self.server.server_port}"}}
            ],
            "users": [{"name": "nobody", "user": {}}],
            "contexts": [{"name": "recorded", "context": {"cluster": "recorded", "user": "nobody"}}],
        }
        self.kubeconfig = folder / "kubeconfig"
        self.kubeconfig.write_text(yaml.safe_dump(context))

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()

    def put(self, collection: str, thing: dict[str, Any]) -> dict[str, Any]:
        """An object of a collection, with a new version."""
        self.version += 1
        thing = copy.deepcopy(thing)
        thing["metadata"]["resourceVersion"] = str(self.version)
        thing["metadata"].setdefault("uid", f"uid-{self.version}")
        self.objects.setdefault(collection, {})[thing["metadata"]["name"]] = thing
        return thing

    def answer(self, method: str, url: str, body: Any) -> Answer:
        parts = urlsplit(url)
        query = {key: values[0] for key, values in parse_qs(parts.query).items()}
        self.asked.append((method, parts.path, body))
        for special in self.special:
            found = special(method, parts.path, body)
            if found is not None:
                return found
        collection, _, name = parts.path.rpartition("/")
        there = self.objects.get(collection, {})
        if method == "POST" and parts.path in self.objects:
            body.setdefault("metadata", {}).setdefault("namespace", parts.path.split("/")[-2])
            return 201, self.put(parts.path, body)
        if method == "GET" and (items := self._listed(parts.path, query)) is not None:
            return 200, {"kind": "List", "apiVersion": "v1", "metadata": {}, "items": items}
        if name not in there:
            return NOT_FOUND
        if method == "GET":
            return 200, there[name]
        if method == "DELETE":
            wanted = ((body or {}).get("preconditions") or {}).get("uid")
            if wanted not in (None, there[name]["metadata"]["uid"]):
                return status(409, "Conflict", "the UID in the precondition does not match")
            return 200, there.pop(name)
        version = body["metadata"].get("resourceVersion")
        if version not in (None, there[name]["metadata"]["resourceVersion"]):
            return status(409, "Conflict", "the object has been modified; please apply your changes to the latest")
        return 200, self.put(collection, _merged(there[name], body))

    def _listed(self, path: str, query: dict[str, str]) -> list[Any] | None:
        if path == "/api/v1/pods":
            items = [
                pod for where, pods in self.objects.items() if where.endswith("/pods") for pod in pods.values()
            ]
        elif path in self.objects:
            items = list(self.objects[path].values())
        else:
            return None
        for wanted in filter(None, query.get("labelSelector", "").split(",")):
            key, _, value = wanted.partition("=")
            items = [one for one in items if (one["metadata"].get("labels") or {}).get(key) == value]
        node = query.get("fieldSelector", "").removeprefix("spec.nodeName=")
        return [one for one in items if not node or one["spec"].get("nodeName") == node]


def _merged(old: Any, new: Any) -> Any:
    """A JSON merge patch (RFC 7396), which is what these strategic patches come to."""
    if not isinstance(new, dict):
        return new
    result = dict(old) if isinstance(old, dict) else {}
    for key, value in new.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = _merged(result.get(key), value)
    return result
