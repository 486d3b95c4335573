"""What answers on a declared address need not be what was declared: no answer of it ends in a traceback."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from faultload.errors import TargetError
from faultload.platforms.databases.patroni import cluster, cluster_problems, configuration, nodes
from faultload.platforms.local.processes import http_status

ANSWERS = {
    "another protocol": b"220 mail.example.com ESMTP\r\n",
    "nothing": b"",
    "half an answer": b"HTTP/1.1 200 OK\r\nContent-Length: 68\r\n\r\n",
    "a line without end": b"HTTP/1.1 200 OK\r\nx: " + b"y" * 70_000,
    "no JSON": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n\xff\xfe",
    "a list": b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n[[1]]",
    "no members": b"HTTP/1.1 200 OK\r\nContent-Length: 14\r\n\r\n" + b'{"patroni": 1}',
    "members without a name": b"HTTP/1.1 200 OK\r\nContent-Length: 17\r\n\r\n" + b'{"members": [{}]}',
}


@contextmanager
def answering(answer: bytes) -> Iterator[str]:
    """A server on the loopback that gives every client the same bytes."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            while True:
                try:
                    client, _ = server.accept()
                except OSError:
                    return
                with client:
                    try:
                        client.recv(65_536)
                        client.sendall(answer)
                    except OSError:
                        continue

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}"
        server.shutdown(socket.SHUT_RDWR)
        thread.join(10)


@pytest.mark.parametrize("what", ANSWERS)
def test_what_is_no_patroni_is_no_cluster(what: str) -> None:
    with answering(ANSWERS[what]) as url:
        with pytest.raises(TargetError, match="answer"):
            cluster([url])
        assert nodes([url]) == {}
        assert isinstance(configuration([url]), dict)
        assert len(cluster_problems("db", [url])) == 1


@pytest.mark.parametrize("what", ["another protocol", "nothing", "a line without end"])
def test_a_health_path_that_answers_no_http_has_no_status(what: str) -> None:
    with answering(ANSWERS[what]) as url:
        assert http_status(f"{url}/health", 5.0) is None
