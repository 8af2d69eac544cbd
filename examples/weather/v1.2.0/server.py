"""Weather: tells over HTTP what the stations measured. Standard library only."""

import argparse
import json
import os
import signal
import threading
from http.server import BaseHTTPRequestHandler
from socketserver import ThreadingTCPServer
from urllib.parse import urlsplit

from stations import VERSION, Weather


class Server(ThreadingTCPServer):
    """A thread for each request; closing waits until those under way are answered."""

    allow_reuse_address = True
    request_queue_size = 128

    def __init__(self, host, port):
        super().__init__((host, port), Handler)
        self.weather = Weather()


class Handler(BaseHTTPRequestHandler):
    """``/`` tells a reading, ``/health`` that the process serves. Every answer names the version."""

    timeout = 5  # seconds; a client that sends nothing must not hold up the end of the process
    disable_nagle_algorithm = True

    def do_GET(self):
        path = urlsplit(self.path).path
        if path == "/":
            self.tell()
        elif path == "/health":
            self.answer(200, {"status": "ok"})
        else:
            self.answer(404, {"error": "there is nothing at this path"})

    def tell(self):
        try:
            reading = self.server.weather.tell()
        except Exception as error:
            log(f"error: {type(error).__name__}: {error}")
            self.answer(500, {"error": "internal error"})
        else:
            self.answer(200, reading)

    def answer(self, status, body):
        content = json.dumps({**body, "version": VERSION}, ensure_ascii=False).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json; charset=utf-8")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format, *arguments):
        # Only what went wrong: a line for each reading tells nobody anything.
        pass


def log(line):
    """One write for each line, so that lines of parallel requests do not mix."""
    os.write(1, f"{line}\n".encode())


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--host", default="127.0.0.1", help="the address to listen on")
    parser.add_argument("--port", type=int, required=True, help="where to listen; 0 takes any free port")
    arguments = parser.parse_args()
    endings = {signal.SIGTERM, signal.SIGINT}
    signal.pthread_sigmask(signal.SIG_BLOCK, endings)  # before any thread starts: only `sigwait` below receives them
    with Server(arguments.host, arguments.port) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}).start()
        log(f"weather {VERSION} started port={server.server_address[1]}")
        signal.sigwait(endings)
        server.shutdown()
    log(f"weather {VERSION} stopped")


if __name__ == "__main__":
    main()
