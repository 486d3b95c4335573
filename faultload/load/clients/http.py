"""HTTP clients for honest journeys: a request is sent once and ends within its timeout."""

from __future__ import annotations

import select
from collections.abc import Callable
from typing import Any

import gevent
from gevent import monkey
from geventhttpclient.client import HTTPClient, HTTPClientPool
from geventhttpclient.url import URL
from locust import FastHttpUser, HttpUser, User

_DEFAULT_TIMEOUT_S = FastHttpUser.network_timeout
# a look that never waits needs no event loop
_poll = monkey.get_original("select", "poll")
_READABLE = select.POLLIN | getattr(select, "POLLRDHUP", 0)


class DirectPool(HTTPClientPool):
    """A client pool whose clients never send a request twice and keep connections of any file descriptor.

    geventhttpclient sends an idempotent request again, up to the pool's size plus one times, when its
    connection closes before the answer; and it looks with select() whether an idle connection lives, which
    cannot see file descriptors from 1024 on and takes them for dead.
    """

    def get_client(self, url: str | URL) -> HTTPClient:
        known = len(self.clients)
        client = super().get_client(url)
        if len(self.clients) != known:
            connections: Any = client._connection_pool
            connections.size = -1  # read for the number of attempts alone: none beyond the first
            connections._is_socket_alive = is_idle
        return client


def is_idle(sock: Any) -> bool:
    """Whether an idle connection may be used: open, and nothing to read on it (neither data nor its end)."""
    try:
        descriptor = sock.fileno()
    except (AttributeError, OSError):
        return False
    if descriptor < 0:
        return False
    poll = _poll()
    poll.register(descriptor, _READABLE)
    return not poll.poll(0)


def make_honest(user: User, timeout_s: float) -> Callable[..., Any] | None:
    """Give a user's HTTP client the run's time-out and no hidden retries; returns the request function to use.

    A time-out that the user's class or a single request sets by itself is kept. None for a user without an
    HTTP client that we know.
    """
    if isinstance(user, FastHttpUser):
        return _honest_fast(user, timeout_s)
    if isinstance(user, HttpUser):
        return _honest_requests(user, timeout_s)
    return None


def _honest_fast(user: Any, timeout_s: float) -> Callable[..., Any]:
    agent = user.client.client
    limit_s = user.network_timeout if user.network_timeout != _DEFAULT_TIMEOUT_S else timeout_s
    if user.client_pool is None:
        args = dict(agent.clientpool.client_args)
        args["network_timeout"] = None  # one deadline over all of a request, not one a read
        if args.get("connection_timeout") == _DEFAULT_TIMEOUT_S:
            args["connection_timeout"] = None
        agent.clientpool = DirectPool(**args)
    # for a bad status it would join request and answer to a text that nobody reads, and fail on binary ones
    agent._conversation_str = lambda *_args, **_kwargs: ""
    plain = user.client.request
    late = f"no answer within {limit_s:g} s"

    def request(method: str, url: str, *args: Any, **kwargs: Any) -> Any:
        # an OSError, so that the client gives its connection back wherever it was
        deadline = gevent.Timeout(limit_s, TimeoutError(late))
        deadline.start()
        try:
            response = plain(method, url, *args, **kwargs)
        finally:
            deadline.close()
        if kwargs.get("stream"):
            _limit_reads(response, limit_s)
        return response

    return request


def _limit_reads(response: Any, limit_s: float) -> None:
    """Bound each read of a body that the journey itself goes on to read."""
    sock = getattr(getattr(response, "_response", None), "_sock", None)
    if sock is not None:
        sock.settimeout(limit_s)


def _honest_requests(user: Any, timeout_s: float) -> Callable[..., Any]:
    session = user.client
    plain_send = session.send

    def send(prepared: Any, **kwargs: Any) -> Any:
        if kwargs.get("timeout") is None:
            kwargs["timeout"] = timeout_s
        return plain_send(prepared, **kwargs)

    session.send = send
    request: Callable[..., Any] = session.request
    return request
