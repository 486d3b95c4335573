"""A database member in a container: PostgreSQL and its Patroni, configured from the environment.

`MEMORY_MEMBER` (the host's name when left out) is the member's name and how the others reach it;
`MEMORY_PASSWORD` the database's password. `MEMORY_RAFT` lists all voters as HOST:PORT,... when the members elect
their leader among themselves; without it Patroni's own variables (PATRONI_KUBERNETES_...) say where. With `--voter`
nothing but a vote: the third one that a majority needs.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from faultload.host.private import write_text
from faultload.reference.kit import patroni
from faultload.reference.kit.settings import Address, addresses

DATA = Path("/var/lib/memory")
SQL_PORT = 5432
REST_PORT = 8008
PARTNERS_WAIT_S = 5.0


def main(schema: str) -> None:
    """Write the configuration and become Patroni, or a voter. `schema` is SQL; {password} in it is filled in."""
    parser = argparse.ArgumentParser(prog="member")
    parser.add_argument("--voter", action="store_true")
    voter = parser.parse_args().voter
    env = os.environ
    name = env.get("MEMORY_MEMBER") or socket.gethostname()
    settings = {"raft": raft(name, env)} if "MEMORY_RAFT" in env else {}
    if voter:
        settings |= {"log": {"level": "WARNING"}}
    else:
        settings = member(name, env, schema) | settings
    config = write(DATA / "patroni.json", json.dumps(settings, indent=1))
    if "raft" in settings:
        wait_for_partners(addresses(",".join(partners_first(settings["raft"]))))
    program = ("-c", "from patroni.raft_controller import main; main()") if voter else ("-m", "patroni")
    os.execv(sys.executable, [sys.executable, *program, str(config)])


def member(name: str, env: Mapping[str, str], schema: str) -> dict[str, Any]:
    """The Patroni configuration of a member, with its schema file written."""
    password = env["MEMORY_PASSWORD"]
    host = env.get("MEMORY_ADDRESS", name)
    place = patroni.Place(
        name=name,
        sql=f"{host}:{SQL_PORT}",
        rest=f"{host}:{REST_PORT}",
        data_dir=DATA / "data",
        pgpass=DATA / ".pgpass",
        schema=write(DATA / "schema.sql", schema.format(password=password)),
        clients="all",
        listen_sql=f"0.0.0.0:{SQL_PORT}",
        listen_rest=f"0.0.0.0:{REST_PORT}",
    )
    defects = env.get("MEMORY_DEFECTS", "").replace(",", " ").split()
    return patroni.member_settings(place, password, synchronous="async-replication" not in defects)


def raft(name: str, env: Mapping[str, str]) -> dict[str, Any]:
    """The embedded store. Names are looked up again after `ttl`: a container that comes back may have moved."""
    voters = [f"{host}:{port}" for host, port in addresses(env["MEMORY_RAFT"])]
    mine = next(voter for voter in voters if voter.rsplit(":", 1)[0] == name)
    return {
        "data_dir": str(DATA / "raft"),
        "self_addr": mine,
        "bind_addr": "0.0.0.0:" + mine.rsplit(":", 1)[1],
        "partner_addrs": [voter for voter in voters if voter != mine],
        "ttl": 5,
        "loop_wait": 1,
    }


def partners_first(settings: Mapping[str, Any]) -> list[str]:
    """The voters that this one connects to, which are those with a lower address; the others connect to it."""
    return [other for other in settings["partner_addrs"] if other < settings["self_addr"]]


def wait_for_partners(partners: tuple[Address, ...]) -> None:
    """Wait a little until they listen: a voter that finds nobody tries again after 5 s only."""
    deadline = time.monotonic() + PARTNERS_WAIT_S
    for address in partners:
        while time.monotonic() < deadline:
            try:
                socket.create_connection(address, timeout=0.5).close()
            except OSError:
                time.sleep(0.1)
            else:
                break


def write(path: Path, text: str) -> Path:
    """A file that only its owner reads."""
    return write_text(path, text)
