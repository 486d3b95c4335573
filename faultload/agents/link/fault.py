"""The faults of a link in the link proxy: the parameters of each kind, and which faults are open."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Kind = Literal["partition", "latency", "bandwidth", "reset_connections", "http_error"]


class BadFaultError(ValueError):
    """A fault that the proxy cannot do, in words for its caller."""


@dataclass(slots=True)
class Fault:
    """One open fault of a link; `pairs` are the instance pairs that it disturbs."""

    id: str
    kind: Kind
    params: dict[str, Any]
    pairs: frozenset[str]
    expires_at: float
    cancel_expiry: Callable[[], None] = field(default=lambda: None)

    def to_json(self, now: float) -> dict[str, Any]:
        return {
            "id": self.id,
            "kind": self.kind,
            "params": self.params,
            "pairs": sorted(self.pairs),
            "expires_in_s": round(max(0.0, self.expires_at - now), 3),
        }


def read_fault(fault_id: str, body: Mapping[str, Any], pairs: frozenset[str], now: float) -> Fault:
    """A fault from a request body. Raises BadFaultError."""
    unknown = set(body) - {"kind", "params", "expires_s", "pairs"}
    if unknown:
        raise BadFaultError(f"unknown: {', '.join(sorted(unknown))}")
    kind = body.get("kind")
    if kind not in _PARAMS:
        raise BadFaultError(f"kind must be one of {', '.join(_PARAMS)}, not {kind!r}")
    given = body.get("params") or {}
    allowed = _PARAMS[kind]
    if not isinstance(given, dict) or set(given) - set(allowed):
        raise BadFaultError(f"params of {kind} are {', '.join(allowed) or 'none'}")
    params = {name: given.get(name, default) for name, default in allowed.items()}
    for name, value in params.items():
        _check(kind, name, value)
    expires_s = body.get("expires_s")
    if isinstance(expires_s, bool) or not isinstance(expires_s, int | float) or not 0 < expires_s <= 86400:
        raise BadFaultError("expires_s is required: seconds, above 0 and at most 86400")
    chosen = frozenset(body["pairs"]) if body.get("pairs") is not None else pairs
    if not chosen or chosen - pairs:
        raise BadFaultError(f"pairs are {', '.join(sorted(pairs))}")
    return Fault(fault_id, kind, params, chosen, now + expires_s)


_PARAMS: dict[str, dict[str, Any]] = {
    "partition": {"mode": "drop", "on_heal": "deliver"},
    "latency": {"delay_ms": None, "jitter_ms": 0},
    "bandwidth": {"bytes_per_s": None},
    "reset_connections": {},
    "http_error": {"share": 1.0, "status": 503, "seed": 1},
}
_WORDS = {"mode": ("drop", "refuse", "reset"), "on_heal": ("deliver", "reset")}


def _check(kind: str, name: str, value: Any) -> None:
    if name in _WORDS:
        if value not in _WORDS[name]:
            raise BadFaultError(f"{name} of {kind} is one of {', '.join(_WORDS[name])}, not {value!r}")
    elif isinstance(value, bool) or not isinstance(value, int | float):
        raise BadFaultError(f"{name} of {kind} is a number, not {value!r}")
    elif name == "share" and not 0 < value <= 1:
        raise BadFaultError(f"share of {kind} is above 0 and at most 1, not {value}")
    elif name == "status" and (not isinstance(value, int) or not 400 <= value <= 599):
        raise BadFaultError(f"status of {kind} is an HTTP error, 400 to 599, not {value}")
    elif value < 0 or (name == "bytes_per_s" and value < 1):
        raise BadFaultError(f"{name} of {kind} is too small: {value}")
