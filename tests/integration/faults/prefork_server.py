"""A stand-in for gunicorn and nginx: a master that binds, forks workers, and starts another for each that dies.

prefork_server.py PORT WORKERS [--reuse-port] [--title] [--host ADDRESS]
"""

from __future__ import annotations

import argparse
import os
import signal
import socket
import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        body = str(os.getpid()).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


def bound(host: str, port: int, *, reuse_port: bool) -> socket.socket:
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if reuse_port:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    listener.bind((host, port))
    listener.listen(64)
    return listener


def entitle(title: str) -> None:
    """Write a title over the arguments, as setproctitle(3) does."""
    fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
    begin, end = int(fields[45]), int(fields[46])
    with open("/proc/self/mem", "r+b", buffering=0) as memory:
        memory.seek(begin)
        memory.write(title.encode()[: end - begin - 1].ljust(end - begin, b"\0"))


def work(listener: socket.socket, title: str | None) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    if title is not None:
        entitle(title)
    server = HTTPServer(listener.getsockname()[:2], Handler, bind_and_activate=False)
    server.socket.close()
    server.socket = listener
    server.serve_forever()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("port", type=int)
    parser.add_argument("workers", type=int)
    parser.add_argument("--reuse-port", action="store_true")
    parser.add_argument("--title", action="store_true")
    parser.add_argument("--host", default="127.0.0.1")
    options = parser.parse_args()
    shared = None if options.reuse_port else bound(options.host, options.port, reuse_port=False)
    if options.title:
        entitle("prefork_server.py: master")
    workers: set[int] = set()

    def leave(*_: object) -> None:
        for pid in workers:
            os.kill(pid, signal.SIGTERM)
        os._exit(0)

    signal.signal(signal.SIGTERM, leave)
    while True:
        while len(workers) < options.workers:
            pid = os.fork()
            if pid == 0:
                listener = shared or bound(options.host, options.port, reuse_port=True)
                work(listener, "prefork_server.py: worker" if options.title else None)
            workers.add(pid)
        gone, _ = os.waitpid(-1, os.WNOHANG)
        workers.discard(gone)
        time.sleep(0 if gone else 0.05)


if __name__ == "__main__":
    main()
