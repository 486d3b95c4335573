"""Orders over HTTP, kept in Redis: POST /orders/ID, GET /orders/ID. `python3 front.py PORT REDIS_PORT`."""

import socket
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

PORT, REDIS_PORT = map(int, sys.argv[1:])


def redis(*words):
    """One command on a connection of its own (RESP); raises OSError when there is no answer within a second."""
    command = b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in words)
    with socket.create_connection(("127.0.0.1", REDIS_PORT), 1) as connection, connection.makefile("rb") as answer:
        connection.sendall(command)
        line = answer.readline()
        if not line or line.startswith(b"-"):  # closed; or an error, such as -LOADING
            raise OSError(line.decode().strip() or "closed by Redis")
        if line.startswith(b"$"):
            length = int(line[1:])
            return None if length < 0 else answer.read(length)
        return line[1:].strip()


class Orders(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # head and body leave together: on their own, each body would wait for the head's ACK

    def do_POST(self):
        self.rfile.read(int(self.headers.get("content-length") or 0))
        self.reply(lambda: (201, redis(b"SET", self.path.encode(), b"ordered")))

    def do_GET(self):
        if self.path == "/up":
            self.reply(lambda: (200, b"up"))
        elif self.path == "/health":
            self.reply(lambda: (200, redis(b"PING")))
        else:
            self.reply(lambda: (404 if (found := redis(b"GET", self.path.encode())) is None else 200, found))

    def reply(self, ask):
        try:
            status, body = ask()
        except OSError as error:
            status, body = 503, str(error).encode()
        self.send_response(status)
        self.send_header("content-length", str(len(body or b"")))
        self.end_headers()
        self.wfile.write(body or b"")

    def log_message(self, *arguments):
        pass


ThreadingHTTPServer.request_queue_size = 128
ThreadingHTTPServer(("127.0.0.1", PORT), Orders).serve_forever()
