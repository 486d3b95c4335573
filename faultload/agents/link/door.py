"""Who may use the link proxy's control interface: callers with its token, by a loopback name, and no web page."""

from __future__ import annotations

import hmac
import os
import re
import secrets
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

LEAST = 16
"""Characters that a token has at least: nobody tries that many."""
SCHEME = "Bearer "
_LOOPBACK = re.compile(r"(localhost|127(\.[0-9]{1,3}){3}|\[::1\])(:[0-9]{1,5})?", re.IGNORECASE)


class Door:
    """Holds a token, and looks at every request before anything is done."""

    def __init__(self, token: str) -> None:
        self._token = token.encode()

    def refusal(self, headers: Sequence[tuple[str, str]]) -> tuple[int, str] | None:
        """Status and reason for a request that may not pass; None for one that may. Names are in lower case.

        A web page can send requests here: its browser names the page in Origin, and where the page's own name was
        made to lead here (DNS rebinding), Host is that name.
        """
        hosts = [value for name, value in headers if name == "host"]
        if len(hosts) != 1 or not _LOOPBACK.fullmatch(hosts[0]):
            named = f"not {hosts[0]!r}" if len(hosts) == 1 else f"but {len(hosts)} were given"
            return 403, f"one Host is needed, 127.0.0.1, [::1] or localhost, {named}"
        if any(name == "origin" for name, _ in headers):
            return 403, "web pages may not use this interface: Origin was given"
        given = [value for name, value in headers if name == "authorization"]
        if len(given) != 1 or not given[0].startswith(SCHEME):
            return 401, "the proxy's token is missing"
        if not hmac.compare_digest(given[0].removeprefix(SCHEME).strip().encode(), self._token):
            return 401, "this is not the proxy's token"
        return None


def new_token() -> str:
    """A token that nobody guesses: 128 random bits."""
    return secrets.token_hex(16)


def token_problem(token: object) -> str | None:
    """What is wrong with a token, in words; None for a good one."""
    if not isinstance(token, str) or len(token) < LEAST or not token.isascii() or not token.isprintable():
        return f"must be {LEAST} or more ASCII characters, such as `openssl rand -hex 16` prints"
    return "must not hold spaces" if " " in token else None


# -- the token of a proxy whose configuration has none


def kept_token_file(port: int) -> Path:
    """Where the proxy with this control port keeps a token that it made: in the state folder of its user."""
    home = os.environ.get("XDG_STATE_HOME")
    base = Path(home) if home else Path.home() / ".local" / "state"
    return base / "faultload" / "proxies" / f"{port}.token"


def kept_token(port: int) -> str | None:
    """The token that this user's proxy on a control port made for itself, or None."""
    with suppress(OSError, RuntimeError, ValueError):
        descriptor = os.open(kept_token_file(port), os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(descriptor) as file:
            if os.fstat(file.fileno()).st_uid == os.geteuid():
                return file.read(4096).strip() or None
    return None


def keep_new_token(port: int) -> tuple[str, Path]:
    """Make a token, and write it where `kept_token` finds it; only this user can read it.

    Raises OSError or RuntimeError where there is no such place.
    """
    file, token = kept_token_file(port), new_token()
    for folder in reversed(file.parents):
        if not folder.exists():
            folder.mkdir(mode=0o700, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(dir=file.parent)  # 0600
    try:
        with os.fdopen(descriptor, "w") as written:
            written.write(token + "\n")
        Path(temporary).replace(file)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    return token, file
