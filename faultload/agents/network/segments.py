"""TCP segments outside any connection, which measure a link without its application.

A segment with ACK and no connection is answered with RST by the far kernel, whose sequence number is the
acknowledgement number of the segment (RFC 9293, section 3.10.7.1). So every answer tells which segment arrived,
and when. A connection's end that gets a segment outside its window answers with an ACK (section 3.10.7.4): that
makes an idle connection speak.

Each segment under way has a port of its own. A first answer that is a RST makes a connection tracker on the way
forget the pair of ports, and kube-proxy's rules drop what comes of an unknown one.
"""

from __future__ import annotations

import ctypes
import ipaddress
import os
import random
import select
import socket
import struct
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from faultload.agents.network.nftables import MARK
from faultload.agents.network.spec import AgentError, Flow

_ACK, _PSH_ACK, _RST = 0x10, 0x18, 0x04
_SO_ATTACH_FILTER = 26
_IPV6_HDRINCL = 36
_LAST = 0xFFFFFFFF
_LOW_PORTS = range(512, 1024)
_TALKING = ("01", "03", "04", "05", "08", "09", "0B")
"""States in /proc/net/tcp: ESTABLISHED, SYN_RECV, FIN_WAIT1, FIN_WAIT2, CLOSE_WAIT, LAST_ACK, CLOSING."""
_TIME_WAIT = "06"


@dataclass(slots=True)
class Echoes:
    """What came of segments: how many were sent and answered, how long each took, and the pace of the answers."""

    sent: int = 0
    answered: int = 0
    round_trips_s: list[float] = field(default_factory=list)
    bytes_per_s: float = 0.0

    @property
    def lost(self) -> float:
        """The share that was not answered."""
        return 1.0 - self.answered / self.sent if self.sent else 0.0

    @property
    def median_s(self) -> float | None:
        return float(median(self.round_trips_s)) if self.round_trips_s else None


@dataclass(frozen=True, slots=True, order=True)
class Connection:
    """An established connection as a namespace's own end sees it."""

    local: str
    local_port: int
    peer: str
    peer_port: int


def _checksum(data: bytes) -> int:
    if len(data) % 2:
        data += b"\0"
    total = int(sum(struct.unpack(f"!{len(data) // 2}H", data)))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def _segment(one: Connection, seq: int, ack: int, flags: int, payload: bytes = b"") -> bytes:
    """A TCP segment from `local` to `peer`, checksum and all."""
    head = struct.pack("!HHIIBBHHH", one.local_port, one.peer_port, seq, ack, 5 << 4, flags, 64240, 0, 0)
    source, goal = ipaddress.ip_address(one.local).packed, ipaddress.ip_address(one.peer).packed
    length = len(head) + len(payload)
    middle = struct.pack("!BBH", 0, 6, length) if len(source) == 4 else struct.pack("!II", length, 6)
    check = _checksum(source + goal + middle + head + payload)
    return head[:16] + struct.pack("!H", check) + head[18:] + payload


def _family(address: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def own_address(peer: str) -> str:
    """The address by which this namespace reaches a peer."""
    with socket.socket(_family(peer), socket.SOCK_DGRAM) as asked:
        try:
            asked.connect((peer, 9))
        except OSError as error:
            raise AgentError(f"{peer} is not reachable from here: {error}") from error
        return str(asked.getsockname()[0])


class _Instruction(ctypes.Structure):
    _fields_ = (("code", ctypes.c_ushort), ("jt", ctypes.c_ubyte), ("jf", ctypes.c_ubyte), ("k", ctypes.c_uint))


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.POINTER(_Instruction)))


def _only_answers(raw: socket.socket, flow: Flow) -> None:
    """Let only RSTs of the flow's port through (classic BPF, linux/filter.h)."""
    # X = length of the IP header (none for IPv6 here); the client's answers come from that port, the server's to it
    start = (0xB1, 0, 0, 0) if raw.family == socket.AF_INET else (0x01, 0, 0, 0)
    code = (
        start,
        (0x48, 0, 0, 0 if flow.side == "client" else 2),
        (0x15, 0, 3, flow.port),
        (0x50, 0, 0, 13),
        (0x45, 0, 1, _RST),
        (0x06, 0, 0, 0xFFFF),
        (0x06, 0, 0, 0),
    )
    instructions = (_Instruction * len(code))(*(_Instruction(*line) for line in code))
    program = _Program(len(code), instructions)
    raw.setsockopt(
        socket.SOL_SOCKET, _SO_ATTACH_FILTER, ctypes.string_at(ctypes.byref(program), ctypes.sizeof(program))
    )


@contextmanager
def _asking(flow: Flow, peer: str, window: int) -> Iterator[tuple[socket.socket, list[Connection]]]:
    """A raw socket for segments of a flow to one peer, and as many pairs of ports where no connection is."""
    local = own_address(peer)
    with ExitStack() as held:
        if flow.side == "client":
            mine = [_unused_port(held, local) for _ in range(window)]
            ends = [Connection(local, port, peer, flow.port) for port in mine]
        else:  # a server asks low ports of its client: nobody connects from there
            ends = [Connection(local, flow.port, peer, port) for port in random.sample(_LOW_PORTS, window)]
        try:
            raw = held.enter_context(socket.socket(_family(peer), socket.SOCK_RAW, socket.IPPROTO_TCP))
        except PermissionError as error:
            raise AgentError(f"raw sockets need NET_RAW: {error}") from error
        _only_answers(raw, flow)
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        raw.connect((peer, 0))
        raw.setblocking(False)
        yield raw, ends


