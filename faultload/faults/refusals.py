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
    ("kubernetes", "isolate"): Refusal(
        "a helper there works on one link at a time", "partition of each link of the service, with `overlap`"
    ),
    ("kubernetes", "loss"): Refusal(
        "no helper drops packets of a pod's links there", "latency with jitter_ms, or a target on docker"
    ),
    ("kubernetes", "bandwidth"): Refusal("no helper limits a pod's links there", "latency, or a target on docker"),
    ("kubernetes", "reset_connections"): Refusal(
        "no helper resets a pod's connections there", "kill of the server: its connections end too"
    ),
    ("kubernetes", "http_error"): Refusal(
        "no helper answers a pod's requests there", "partition of the link, or a target on docker"
    ),
    ("kubernetes", "dns_failure"): Refusal(
        "names are looked up through the cluster's own DNS, which everybody in it shares",
        "partition of the link to what the name stands for",
    ),
    ("kubernetes", "io_stress"): Refusal(
        "all pods on a node share its disk, declared or not", "cpu_stress or memory_stress"
    ),
    ("kubernetes", "fill_disk"): Refusal(
        "a node with a full disk evicts pods, declared or not", "terminate of the pods that would be evicted"
    ),
    **{(platform, "clock_skew"): _CLOCK for platform in ("local", "docker", "kubernetes")},
}
