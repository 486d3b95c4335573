"""The link proxy process: one listener per instance pair of a target's links, and the faults open on them.

`faultload proxy --config FILE`; where only this package is, `python -m faultload.agents.link.proxy --config FILE`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import resource
import stat
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from faultload.agents.lifeline import die_with_parent
from faultload.agents.link.door import Door, keep_new_token, token_problem
from faultload.agents.link.fault import BadFaultError, Fault, read_fault
from faultload.agents.link.http1 import Errors
from faultload.agents.link.pair import Pair

BODY_LIMIT = 64 * 1024


class Conflict(Exception):
    """Another fault of the same kind is open on the same pairs."""


class Link:
    """The pairs of one link, and its open faults."""

    def __init__(self, name: str, pairs: list[Pair]) -> None:
        self.name = name
        self.pairs = {pair.name: pair for pair in pairs}
        self.faults: dict[str, Fault] = {}
        self._lock = asyncio.Lock()

    async def add(self, fault_id: str, body: Mapping[str, Any]) -> tuple[Fault, bool]:
        """Open a fault; the same id again changes nothing. Raises BadFaultError, Conflict."""
        loop = asyncio.get_running_loop()
        fault = read_fault(fault_id, body, frozenset(self.pairs), loop.time())
        if fault.kind == "http_error":
            silent = [name for name in sorted(fault.pairs) if self.pairs[name].settings.get("protocol") != "http"]
            if silent:
                raise BadFaultError(f"no HTTP is spoken on {', '.join(silent)}")
        async with self._lock:
            known = self.faults.get(fault_id)
            if known is not None:
                if (known.kind, known.params, known.pairs) != (fault.kind, fault.params, fault.pairs):
                    raise Conflict(f"fault {fault_id} is open with other settings")
                return known, False
            for other in self.faults.values():
                if other.kind == fault.kind != "reset_connections" and other.pairs & fault.pairs:
                    raise Conflict(f"{fault.kind} of {self.name!r} is open already as fault {other.id}")
            self.faults[fault_id] = fault
            timer = loop.call_later(fault.expires_at - loop.time(), self._expire, fault)
            fault.cancel_expiry = timer.cancel
            await self._apply(fault)
            return fault, True

    async def remove(self, fault_id: str) -> bool:
        """Undo the fault with this id; False when there is none."""
        async with self._lock:
            fault = self.faults.pop(fault_id, None)
            if fault is None:
                return False
            fault.cancel_expiry()
            await self._undo(fault)
            return True

    def _expire(self, fault: Fault) -> None:
        task = asyncio.ensure_future(self.remove(fault.id))
        fault.cancel_expiry = lambda: None
        task.add_done_callback(lambda done: done.exception())

    async def _apply(self, fault: Fault) -> None:
        pairs = [self.pairs[name] for name in sorted(fault.pairs)]
        if fault.kind == "partition":
            await asyncio.gather(*(pair.partition(fault.params["mode"]) for pair in pairs))
        for pair in pairs:
            if fault.kind == "latency":
                pair.conditions.delay_s = fault.params["delay_ms"] / 1000
                pair.conditions.jitter_s = fault.params["jitter_ms"] / 1000
            elif fault.kind == "bandwidth":
                pair.conditions.bytes_per_s = fault.params["bytes_per_s"]
            elif fault.kind == "http_error":
                chance = random.Random(f"{fault.params['seed']}:{pair.name}")
                pair.set_errors(Errors(fault.params["share"], fault.params["status"], chance))
            elif fault.kind == "reset_connections":
                pair.reset_connections()

    async def _undo(self, fault: Fault) -> None:
        pairs = [self.pairs[name] for name in sorted(fault.pairs)]
        if fault.kind == "partition":
            reset = fault.params["on_heal"] == "reset"
            await asyncio.gather(*(pair.heal(reset=reset) for pair in pairs))
        for pair in pairs:
            if fault.kind == "latency":
                pair.conditions.delay_s = pair.conditions.jitter_s = 0.0
            elif fault.kind == "bandwidth":
                pair.conditions.bytes_per_s = None
                pair.forget_budget()
            elif fault.kind == "http_error":
                pair.set_errors(None)

    def to_json(self) -> dict[str, Any]:
        now = asyncio.get_running_loop().time()
        return {
            "pairs": [pair.to_json() for pair in self.pairs.values()],
            "faults": [fault.to_json(now) for fault in self.faults.values()],
            "connections": sum(len(pair.connections) for pair in self.pairs.values()),
        }


class LinkProxy:
    """All links of a target and the HTTP interface to their faults: on loopback only, and behind a token."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        self.port = None if config.get("control") is None else int(config["control"])
        self._token: str | None = config.get("token")
        self.links = {name: Link(name, [Pair(p) for p in pairs]) for name, pairs in config["links"].items()}

    async def serve(self) -> None:
        """Listen everywhere, then answer until cancelled.

        Raises OSError when a port is taken, BadConfigError when a token can be had nowhere.
        """
        for link in self.links.values():
            for pair in link.pairs.values():
                pair.open()
        if self.port is None:
            await asyncio.Event().wait()  # links without faults: bytes pass until this process is ended
        server = await asyncio.start_server(self._converse, "127.0.0.1", self.port, start_serving=False)
        async with server:
            self._door = Door(self._token or _token_made_for(server.sockets[0].getsockname()[1]))
            await server.serve_forever()

    async def answer(self, method: str, target: str, body: bytes) -> tuple[int, Any]:
        """Status and JSON value for one request of the control interface."""
        parts = [unquote(part) for part in target.partition("?")[0].strip("/").split("/")]
        if method == "GET" and parts == ["links"]:
            return 200, {"links": {name: link.to_json() for name, link in self.links.items()}}
        if method == "GET" and parts == ["health"]:
            return 200, {"status": "ok"}
        if len(parts) != 4 or (parts[0], parts[2]) != ("links", "faults") or method not in ("PUT", "DELETE"):
            return 404, {"error": f"no {method} {target} here"}
        link = self.links.get(parts[1])
        if link is None:
            return 404, {"error": f"no link {parts[1]!r}: there are {', '.join(map(repr, self.links))}"}
        if method == "DELETE":
            return 200, {"removed": await link.remove(parts[3])}
        try:
            value = json.loads(body)
            if not isinstance(value, dict):
                raise BadFaultError("the body is a JSON object")
            fault, new = await link.add(parts[3], value)
        except (BadFaultError, json.JSONDecodeError) as error:
            return 400, {"error": str(error)}
        except Conflict as error:
            return 409, {"error": str(error)}
        return 200, {**fault.to_json(asyncio.get_running_loop().time()), "new": new}

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One request a connection: the interface is for faults, not for load."""
        try:
            async with asyncio.timeout(5):
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
                method, target, _ = head[0].split(" ", 2)
                headers = [(n.strip().lower(), v.strip()) for n, _, v in (h.partition(":") for h in head[1:] if h)]
                size = int(dict(headers).get("content-length", 0))
                body = await reader.readexactly(size) if 0 < size <= BODY_LIMIT else b""
            refusal = self._door.refusal(headers)
            if refusal is None:
                status, value = await self.answer(method, target, body)
            else:
                status, value = refusal[0], {"error": refusal[1]}
            payload = json.dumps(value).encode()
            writer.write(
                f"HTTP/1.1 {status} {'OK' if status == 200 else 'Error'}\r\ncontent-type: application/json\r\n"
                f"content-length: {len(payload)}\r\nconnection: close\r\n\r\n".encode()
            )
            writer.write(payload)
            async with asyncio.timeout(5):
                await writer.drain()
        except (OSError, TimeoutError, ValueError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass  # a caller that went away or does not speak HTTP gets no answer
        finally:
            writer.close()


def _raise_descriptor_limit() -> None:
    """A connection needs two descriptors."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = min(65536, hard) if hard != resource.RLIM_INFINITY else 65536
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


