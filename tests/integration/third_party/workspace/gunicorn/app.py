"""The smallest WSGI application: it says which worker answered."""

import os


def app(environ, start_response):
    body = f"worker {os.getpid()}\n".encode()
    start_response("200 OK", [("content-type", "text/plain"), ("content-length", str(len(body)))])
    return [body]
