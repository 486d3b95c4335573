"""The network agent: makes one fault in a network namespace, witnesses it, undoes it, and exits on its own.

`python -m faultload.agents.network.agent serve` runs in a helper that shares the namespace of a container, or in a
privileged one with `--netns PID`; the fault is JSON in FAULTLOAD_SPEC. It prepares and prints what it measured;
then it takes orders by `ask '{"do": "inject"}'` (witness, undo, state). It undoes at SIGTERM, when its time is
over, and before it ends; where it is killed, the kernel forgets its rules `nftables.LEASE_S` later. For a namespace
without an agent: `clean` removes what is left of a fault, `look BEFORE` says whether it is gone, and `kernel` what
this kernel knows.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import socket
import struct
import sys
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from types import FrameType
from typing import Any, NoReturn

from faultload.agents.network.spec import AgentError, Spec

SPEC_ENV = "FAULTLOAD_SPEC"
SOCKET = "\0faultload-agent"
IDLE_S = 60.0
"""How long an agent waits for the order to inject."""
_LINGER_S = 15.0
"""How long it still answers after it has undone."""
_LONGEST_WAIT_S = 0.5
"""A signal that comes right before a wait is seen after it (Python runs handlers between two instructions only)."""
_ASK_S = 30.0
_RENEW_EVERY_S = 1.0


class _Stop(BaseException):
    """SIGTERM or SIGINT."""


def _stop(_number: int, _frame: FrameType | None) -> NoReturn:
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    raise _Stop


class Agent:
    """One fault in this namespace, from prepared to undone."""

    def __init__(self, spec: Spec) -> None:
        from faultload.agents.network.shaped import make

        self.spec = spec
        self.fault = make(spec)
        self.state = "new"
        """new, prepared, injected, lapsed (it ended early, by somebody else), undone."""
        self.ends_at = time.monotonic() + IDLE_S
        self._keeping = threading.Lock()

    def prepare(self) -> dict[str, Any]:
        """What was measured before the fault. Raises AgentError where nothing could be, or users go another way."""
        from faultload.agents.network.segments import detours

        if past := detours(tuple(flow for flow in self.spec.flows if flow.acts)):
            raise AgentError(
                f"connections from here go to {', '.join(past)}, where the servers are published, and not to their "
                "own addresses: the fault would not be on that way"
            )
        before = self.fault.prepare()
        self.state = "prepared"
        return before

    def answer(self, order: Mapping[str, Any]) -> dict[str, Any]:
        """Do what is asked. Raises AgentError."""
        do = order.get("do")
        if do == "inject":
            self._inject()
        elif do == "witness":
            seen, what = self.fault.witness()
            return {"seen": seen, "what": what}
        elif do == "undo":
            self.undo()
            self.ends_at = min(self.ends_at, time.monotonic() + _LINGER_S)
        elif do != "state":
            raise AgentError(f"orders are inject, witness, undo and state, not {do!r}")
        return {"state": self.state, "left": self.fault.left() if self.state == "undone" else []}

    def _inject(self) -> None:
        if self.state != "prepared":
            raise AgentError(f"the agent is {self.state}: it injects once, after it prepared")
        self.ends_at = time.monotonic() + self.spec.expires_s
        self.state = "injected"
        try:
            self.fault.inject()
            if not self.fault.renew():  # whatever injecting took, the lease begins now
                raise AgentError("its rules were removed at once, by somebody else")
        except BaseException:
            self.undo()
            raise
        threading.Thread(target=self._keep, args=(time.monotonic(),), daemon=True).start()

    def _keep(self, renewed_at: float) -> None:
        """Renew the lease of the rules until they are undone. A fault whose rules were gone never comes back."""
        from faultload.agents.network.nftables import LEASE_S

        while True:
            time.sleep(_RENEW_EVERY_S)
            with self._keeping:
                if self.state != "injected":
                    return
                now = time.monotonic()
                try:
                    there = now - renewed_at < LEASE_S and self.fault.renew()
                except (AgentError, OSError):
                    continue  # the next try tells, as long as the lease lasts
                renewed_at = now
                if not there:
                    self.state = "lapsed"
                    with suppress(AgentError, OSError):  # whoever asks for the undo does it again
                        self.fault.undo()
                    return

    def undo(self) -> None:
        """Take away what was injected; at most once."""
        with self._keeping:
            if self.state in ("injected", "lapsed"):
                self.fault.undo()
            self.state = "undone"

    def serve(self, listener: socket.socket) -> None:
        """Answer until the time is over."""
        while (left_s := self.ends_at - time.monotonic()) > 0:
            listener.settimeout(min(left_s, _LONGEST_WAIT_S))
            try:
                caller, _ = listener.accept()
            except TimeoutError:
                continue
            with caller:
                if _is_mine(caller):
                    self._converse(caller)

    def _converse(self, caller: socket.socket) -> None:
        with suppress(OSError):  # a caller that went away gets no answer
            caller.settimeout(2.0)
            with caller.makefile("rwb") as stream:
                try:
                    reply = self.answer(json.loads(stream.readline()))
                except Exception as error:  # noqa: BLE001 - an agent that ends for one bad order takes its fault along
                    known = isinstance(error, AgentError | OSError | ValueError)
                    reply = {"error": str(error) if known else f"{type(error).__name__}: {error}"}
                stream.write(json.dumps(reply).encode() + b"\n")


def _is_mine(caller: socket.socket) -> bool:
    """Whether a caller runs as this very user: whoever else is in the namespace reaches the socket too."""
    _, user, _ = struct.unpack("3i", caller.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    return bool(user == os.geteuid())


def _serve(spec: Spec, address: str) -> int:
    with socket.socket(socket.AF_UNIX) as listener:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, _stop)
        agent = None
        try:
            listener.bind(_abstract(address, spec))
            agent = Agent(spec)
            before = agent.prepare()
            listener.listen(8)
            print(json.dumps({"ready": before}), flush=True)
            agent.serve(listener)
        except _Stop:
            pass
        finally:
            if agent is not None:
                agent.undo()
    return 0


def _abstract(address: str, spec: Spec) -> str:
    """An abstract socket's name belongs to the namespace: one agent a fault, and it leaves no file."""
    return f"{address}-{spec.tag}"