class BadConfigError(ValueError):
    """What is wrong with a configuration file, in words."""


def _token_made_for(port: int) -> str:
    """A token for a configuration without one, which faultload finds where it was kept. Raises BadConfigError."""
    try:
        token, kept = keep_new_token(port)
    except (OSError, RuntimeError) as error:
        raise BadConfigError(
            f'the configuration has no "token", and none can be kept ({error}): add "token" to it, and `token` to '
            "the links in the target file"
        ) from None
    print(f'no "token" in the configuration: made one, in {kept}, for this user alone', file=sys.stderr, flush=True)
    return token


def read_config(file: Path) -> dict[str, Any]:
    """The configuration: `links`, pairs by link; `control`, the port of the interface to faults; and its `token`.

    Raises BadConfigError.
    """
    try:
        mode = file.stat().st_mode
        config: dict[str, Any] = json.loads(file.read_text())
    except OSError as error:
        raise BadConfigError(f"{file}: cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise BadConfigError(f"{file}: not JSON: {error}") from None
    links = config.get("links") if isinstance(config, dict) else None
    if not isinstance(links, dict) or not all(isinstance(pairs, list) for pairs in links.values()):
        raise BadConfigError(f'{file}: "links" must hold a list of pairs for each link')
    if config.get("control") is not None and not _is_port(config["control"], least=0):
        raise BadConfigError(f'{file}: "control" must be a port, not {config["control"]!r}')
    if "token" in config:
        problem = token_problem(config["token"])
        if problem:
            raise BadConfigError(f'{file}: "token" {problem}')
        if stat.S_IMODE(mode) & 0o077:
            raise BadConfigError(f'{file}: others can read its "token": chmod 600 {file}')
    for link, pairs in links.items():
        for number, pair in enumerate(pairs):
            problem = _pair_problem(pair)
            if problem:
                raise BadConfigError(f'{file}: links["{link}"][{number}]: {problem}')
    return config


def _is_port(value: Any, least: int = 1) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and least <= value < 65536


def _pair_problem(pair: Any) -> str | None:
    if not isinstance(pair, dict) or not isinstance(pair.get("name"), str):
        return 'needs a "name"'
    if not _is_port(pair.get("listen")):
        return f'"listen" must be a port, not {pair.get("listen")!r}'
    match pair.get("upstream"):
        case [str(), port] if _is_port(port):
            return None
        case other:
            return f'"upstream" must be [host, port], not {other!r}'


def serve(config: Mapping[str, Any]) -> None:
    """Serve until SIGINT. Raises OSError when a port is taken, BadConfigError when a token can be had nowhere."""
    _raise_descriptor_limit()
    run = asyncio.run
    with suppress(ImportError):
        import uvloop

        run = uvloop.run
    with suppress(KeyboardInterrupt):
        run(LinkProxy(config).serve())


def main() -> None:
    """Serve until SIGTERM, or until the parent dies unless told to stay."""
    parser = argparse.ArgumentParser(prog="faultload.agents.link.proxy")
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--stay", action="store_true", help="go on when the process that started it ends")
    arguments = parser.parse_args()
    if not arguments.stay:
        die_with_parent()
    try:
        serve(read_config(arguments.config))
    except BadConfigError as error:
        print(error, file=sys.stderr)
        sys.exit(2)
    except OSError as error:
        sys.exit(f"link proxy: {error}")


if __name__ == "__main__":
    main()
