"""HTTP/1 in the link proxy: finds where messages begin and end, and answers requests with errors.

Framing follows RFC 9112, sections 6 and 7. What does not look like HTTP/1 (TLS, HTTP/2, an upgraded connection)
is passed on as it is and never answered here.
"""

from __future__ import annotations

import random
import re
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http import HTTPStatus
from typing import NamedTuple

HEAD_LIMIT = 64 * 1024
_LINE_LIMIT = 4096
_HEAD_END = re.compile(rb"\r?\n\r?\n")
_REQUEST_START = re.compile(rb"\r\Z|(?:\r?\n)?[!#$%&'*+.^_`|~0-9A-Za-z-]{0,32}(?: |\Z)")
_REQUEST_LINE = re.compile(rb"(?:\r?\n)?(\S+) \S+ HTTP/1\.([01])\r?\n")
_STATUS_LINE = re.compile(rb"HTTP/1\.[01] (\d{3})[ \r\n]")
_LENGTH = re.compile(rb"\ncontent-length[ \t]*:[ \t]*([^\r\n]*)", re.IGNORECASE)
_ENCODING = re.compile(rb"\ntransfer-encoding[ \t]*:[ \t]*([^\r\n]*)", re.IGNORECASE)
_CONNECTION = re.compile(rb"\nconnection[ \t]*:[ \t]*([^\r\n]*)", re.IGNORECASE)
_EXPECT = re.compile(rb"\nexpect[ \t]*:[ \t]*100-continue", re.IGNORECASE)

_OPENINGS = ((re.compile(rb"\x16\x03[\x00-\x04]"), "TLS"), (re.compile(rb"PRI \* HTTP/2"), "HTTP/2"))
"""How connections begin on which no request can be answered here: RFC 8446, section 5.1; RFC 9113, section 3.4."""

CHUNKED = -1
UNTIL_CLOSE = -2


def foreign(first: bytes) -> str | None:
    """What a connection speaks that is not HTTP/1, by its client's first bytes; None where that cannot be told."""
    return next((name for opening, name in _OPENINGS if opening.match(first)), None)


class NotHttpError(Exception):
    """What passes is not HTTP/1, or no longer; `rest` are the bytes that were not cut into pieces."""

    def __init__(self, rest: bytes) -> None:
        super().__init__("not HTTP/1")
        self.rest = rest


class Piece(NamedTuple):
    """A part of a message: its whole head, or some of its body; `last` ends the message."""

    data: bytes
    is_head: bool
    last: bool


class Framer:
    """Cuts one direction of a connection into messages.

    `body_of` says from a head how many bytes of body follow, or CHUNKED, or UNTIL_CLOSE; it raises ValueError
    for what it cannot tell.
    """

    def __init__(self, start: re.Pattern[bytes], body_of: Callable[[bytes], int]) -> None:
        self.partial = b""
        self._start = start
        self._body_of = body_of
        self._left = 0
        self._in_body = False
        self._chunk: Callable[[bytes, int], int] | None = None
        self._line = b""

    def feed(self, data: bytes) -> Iterator[Piece]:
        """The pieces that more bytes complete; the begin of a head is kept in `partial`."""
        at = 0
        while at < len(data):
            if self._in_body:
                end = self._body_end(data, at)
                if not self._in_body or end > at:
                    yield Piece(data[at:end], False, not self._in_body)
                at = end
                continue
            head = self.partial + data[at:]
            found = _HEAD_END.search(head, max(0, len(self.partial) - 3))
            if found is None:
                if len(head) > HEAD_LIMIT or not self._start.match(head):
                    raise NotHttpError(head)
                self.partial = head
                return
            at += found.end() - len(self.partial)
            self.partial = b""
            try:
                self._left = self._body_of(head[: found.end()])
            except ValueError:
                raise NotHttpError(head) from None
            self._in_body = self._left != 0
            self._chunk = self._size_line if self._left == CHUNKED else None
            yield Piece(head[: found.end()], True, not self._in_body)

    def _body_end(self, data: bytes, at: int) -> int:
        """Where the part of the body ends that these bytes hold; `_in_body` is cleared at its end."""
        if self._left == UNTIL_CLOSE:
            return len(data)
        if self._chunk is None:
            end = min(len(data), at + self._left)
            self._left -= end - at
            self._in_body = self._left > 0
            return end
        start = at
        while at < len(data) and self._in_body:
            try:
                at = self._chunk(data, at)
            except ValueError:
                self._in_body = False
                raise NotHttpError(data[start:]) from None
        return at

    def _size_line(self, data: bytes, at: int) -> int:
        line, at = self._read_line(data, at)
        if line is not None:
            size = int(line.partition(b";")[0].strip(), 16)
            if size < 0:
                raise ValueError("a chunk of negative size")
            # what ends a chunk is one line break, which counts as a line of its own
            self._left, self._chunk = size, self._chunk_data if size else self._trailer
        return at

    def _chunk_data(self, data: bytes, at: int) -> int:
        end = min(len(data), at + self._left)
        self._left -= end - at
        if self._left == 0:
            self._chunk = self._chunk_end
        return end

    def _chunk_end(self, data: bytes, at: int) -> int:
        line, at = self._read_line(data, at)
        if line is not None:
            if line.strip():
                raise ValueError("a chunk is longer than it says")
            self._chunk = self._size_line
        return at

    def _trailer(self, data: bytes, at: int) -> int:
        line, at = self._read_line(data, at)
        if line is not None and not line.strip():
            self._in_body = False
        return at

    def _read_line(self, data: bytes, at: int) -> tuple[bytes | None, int]:
        end = data.find(b"\n", at)
        self._line += data[at : end + 1 if end >= 0 else len(data)]
        if len(self._line) > _LINE_LIMIT:
            raise ValueError("a line that does not end")
        if end < 0:
            return None, len(data)
        line, self._line = self._line, b""
        return line, end + 1


