"""What became of a request, from the exceptions that the HTTP clients really give."""

from __future__ import annotations

import errno
import socket
import ssl
import types
import zlib

import pytest
import requests.exceptions
import urllib3.exceptions
from geventhttpclient._parser import HTTPParseError
from geventhttpclient.response import HTTPConnectionClosed
from geventhttpclient.useragent import RetriesExceeded
from locust.contrib.fasthttp import LocustBadStatusCode
from locust.exception import CatchResponseError

from faultload.load.clients.outcomes import classify


def answer(status: int, error: BaseException | None = None) -> object:
    return types.SimpleNamespace(status_code=status, error=error)


def requests_error(outer: type[Exception], inner: BaseException) -> BaseException:
    return outer(urllib3.exceptions.MaxRetryError(None, "/", inner))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("exception", "outcome"),
    [
        (None, "ok"),
        (LocustBadStatusCode("/", code=503), "http_error"),
        (requests.exceptions.HTTPError("503"), "http_error"),
        (CatchResponseError("no total"), "check_failed"),
        (RetriesExceeded("/", 0, original=TimeoutError("timed out")), "timeout"),
        (TimeoutError("no answer within 5 s"), "timeout"),
        (requests.exceptions.ReadTimeout("read timed out"), "timeout"),
        (requests_error(requests.exceptions.ConnectTimeout, TimeoutError()), "timeout"),
        (ConnectionRefusedError(errno.ECONNREFUSED, "refused"), "connect_error"),
        (OSError(errno.EHOSTUNREACH, "no route"), "connect_error"),
        (socket.gaierror(-2, "unknown name"), "connect_error"),
        (
            requests_error(requests.exceptions.ConnectionError, ConnectionRefusedError(111, "refused")),
            "connect_error",
        ),
        (ConnectionResetError(errno.ECONNRESET, "reset"), "reset"),
        (BrokenPipeError(errno.EPIPE, "pipe"), "reset"),
        (HTTPConnectionClosed("connection closed."), "reset"),
        (HTTPParseError("connection closed before end of the headers"), "reset"),
        (ssl.SSLEOFError(8, "eof"), "reset"),
        (HTTPParseError("Invalid HTTP version"), "protocol_error"),
        (zlib.error("bad data"), "protocol_error"),
        (ssl.SSLCertVerificationError(1, "certificate"), "protocol_error"),
        (requests.exceptions.TooManyRedirects("30"), "protocol_error"),
        (OSError(errno.EMFILE, "too many open files"), "client_error"),
        (OSError(errno.EADDRNOTAVAIL, "no port left"), "client_error"),
    ],
)
def test_an_exception_means_one_outcome(exception: BaseException | None, outcome: str) -> None:
    assert classify(exception, answer(0 if exception is not None else 200)) == outcome


def test_a_failed_check_on_a_bad_status_is_put_down_to_the_status() -> None:
    assert classify(CatchResponseError("bad"), answer(503)) == "http_error"
    assert classify(CatchResponseError("bad"), answer(200)) == "check_failed"
    assert classify(ValueError("no JSON"), answer(200)) == "check_failed"


def test_a_failed_check_on_no_answer_is_put_down_to_the_missing_answer() -> None:
    assert (
        classify(CatchResponseError("None"), answer(0, ConnectionRefusedError(111, "refused"))) == "connect_error"
    )
    assert classify(CatchResponseError("None"), answer(0, TimeoutError())) == "timeout"
