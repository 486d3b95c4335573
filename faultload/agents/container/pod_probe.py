"""Asks servers over open and new connections, and reports which ones answer.

Runs in a client's container, which is given this file's text by `python3 -c`: so it needs nothing but the
standard library of Python 3.8 or newer. Arguments: what the servers speak, then their addresses, HOST:PORT.
It connects, prints `{"open": N}`, and for each line on its input looks at all of them and prints what it saw.
"""

from __future__ import annotations

import json
import signal
import socket
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any

TIMEOUT_S = 1.0
_LONGEST_S = 120
"""It ends by itself, should nobody close its input."""
QUESTIONS = {
    "http": b"HEAD /health HTTP/1.1\r\nHost: probe\r\n\r\n",
    "postgres": bytes.fromhex("0000000804d2162f"),
}
"""What a server answers without a login: a HEAD request, PostgreSQL's SSLRequest packet."""


def connect(address: str) -> Any:
    """A connection, or None when none is made in time."""
    host, _, port = address.rpartition(":")
    try:
        return socket.create_connection((host, int(port)), TIMEOUT_S)
    except OSError:
        return None


def answers(connection: Any, protocol: str) -> bool | None:
    """Whether the far side answers over a connection; None where nothing can be asked."""
    question = QUESTIONS.get(protocol)
    if question is None:
        return None
    try:
        connection.settimeout(TIMEOUT_S)
        connection.sendall(question)
        return bool(connection.recv(4096))
    except OSError:
        return False


def reached(address: str, protocol: str) -> bool:
    """Whether a server answers over a new connection; where nothing can be asked, whether it accepts one."""
    connection = connect(address)
    if connection is None:
        return False
    with connection:
        return answers(connection, protocol) is not False


def look(held: dict[str, Any], addresses: list[str], protocol: str) -> dict[str, list[str]]:
    """The servers that answer over the connections held open, and over new ones."""
    with ThreadPoolExecutor(2 * len(addresses)) as pool:
        old = {address: pool.submit(answers, connection, protocol) for address, connection in held.items()}
        new = {address: pool.submit(reached, address, protocol) for address in addresses}
        return {
            "held": sorted(held),
            "established": sorted(address for address, found in old.items() if found.result()),
            "new": sorted(address for address, found in new.items() if found.result()),
        }


def main(argv: list[str]) -> int:
    protocol, *addresses = argv
    held = {}
    for address in addresses:
        connection = connect(address)
        # a server that closes after each answer cannot be asked again: a second question shows it
        if connection is not None and answers(connection, protocol):
            again = answers(connection, protocol)
            connection = connection if again else connect(address)
        if connection is not None:
            held[address] = connection
    print(json.dumps({"open": len(held)}), flush=True)
    signal.alarm(_LONGEST_S)
    for _ in sys.stdin:
        print(json.dumps(look(held, addresses, protocol)), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
