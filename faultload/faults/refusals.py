"""What each platform cannot do, why, and the closest alternative."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a platform has no such fault, and what to use instead."""

    why: str
    instead: str


def refusal(platform: str, word: str) -> Refusal | None:
    """The refusal of a word on a platform, or None where nothing is known of it."""
    return _REFUSALS.get((platform, word))


_CLOCK = Refusal(
    "containers share the node's clock and processes share the machine's, so setting it would hit everyone",
    "start the service under libfaketime yourself",
)
_REFUSALS = {
    ("local", "scale"): Refusal(
        "nothing on a single machine starts more instances of a service",
        "kill with a count, or a target on docker or kubernetes",
    ),
    ("local", "loss"): Refusal(
        "a link proxy sees bytes, not packets, and the loopback carries every link",
        "latency with jitter_ms, or bandwidth",
    ),
    ("local", "dns_failure"): Refusal(
        "local processes share the machine's resolver", "partition of the link to the named service"
    ),
    ("local", "drain_node"): Refusal("there is only one machine", "terminate with a share"),
    ("docker", "drain_node"): Refusal("a single engine has no nodes", "terminate with a share"),
    ("kubernetes", "pause"): Refusal(
        "the Kubernetes API cannot freeze a container", "partition of its links, which silences it too"
    ),
    ("kubernetes", "io_stress"): Refusal(
        "all pods on a node share its disk, declared or not", "cpu_stress or memory_stress"
    ),
    ("kubernetes", "fill_disk"): Refusal(
        "a node with a full disk evicts pods, declared or not", "terminate of the pods that would be evicted"
    ),
    **{(platform, "clock_skew"): _CLOCK for platform in ("local", "docker", "kubernetes")},
}