def _ask(address: str, spec: Spec, order: str) -> int:
    with socket.socket(socket.AF_UNIX) as asked:
        asked.settimeout(_ASK_S)
        try:
            asked.connect(_abstract(address, spec))
            with asked.makefile("rwb") as stream:
                stream.write(order.encode() + b"\n")
                stream.flush()
                reply = stream.readline().decode()
        except OSError as error:
            raise AgentError(f"the agent does not answer: {error}") from error
    if not reply:
        raise AgentError("the agent ended before it answered")
    print(reply.strip())
    return 0


def _clean(spec: Spec) -> int:
    from faultload.agents.network.shaped import make

    fault = make(spec)
    fault.undo()
    print(json.dumps({"left": fault.left()}))
    return 0


def _look(spec: Spec, before: Mapping[str, Any]) -> int:
    from faultload.agents.network.shaped import make

    fault = make(spec)
    left = fault.left()
    seen, what = (False, f"left behind: {', '.join(left)}") if left else fault.mended(dict(before))
    print(json.dumps({"seen": seen, "what": what, "left": left}))
    return 0


def _kernel() -> int:
    from faultload.agents.network import shaping

    print(json.dumps({kind: shaping.knows(kind) for kind in ("htb", "netem")}))
    return 0


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="faultload.agents.network.agent")
    parser.add_argument("do", choices=("serve", "ask", "clean", "look", "kernel"))
    parser.add_argument("more", nargs="?", default="{}", help="ask: the order; look: what was measured before")
    parser.add_argument(
        "--spec", default=os.environ.get(SPEC_ENV), help=f"the fault as JSON; {SPEC_ENV} when left out"
    )
    parser.add_argument("--netns", type=int, metavar="PID", help="in the network namespace of this process")
    parser.add_argument("--socket", default=SOCKET)
    given = parser.parse_args(argv)
    try:
        if given.netns is not None:
            from faultload.agents.network.namespace import enter

            enter(given.netns)
        if given.do == "kernel":
            return _kernel()
        if not given.spec:
            parser.error(f"give --spec or {SPEC_ENV}")
        spec = Spec.from_json(json.loads(given.spec))
        if given.netns is not None:  # the helper's own file names the servers of another network
            spec = replace(spec, resolv_conf=f"/proc/{given.netns}/root/etc/resolv.conf")
        if given.do == "serve":
            return _serve(spec, given.socket)
        if given.do == "ask":
            return _ask(given.socket, spec, given.more)
        return _clean(spec) if given.do == "clean" else _look(spec, json.loads(given.more))
    except (AgentError, OSError, ValueError, KeyError, TypeError) as error:
        print(json.dumps({"error": f"{error}"}), flush=True)
        return 1


if __name__ == "__main__":
    sys.exit(main())
