"""Greeter: says hello over HTTP on the loopback address. Standard library only."""

import argparse
import json
import os
import signal
import threading
from http.server import BaseHTTPRequestHandler
from socketserver import ThreadingTCPServer
from urllib.parse import parse_qs, urlsplit

from greeting import VERSION, Greeter


class Server(ThreadingTCPServer):
    """A thread for each request; closing waits until those under way are answered."""

    allow_reuse_address = True
    request_queue_size = 128

    def __init__(self, port):
        super().__init__(("127.0.0.1", port), Handler)
        self.greeter = Greeter()


class Handler(BaseHTTPRequestHandler):
    """``/`` greets (``?name=`` whom), ``/health`` tells that the process serves."""

    timeout = 5  # seconds; a client that sends nothing must not hold up the end of the process
    disable_nagle_algorithm = True

    def do_GET(self):
        url = urlsplit(self.path)
        if url.path == "/":
            self.greet(parse_qs(url.query).get("name", ["world"])[0])
        elif url.path == "/health":
            self.answer(200, {"status": "ok", "version": VERSION})
        else:
            self.answer(404, {"error": "there is nothing at this path"})

    def greet(self, name):
        try:
            self.answer(200, {**self.server.greeter.greet(name), "version": VERSION})
        except RuntimeError as error:
            log(f"error: {error}")
            self.answer(500, {"error": "internal error"})

    def answer(self, status, body):
        content = json.dumps(body, ensure_ascii=False).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json; charset=utf-8")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format, *arguments):
        # Written by the client, so control characters are shown, not sent on to a terminal.
        log((format % arguments).encode("unicode_escape").decode())


def log(line):
    """One write for each line, so that lines of parallel requests do not mix."""
    os.write(1, f"{line}\n".encode())


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True, help="where to listen; 0 takes any free port")
    port = parser.parse_args().port
    endings = {signal.SIGTERM, signal.SIGINT}
    signal.pthread_sigmask(signal.SIG_BLOCK, endings)  # before any thread starts: only `sigwait` below receives them
    with Server(port) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}).start()
        log(f"greeter {VERSION} started pid={os.getpid()} port={server.server_address[1]}")
        signal.sigwait(endings)
        server.shutdown()
    log(f"greeter {VERSION} stopped pid={os.getpid()}")


if __name__ == "__main__":
    main()
