"""Maps the exceptions of the HTTP clients to one of the words in `record.OUTCOMES`."""

from __future__ import annotations

import errno
import http.client
import socket
import ssl
import zlib
from typing import Any

import gevent
import requests.exceptions
import urllib3.exceptions
from geventhttpclient._parser import HTTPParseError
from geventhttpclient.response import HTTPConnectionClosed
from geventhttpclient.useragent import BadStatusCode
from geventhttpclient.useragent import ConnectionError as AgentError
from locust.contrib.fasthttp import LocustBadStatusCode
from locust.exception import CatchResponseError, ResponseError

_OWN_LIMITS = {errno.EMFILE, errno.ENFILE, errno.EADDRNOTAVAIL, errno.ENOBUFS, errno.ENOMEM}
_TIMEOUTS = (
    TimeoutError,
    gevent.Timeout,
    requests.exceptions.Timeout,
    urllib3.exceptions.TimeoutError,
)
_RESETS = (
    ConnectionResetError,
    BrokenPipeError,
    ConnectionAbortedError,
    ssl.SSLEOFError,
    HTTPConnectionClosed,
    http.client.RemoteDisconnected,
)
_PROTOCOL = (
    HTTPParseError,
    ssl.SSLError,
    zlib.error,
    http.client.HTTPException,
    urllib3.exceptions.HTTPError,
    requests.exceptions.RequestException,
    AgentError,
)


def classify(exception: Any, response: Any) -> str:
    """The outcome of a request from its event's exception and response.

    A check that failed (`catch_response`) on a status of 400 or more, or on no answer at all, is put down to
    that cause; `check_failed` is for answers that looked well.
    """
    if exception is None:
        return "ok"
    if isinstance(exception, CatchResponseError | ResponseError):
        cause = getattr(response, "error", None)
        if isinstance(cause, BaseException) and not isinstance(cause, CatchResponseError | ResponseError):
            return of_exception(cause)
        return "http_error" if status_of(response) >= 400 else "check_failed"
    return of_exception(exception, status_of(response))


def of_exception(exception: Any, status: int = 0) -> str:
    """The outcome that an exception means; the causes that clients wrap are looked into."""
    for cause in _causes(exception):
        if isinstance(cause, LocustBadStatusCode | BadStatusCode | requests.exceptions.HTTPError):
            return "http_error"
        if isinstance(cause, _TIMEOUTS) or (isinstance(cause, ssl.SSLError) and "timed out" in str(cause)):
            return "timeout"
        if isinstance(cause, _RESETS):
            return "reset"
        if isinstance(cause, HTTPParseError) and "connection closed" in str(cause):
            return "reset"
        if isinstance(cause, OSError) and not isinstance(
            cause, ssl.SSLError | requests.exceptions.RequestException
        ):
            return _of_os_error(cause)
    if isinstance(exception, _PROTOCOL):
        return "protocol_error"
    return "check_failed" if 100 <= status < 400 else "http_error" if status >= 400 else "protocol_error"


def _of_os_error(error: OSError) -> str:
    if isinstance(error, socket.gaierror):
        return "connect_error"
    if error.errno in _OWN_LIMITS:
        return "client_error"
    return "timeout" if error.errno == errno.ETIMEDOUT else "connect_error"


def _causes(exception: Any) -> list[BaseException]:
    """An exception's causes, the innermost first."""
    found: list[BaseException] = []
    while isinstance(exception, BaseException) and exception not in found and len(found) < 10:
        found.append(exception)
        inner = [getattr(exception, "original", None), getattr(exception, "reason", None)]
        inner += [arg for arg in exception.args if isinstance(arg, BaseException)]
        inner += [exception.__cause__, exception.__context__]
        exception = next((cause for cause in inner if isinstance(cause, BaseException)), None)
    return found[::-1]


def status_of(response: Any) -> int:
    """The HTTP status of an event's response, 0 where there was none."""
    try:
        return int(getattr(response, "status_code", 0) or 0)
    except (TypeError, ValueError):
        return 0
