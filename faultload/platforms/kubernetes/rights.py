"""What a fault needs from a cluster: rights for inject and undo, API versions, privileged helper pods."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol, TypeGuard

from faultload.spec.target import TargetFile


@dataclass(frozen=True, slots=True)
class Right:
    """One verb on one kind of object: in the namespaces of the services, or in the cluster as a whole.

    `resource` may name a subresource: `pods/exec`. `group` is "" for the core API.
    """

    verb: str
    resource: str
    group: str = ""
    cluster: bool = False
    name: str = ""
    """Only of the object of this name; any when empty."""

    def __str__(self) -> str:
        what = f"{self.resource}.{self.group}" if self.group else self.resource
        return f"{self.verb} {what}{f' {self.name}' if self.name else ''}"


@dataclass(frozen=True, slots=True)
class Demands:
    """What a fault needs; `helper` says that it runs a privileged pod beside the instance.

    `served` are kinds of objects that the API must serve, as `networking.k8s.io/v1 networkpolicies`; for a
    subresource of a group of its own, that comes last: `v1 pods/eviction policy/v1`.
    """

    rights: tuple[Right, ...] = ()
    served: tuple[str, ...] = ()
    helper: bool = False


def rights(
    verbs: str, resource: str, group: str = "", *, cluster: bool = False, name: str = ""
) -> tuple[Right, ...]:
    """Several verbs on one kind of object: `rights("get list", "pods")`."""
    return tuple(Right(verb, resource, group, cluster, name) for verb in verbs.split())


LOOK = (*rights("list", "pods"), Right("get", "namespaces", cluster=True, name="kube-system"))
"""What every run needs: the services' pods, and the cluster's identity."""
EXEC = rights("get create", "pods/exec")
"""What running a command in a container needs; which verb is asked for depends on the cluster's version."""
HELPER = (*rights("get list create delete", "pods"), *rights("get", "pods/log"), *EXEC)
"""What starting, hearing, telling and removing a helper pod needs, in the namespace that helpers run in."""


class Demanding(Protocol):
    """A fault on Kubernetes: it says beforehand what it needs of the cluster, for inject and for undo."""

    @classmethod
    def demands(cls, target: TargetFile) -> Demands: ...


def demanding(fault: type) -> TypeGuard[type[Demanding]]:
    """Whether a fault's class says what it needs."""
    return hasattr(fault, "demands")


def merged(demands: Iterable[Demands]) -> Demands:
    """What several faults need together."""
    every = list(demands)
    return Demands(
        tuple(dict.fromkeys(right for one in every for right in one.rights)),
        tuple(dict.fromkeys(kind for one in every for kind in one.served)),
        any(one.helper for one in every),
    )
