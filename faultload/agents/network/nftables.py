"""A fault's rules in an nftables table of their own, added and removed as a whole; other rules stay untouched.

Every rule matches through a set whose elements the kernel forgets `LEASE_S` after they were last renewed (nft(8),
"SETS"). So a fault ends with the agent that renews it, and no rule leads where nobody listens any more.
"""

from __future__ import annotations

import ipaddress
import subprocess
from collections.abc import Iterator, Mapping, Sequence

from faultload.agents.network.spec import AgentError, Flow

MARK = 0x0504
"""SO_MARK of the connections and packets that an agent makes itself."""
LEASE_S = 5.0
"""How long a rule outlives its agent; an agent on a busy machine renews it late."""
EARLY = -300
"""Before connection tracking and every address translation."""
_TIMEOUT_S = 10.0


def run(command: Sequence[str], text: str | None = None) -> str:
    """Run a program of nftables or iproute2; its output. Raises AgentError with what it said."""
    try:
        done = subprocess.run(command, input=text, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise AgentError(f"{command[0]}: {error}") from error
    if done.returncode != 0:
        said = " ".join((done.stderr or done.stdout).split())
        raise AgentError(f"{' '.join(command)}: {said or f'exit code {done.returncode}'}")
    return done.stdout


def exists(table: str) -> bool:
    """Whether our table is in this namespace."""
    return f"table inet {table}" in run(["nft", "list", "tables"]).splitlines()


def replace(table: str, body: str, *, instead_of: str | None = None) -> None:
    """Put a table there with this body, in one transaction; `instead_of` is another of ours that goes with it."""
    lines = [f"add table inet {name}\ndelete table inet {name}" for name in (table, instead_of) if name]
    run(["nft", "-f", "-"], "\n".join([*lines, f"table inet {table} {{\n{body}\n}}\n"]))


def remove(table: str) -> bool:
    """Remove our table; False when it is not there."""
    if not exists(table):
        return False
    run(["nft", "delete", "table", "inet", table])
    return True


def let_go(table: str, flows: Sequence[Flow]) -> None:
    """Forget every peer in one transaction: the rules stay, and match nothing any more.

    As long as a rule that translates is there, connections that were translated go on.
    """
    run(["nft", "-f", "-"], "".join(f"flush set inet {table} {name}\n" for name in peers_by_set(flows)))


def renew(table: str, sets: Mapping[str, Sequence[str]]) -> bool:
    """Begin the lease of every element anew, in one transaction; False when the table is gone.

    An element that is there already keeps the time that it has left, so each is put in anew.
    """
    lines = []
    for name, elements in sets.items():
        lines.append(f"flush set inet {table} {name}")
        lines.append(f"add element inet {table} {name} {{ {', '.join(elements)} }}")
    try:
        run(["nft", "-f", "-"], "\n".join([*lines, ""]))
    except AgentError:
        if exists(table):
            raise
        return False
    return True


def families(peers: Sequence[str]) -> Iterator[tuple[str, list[str]]]:
    """`4` and `6` with the addresses of each, where there are any."""
    for family in (4, 6):
        found = [peer for peer in peers if ipaddress.ip_address(peer).version == family]
        if found:
            yield str(family), found


def peers_by_set(flows: Sequence[Flow]) -> dict[str, list[str]]:
    """The addresses of each flow and family, by the names of their sets: f0v4, f0v6, f1v4..."""
    return {
        f"f{index}v{family}": peers for index, flow in enumerate(flows) for family, peers in families(flow.peers)
    }


def peer_sets(flows: Sequence[Flow]) -> str:
    """A set of addresses for each flow and family, under a lease."""
    return "\n".join(
        timed_set(name, f"ipv{name[-1]}_addr", peers, LEASE_S) for name, peers in peers_by_set(flows).items()
    )


def timed_set(name: str, kind: str, elements: Sequence[str], timeout_s: float) -> str:
    """A set whose elements the kernel forgets after a time."""
    inside = f"elements = {{ {', '.join(elements)} }}" if elements else ""
    return f"set {name} {{ type {kind}; flags timeout; timeout {max(1, round(timeout_s))}s; {inside} }}"


def matches(index: int, flow: Flow, way: str, proto: str = "{ tcp, udp }") -> Iterator[str]:
    """The packets of a flow that come `in` or go `out`, one expression for each address family."""
    at_client, coming = flow.side == "client", way == "in"
    end, face = ("saddr", "iifname") if coming else ("daddr", "oifname")
    port = "sport" if at_client == coming else "dport"
    for family, _ in families(flow.peers):
        ip = "ip" if family == "4" else "ip6"
        addresses = f"{ip} {end} @f{index}v{family}"
        yield f'{face} != "lo" {addresses} meta l4proto {proto} th {port} {flow.port}'


def chain(name: str, hook: str, priority: int, rules: Sequence[str], kind: str = "filter") -> str:
    lines = "\n".join(rules)
    return f"chain {name} {{ type {kind} hook {hook} priority {priority}; policy accept;\n{lines}\n}}"


def body(sets: str, chains: Mapping[str, str]) -> str:
    return "\n".join([sets, *chains.values()])
