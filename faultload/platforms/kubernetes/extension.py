"""Calls actions of chaostoolkit-kubernetes on our cluster, and makes sure they cannot fail silently."""

from __future__ import annotations

import importlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from faultload.errors import TargetError
from faultload.platforms.kubernetes.client import api_client, asking
from faultload.spec.target import TargetFile

_one_at_a_time = threading.Lock()


@contextmanager
def actions(target: TargetFile, module: str, what: str) -> Iterator[Any]:
    """The actions of a module such as `pod.actions`, through a client of the target's own context.

    The extension makes its client from KUBECONFIG by itself: it would take http://localhost where that names
    several files, and change settings of every client of the process. While the block runs, it is given ours.
    Raises TargetError for what the actions raise.
    """
    from chaoslib.exceptions import ActivityFailed

    found: Any = importlib.import_module(f"chaosk8s.{module}")
    with _one_at_a_time:
        own = found.create_k8s_api_client
        found.create_k8s_api_client = lambda secrets=None: api_client(target)
        try:
            with asking(what):
                yield found
        except ActivityFailed as error:
            raise TargetError(f"could not {what}: {' '.join(str(error).split())}") from None
        finally:
            found.create_k8s_api_client = own