def _unused_port(held: ExitStack, local: str) -> int:
    """A port that nobody connects from as long as it is held."""
    holding = held.enter_context(socket.socket(_family(local)))
    holding.bind((local, 0))
    return int(holding.getsockname()[1])


def _answer_to(data: bytes, family: int) -> int:
    """The sequence number of an answer."""
    skip = (data[0] & 15) * 4 if family == socket.AF_INET else 0
    return int(struct.unpack_from("!I", data, skip + 4)[0])


def echo(
    flow: Flow,
    peer: str,
    *,
    count: int,
    size: int = 0,
    window: int = 16,
    lost_after_s: float = 0.5,
    limit_s: float = 5.0,
) -> Echoes:
    """Send `count` segments of `size` bytes, `window` of them under way at once, for at most `limit_s`.

    The pace is that of the answers after the first window's.
    """
    found = Echoes()
    first, payload = random.randrange(1 << 32), bytes(size)
    waiting: dict[int, tuple[float, Connection]] = {}
    clock = time.monotonic
    with _asking(flow, peer, window) as (raw, free):
        end = clock() + limit_s
        paced: list[float] = []
        while clock() < end and (found.sent < count or waiting):
            if found.sent < count and free:
                one, number = free.pop(), found.sent
                waiting[number] = clock(), one
                found.sent += 1
                with suppress(OSError):  # a full queue loses it, as any other on the way would
                    raw.send(_segment(one, random.randrange(1 << 32), (first + number) & _LAST, _PSH_ACK, payload))
                if free and found.sent < count:
                    continue
            oldest = next(iter(waiting.values()), (end, None))[0]
            readable = select.select([raw], [], [], max(0.0, min(end, oldest + lost_after_s) - clock()))[0]
            while readable:
                try:
                    number = (_answer_to(raw.recv(128), raw.family) - first) & _LAST
                except BlockingIOError:
                    break
                if number in waiting:
                    began, one = waiting.pop(number)
                    free.append(one)
                    found.answered += 1
                    found.round_trips_s.append(clock() - began)
                    paced.append(clock())
            for number, (began, one) in list(waiting.items()):
                if clock() - began < lost_after_s:
                    break
                del waiting[number]
                free.append(one)
        warm = min(window, len(paced) // 2)
        if len(paced) > warm + 1:
            found.bytes_per_s = (len(paced) - 1 - warm) * (size + 40) / max(1e-6, paced[-1] - paced[warm])
    return found


def connections(flows: tuple[Flow, ...]) -> list[Connection]:
    """The established connections of flows in this namespace."""
    wanted = {(flow.side, flow.port, peer) for flow in flows for peer in flow.peers}
    return [
        one
        for one, state in _listed()
        if state in _TALKING
        and (("client", one.peer_port, one.peer) in wanted or ("server", one.local_port, one.peer) in wanted)
    ]


def detours(flows: tuple[Flow, ...]) -> list[str]:
    """Where clients here reach the servers of flows past their own addresses, each once, as address and port.

    What was closed within the last minute counts too.
    """
    published = {place for flow in flows if flow.side == "client" for place in flow.published}
    found = {(one.peer, one.peer_port) for one, state in _listed() if state in (*_TALKING, _TIME_WAIT)}
    return [f"{host}:{port}" for host, port in sorted(found & published)]


def _listed() -> Iterator[tuple[Connection, str]]:
    """Every connection of this namespace with its state, as the kernel lists them (proc_pid_net(5))."""
    for name in ("tcp", "tcp6"):
        listing = Path(f"/proc/self/net/{name}")
        for line in listing.read_text().splitlines()[1:] if listing.exists() else []:
            _, local, peer, state = line.split()[:4]
            yield Connection(*_end(local), *_end(peer)), state


def _end(text: str) -> tuple[str, int]:
    """`0100007F:1F90`: 32-bit words as this machine keeps them; IPv4 in IPv6 becomes IPv4."""
    words, _, port = text.partition(":")
    packed = b"".join(struct.pack("=I", int(words[at : at + 8], 16)) for at in range(0, len(words), 8))
    address = ipaddress.ip_address(packed)
    mapped = getattr(address, "ipv4_mapped", None)
    return str(mapped or address), int(port, 16)


def prod(one: Connection, *, near: bool = True) -> None:
    """A segment outside the window for both ends of a connection: each answers it with an ACK.

    `near` leaves out this namespace's own end when false.
    """
    far = Connection(one.peer, one.peer_port, one.local, one.local_port)
    family = _family(one.peer)
    with socket.socket(family, socket.SOCK_RAW, socket.IPPROTO_RAW) as raw:
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, MARK)
        if family == socket.AF_INET6:
            raw.setsockopt(socket.IPPROTO_IPV6, _IPV6_HDRINCL, 1)
        for way in (one, far) if near else (one,):
            segment = _segment(way, random.randrange(1 << 32), random.randrange(1 << 32), _ACK)
            with suppress(OSError):
                raw.sendto(
                    _packet(way, segment), (way.peer, 0, 0, 0) if family == socket.AF_INET6 else (way.peer, 0)
                )


def _packet(way: Connection, segment: bytes) -> bytes:
    source, goal = ipaddress.ip_address(way.local).packed, ipaddress.ip_address(way.peer).packed
    if len(source) == 16:
        return struct.pack("!IHBB", 6 << 28, len(segment), 6, 64) + source + goal + segment
    number = int.from_bytes(os.urandom(2), "big")
    head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(segment), number, 0, 64, 6, 0) + source + goal
    return head[:10] + struct.pack("!H", _checksum(head)) + head[12:] + segment
