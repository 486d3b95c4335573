"""The forms in which a text appears once programs have passed it on: escaped, URL-encoded, as hex or base64."""

from __future__ import annotations

import base64
import html
import json
import re
from collections.abc import Iterator
from urllib.parse import quote, quote_plus

_SHORT_ESCAPES = {"\n": "n", "\r": "r", "\t": "t", "\b": "b", "\f": "f"}
_BASE64 = re.compile(r"[A-Za-z0-9+/_=-]")
_ESCAPE = r"\\\\{0,6}"
"""What escapes a character: one backslash, three inside of JSON in JSON, and so on."""
_BLOB = 512
"""Characters of base64 around a secret that are taken away with it, at each side."""

_LONGEST_BYTE = 12
"""Characters of one byte of a text: seven backslashes and u0041."""


class Spellings:
    """Finds a text in all its forms, whatever mixture of escapes they use."""

    def __init__(self, text: str) -> None:
        self.text = text
        data = text.encode(errors="surrogateescape")
        self._escaped = re.compile("".join(map(_character, text)))
        self._hex = re.compile("".join(_any_case(f"{byte:02x}") for byte in data))
        whole = base64.b64encode(data).decode().rstrip("=")
        self._whole_base64 = re.compile(_spelled_base64(whole) + "(?:=|%3[dD]){0,2}")
        self._base64 = re.compile("|".join(map(_spelled_base64, _cores(data))))
        self.reach = _LONGEST_BYTE * len(data) + 2 * _BLOB
        """Characters of its longest form, with what is taken away around it."""

    def replace(self, text: str, mark: str) -> str:
        """The text with every form replaced by a mark."""
        for pattern in (self._escaped, self._hex, self._whole_base64):
            text = pattern.sub(lambda _: mark, text)
        parts, after = [], 0
        for found in self._base64.finditer(text):
            start, end = _blob(text, *found.span(), after)
            if end > after:
                parts += [text[after:start], mark]
                after = end
        return "".join([*parts, text[after:]])

    def spans(self, text: str) -> Iterator[tuple[int, int]]:
        """Where its forms are, in no order."""
        for pattern in (self._escaped, self._hex, self._whole_base64):
            yield from (found.span() for found in pattern.finditer(text))
        yield from (_blob(text, *found.span(), 0) for found in self._base64.finditer(text))

    def usual(self) -> Iterator[str]:
        """The forms that clients make of a whole text, itself first."""
        data = self.text.encode(errors="surrogateescape")
        yield self.text
        yield quote(self.text, safe="", errors="replace")
        yield quote(self.text, errors="replace")
        yield quote_plus(self.text, errors="replace")
        yield data.hex()
        yield data.hex().upper()
        for encoded in (base64.b64encode(data).decode(), base64.urlsafe_b64encode(data).decode()):
            yield encoded
            yield encoded.rstrip("=")
        yield json.dumps(self.text)[1:-1]
        yield repr(data)[2:-1]
        yield html.escape(self.text)


def _character(character: str) -> str:
    """A pattern for one character, as JSON, Python, URLs and HTML write it, once or twice over."""
    data = character.encode(errors="surrogateescape")
    forms = [re.escape(character)]
    forms.append("".join(f"%(?:25)?{_any_case(f'{byte:02x}')}" for byte in data))
    if not character.isalnum():
        forms.append(_ESCAPE + re.escape(character))
    if character in _SHORT_ESCAPES:
        forms.append(_ESCAPE + _SHORT_ESCAPES[character])
    if character == " ":
        forms.append(r"\+")
    units = character.encode("utf-16-be", errors="surrogatepass")
    forms.append("".join(rf"{_ESCAPE}u{_any_case(units[at : at + 2].hex())}" for at in range(0, len(units), 2)))
    forms.append("".join(rf"{_ESCAPE}x{_any_case(f'{byte:02x}')}" for byte in data))
    code = ord(character)
    if 0x80 <= code <= 0xFF:
        forms.append(rf"{_ESCAPE}x{_any_case(f'{code:02x}')}")
    if code > 0xFFFF:
        forms.append(rf"{_ESCAPE}U{_any_case(f'{code:08x}')}")
    forms.append(f"&#(?:0*{code}|[xX]0*{_any_case(f'{code:x}')});")
    if (named := html.escape(character)) != character:
        forms.append(re.escape(named))
    if character == "\\":
        forms[0] = _ESCAPE
    return f"(?:{'|'.join(dict.fromkeys(forms))})"


def _any_case(digits: str) -> str:
    return "".join(f"[{digit}{digit.upper()}]" if digit.isalpha() else digit for digit in digits)


def _cores(data: bytes) -> Iterator[str]:
    """What base64 holds of some bytes alone, wherever they begin: `Basic` has a name before them.

    A digit stands for 6 bits, so bytes begin at one of three places in a group (RFC 4648, section 4).
    """
    for before in range(3):
        encoded = base64.b64encode(bytes(before) + data).decode()
        yield encoded[-(-8 * before // 6) : 8 * (before + len(data)) // 6]


def _spelled_base64(core: str) -> str:
    """A pattern for both alphabets, also where a URL or JSON escaped their signs."""
    signs = {"+": r"(?:[+-]|%2[bB])", "/": r"(?:[/_]|\\/|%2[fF])"}
    return "".join(signs.get(sign, sign) for sign in core)


def _blob(text: str, start: int, end: int, after: int) -> tuple[int, int]:
    """The whole run of base64 around a part of it: the rest of its ends would still tell something."""
    least, most = max(after, start - _BLOB), min(len(text), end + _BLOB)
    while start > least and _BASE64.match(text, start - 1):
        start -= 1
    while end < most and _BASE64.match(text, end):
        end += 1
    padding = re.compile(r"(?:%3[dD]){1,2}").match(text, end)
    return start, padding.end() if padding else end