@dataclass(slots=True)
class Errors:
    """How the requests of a pair are answered with an error: which share of them, and by which status."""

    share: float
    status: int
    chance: random.Random

    @property
    def all(self) -> bool:
        return self.share >= 1.0

    def strikes(self) -> bool:
        return self.all or self.chance.random() < self.share


@dataclass(slots=True)
class _Awaited:
    """An answer that is still to come, in the order of requests: the server's, or our own with a status."""

    method: bytes
    status: int | None = None
    whole: bool = False
    """The request has been read to its end."""
    close: bool = False

    def answer(self) -> bytes:
        assert self.status is not None
        try:
            reason = HTTPStatus(self.status).phrase
        except ValueError:
            reason = "Error"
        body = f"{self.status} {reason}: injected fault http_error\n".encode()
        lines = [
            f"HTTP/1.1 {self.status} {reason}",
            "content-type: text/plain; charset=utf-8",
            f"content-length: {len(body)}",
            "x-faultload: http_error",
            *(["connection: close"] if self.close else []),
        ]
        return "\r\n".join([*lines, "", ""]).encode() + (b"" if self.method == b"HEAD" else body)


class Exchange:
    """The requests and answers of one connection.

    Every message is followed from the first byte on, so that a fault finds the boundaries of a connection that
    has been open for long. A request whose first bytes have passed already passes as a whole.
    """

    def __init__(self, errors: Callable[[], Errors | None]) -> None:
        self._errors = errors
        self._awaited: deque[_Awaited] = deque()
        self._requests = Framer(_REQUEST_START, _request_body)
        self._answers = Framer(re.compile(b""), self._answer_body)
        self._asked_blindly = False
        self._answered_blindly = False
        self._deaf = False
        """The last request has been taken: what the client sends after it is thrown away."""
        self._begun = 0
        """Bytes of the request's head at hand that the server has already."""
        self._told = 0
        """Bytes of the answer's head at hand that the client has already."""
        self._ours: _Awaited | None = None
        self.over = False
        """The last answer has been given."""

    def from_client(self, data: bytes) -> bytes:
        """What of the client's bytes the server gets."""
        if self._deaf:
            return b""
        if self._asked_blindly:
            return self._held() + data
        out: list[bytes] = []
        try:
            for piece in self._requests.feed(data):
                self._take_request(piece, out)
                if self._deaf:
                    return b"".join(out)
            if self._requests.partial and (self._errors() is None or self._begun):
                out.append(self._requests.partial[self._begun :])
                self._begun = len(self._requests.partial)
        except NotHttpError as error:
            if self._ours is not None and not self._ours.whole:
                self._ours.whole = self._ours.close = self._deaf = True
            else:
                out.append(error.rest[self._begun :])
                self._asked_blindly = True
                self._answered_blindly = not self._awaited
            self._requests.partial, self._begun = b"", 0
        return b"".join(out)

    def _take_request(self, piece: Piece, out: list[bytes]) -> None:
        if piece.is_head:
            begun, self._begun = self._begun, 0
            errors = self._errors()
            match = _REQUEST_LINE.match(piece.data)
            assert match is not None
            awaited = _Awaited(match[1])
            self._ours = None
            if errors is not None and not begun and errors.strikes():
                self._ours = awaited
                awaited.status = errors.status
                said = _CONNECTION.search(piece.data)
                awaited.close = match[2] == b"0" or (said is not None and b"close" in said[1].lower())
                if _EXPECT.search(piece.data):
                    # the client may or may not send its body now: nobody could tell where the next request begins
                    awaited.close = awaited.whole = True
            else:
                out.append(piece.data[begun:])
            self._awaited.append(awaited)
        elif self._ours is None:
            out.append(piece.data)
        if self._ours is not None:
            self._ours.whole = self._ours.whole or piece.last
            self._deaf = self._ours.whole and self._ours.close

    def client_ended(self) -> bytes:
        """What the server still has to get before the end of the client's bytes."""
        return b"" if self._deaf else self._held()

    def _held(self) -> bytes:
        held, self._requests.partial, self._begun = self._requests.partial[self._begun :], b"", 0
        return held

    def own_answers(self) -> bytes:
        """Our own answers whose turn it is."""
        out = []
        while self._awaited and self._awaited[0].status is not None and self._awaited[0].whole and not self.over:
            awaited = self._awaited.popleft()
            out.append(awaited.answer())
            self.over = awaited.close
        return b"".join(out)

    def from_server(self, data: bytes) -> bytes:
        """What the client gets, our own answers in their places. Raises ConnectionResetError."""
        if self._answered_blindly:
            return data
        out: list[bytes] = []
        try:
            for piece in self._answers.feed(data):
                if piece.is_head:
                    out.append(piece.data[self._told :])
                    self._told = 0
                    if piece.last and _is_interim(piece.data):
                        continue
                else:
                    out.append(piece.data)
                if piece.last:
                    self._awaited.popleft()
                    out.append(self.own_answers())
            out.append(self._answers.partial[self._told :])
            self._told = len(self._answers.partial)
        except NotHttpError as error:
            if any(awaited.status is not None for awaited in self._awaited):
                raise ConnectionResetError("the server no longer speaks HTTP/1") from None
            self._asked_blindly = self._answered_blindly = True
            out.append(error.rest[self._told :])
            self._answers.partial, self._told = b"", 0
        return b"".join(out)

    def outlives_server(self) -> bool:
        """Whether the connection goes on after the server has ended it: nothing of the server is awaited."""
        errors = self._errors()
        if self._answered_blindly or self._asked_blindly or errors is None or self.over:
            return False
        if any(awaited.status is None for awaited in self._awaited) or not (self._awaited or errors.all):
            return False
        if not errors.all:
            self._awaited[-1].close = self._deaf = True
        return True

    def _answer_body(self, head: bytes) -> int:
        match = _STATUS_LINE.match(head)
        if match is None or not self._awaited or self._awaited[0].status is not None:
            raise ValueError("an answer nobody is waiting for")
        status, method = int(match[1]), self._awaited[0].method
        if status == 101 or (method == b"CONNECT" and 200 <= status < 300):
            raise ValueError("another protocol from here on")
        if method == b"HEAD" or status < 200 or status in (204, 304):
            return 0
        return _body_length(head, UNTIL_CLOSE)


def _is_interim(head: bytes) -> bool:
    return head[9:10] == b"1"


def _request_body(head: bytes) -> int:
    if _REQUEST_LINE.match(head) is None:
        raise ValueError("not a request")
    return _body_length(head, 0)


def _body_length(head: bytes, without: int) -> int:
    encoding = _ENCODING.search(head)
    if encoding is not None:
        if encoding[1].strip().lower().endswith(b"chunked"):
            return CHUNKED
        if without != UNTIL_CLOSE:
            raise ValueError("a body of unknown length")
        return UNTIL_CLOSE
    lengths = {found.strip() for found in _LENGTH.findall(head)}
    if not lengths:
        return without
    [length] = lengths
    if not length.isdigit():
        raise ValueError("a length that is not a number")
    return int(length)
