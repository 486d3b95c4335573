"""Load, verifiers and looks at the target go straight to it, whatever proxy the environment names."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

ROOT = Path(__file__).parents[3]
PROXIES = ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")
DEAD = "http://127.0.0.1:9"
ASK = """
import locust, runpy, sys  # Locust first, as in a load process
file, verifier, url = sys.argv[1:]
print(sorted(runpy.run_path(file)[verifier](["a", "b"], {"url": url})))
"""
LOAD = """
import sys
import locust
from faultload.load import Journey
from faultload.load.clients.http import make_honest
kind, url = sys.argv[1:]
base = {"HttpUser": locust.HttpUser, "FastHttpUser": locust.FastHttpUser, "Journey": Journey}[kind]
user = type("Visit", (base,), {"host": url})(locust.env.Environment())
print(make_honest(user, 5.0)("GET", "/moved?keys=a").status_code)
"""
LOOK = """
import sys
from faultload.platforms.databases import patroni
from faultload.platforms.local.processes import http_status
print(http_status(sys.argv[1] + "/?keys=a", 5.0), patroni.call(sys.argv[1] + "/?keys=a")[0])
"""


@pytest.fixture
def target() -> Iterator[str]:
    """A service that has every key it is asked for."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path.startswith("/moved"):
                self.send_response(302)
                self.send_header("location", "/?keys=a")
                self.send_header("content-length", "0")
                self.end_headers()
                return
            keys = parse_qs(urlsplit(self.path).query)["keys"][0].split(",")
            body = json.dumps({"found": keys}).encode()
            self.send_response(200)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *arguments: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


def journeys_of_the_docs(folder: Path) -> Path:
    page = (ROOT / "docs" / "writing-scenarios.md").read_text()
    (code,) = re.findall(r"^<!-- journeys loadtests/shop.py -->\n```python\n(.*?)^```$", page, re.M | re.S)
    file = folder / "shop.py"
    file.write_text(code)
    return file


@pytest.mark.parametrize(("where", "verifier"), [("pack", "in_api"), ("docs", "in_orders")])
def test_a_verifier_asks_the_target_itself(tmp_path: Path, target: str, where: str, verifier: str) -> None:
    file = ROOT / "loadtests" / "memory.py" if where == "pack" else journeys_of_the_docs(tmp_path)
    assert said(ASK, str(file), verifier, target) == "['a', 'b']"


@pytest.mark.parametrize("kind", ["HttpUser", "FastHttpUser", "Journey"])
def test_the_load_goes_to_the_target_itself_also_where_it_is_redirected(target: str, kind: str) -> None:
    assert said(LOAD, kind, target) == "200"


def test_health_paths_and_patroni_are_asked_without_a_proxy(target: str) -> None:
    assert said(LOOK, target) == "200 200"


def said(program: str, *arguments: str) -> str:
    """What a program prints where every proxy of the environment is dead."""
    env = {name: value for name, value in os.environ.items() if name.lower() != "no_proxy"}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program, *arguments],
        env=env | dict.fromkeys(PROXIES, DEAD),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()
