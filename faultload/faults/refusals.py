"""What a platform cannot do, why, and the nearest that it can."""

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
    "containers share their node's clock, and processes that of the machine: setting it would harm everybody",
    "start the service under libfaketime yourself, as a defect of a reference system",
)
_REFUSALS = {
    ("local", "scale"): Refusal(
        "nothing on a single machine starts more instances of a service by itself",
        "kill with a count, or a target on docker or kubernetes",
    ),
    ("local", "loss"): Refusal(
        "a link proxy sees bytes, not packets, and the loopback has no packets of a link alone",
        "latency with jitter_ms, or bandwidth",
    ),
    ("local", "dns_failure"): Refusal(
        "local processes share the machine's resolver", "partition of the link to what the name stands for"
    ),
    ("local", "drain_node"): Refusal("there is one machine", "terminate with a share"),
    ("docker", "drain_node"): Refusal("a single engine has no nodes", "terminate with a share"),
    ("kubernetes", "pause"): Refusal(
        "the Kubernetes API cannot freeze a container", "partition of its links: it answers nothing either"
    ),
    ("kubernetes", "io_stress"): Refusal(
        "a node's disk is that of all its pods, declared or not", "cpu_stress or memory_stress"
    ),
    ("kubernetes", "fill_disk"): Refusal(
        "a full node evicts pods, declared or not", "terminate of the pods that an eviction would end"
    ),
    **{(platform, "clock_skew"): _CLOCK for platform in ("local", "docker", "kubernetes")},
}
