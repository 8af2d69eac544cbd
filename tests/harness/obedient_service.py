"""A small HTTP service that behaves as it is told: by ``behaviour.json`` beside it, and later by ``/behave?name=value``.

It is committed into the repositories that the tests deploy, and uses few modules so that it starts quickly.
"""

import itertools
import json
import os
import signal
import socketserver
import sys
import threading
import time
from pathlib import Path

told = json.loads(Path("behaviour.json").read_text())
count, looks = itertools.count(1), itertools.count(1)
eaten = []


def say(line):
    os.write(1, (line + "\n").encode())


class Handler(socketserver.StreamRequestHandler):
    def handle(self):
        words = self.rfile.readline().split()
        while self.rfile.readline().strip():
            pass
        path, _, query = words[1].decode().partition("?") if len(words) > 1 else ("", "", "")
        if path == "/health":
            is_ill = told.get("unhealthy") or os.path.exists(told.get("unhealthy_while", ""))
            is_ill = is_ill or (told.get("flaps") and next(looks) % 2 == 0) or told.get("hiccups", 0) > 0
            told["hiccups"] = told.get("hiccups", 0) - 1
            self.answer(500 if is_ill else 200, "health")
        elif path == "/behave":
            told.update({name: json.loads(value) for name, _, value in (part.partition("=") for part in query.split("&"))})
            self.answer(200, "as you wish")
        elif path == "/metrics":
            self.answer(200, told.get("metrics", ""))
        elif path == "/flood":
            self.answer(200, "listen")
            for _ in range(40_000):
                say("a flood of words " * 40)
            say("the flood is over")
        elif path == "/crash":
            say("crashing")
            os._exit(3)
        else:
            if told.get("says"):
                say(told["says"])
            time.sleep(told.get("slow_ms", 0) / 1000)
            every = told.get("fail_every", 0)
            self.answer(500 if every and next(count) % every == 0 else 200, told["version"])

    def answer(self, status, text):
        kind = "Content-Type: text/plain; version=0.0.4"
        head = f"HTTP/1.1 {status} X\r\n{kind}\r\nContent-Length: {len(text)}\r\nConnection: close\r\n\r\n"
        self.wfile.write((head + text).encode())


class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = False
    request_queue_size = 128


def end(_number, _frame):
    say("told to stop")
    if not told.get("ignores_sigterm"):
        threading.Thread(target=server.shutdown).start()


say(f"started {told['version']} pid={os.getpid()}")
signal.signal(signal.SIGTERM, end)
if "guests" in told:
    # Those who come when as many are there already as are well stay ill.
    with open(told["guests"], "a+") as guests:
        guests.write("here\n")
        guests.seek(0)
        told["unhealthy"] = len(guests.readlines()) > told["well"]
if told.get("exits_at_once"):
    sys.exit(7)
# Inside a container the loopback interface reaches nobody.
server = Server((os.environ.get("HOST", "127.0.0.1"), int(sys.argv[1])), Handler)
if told.get("sours_after_s"):
    threading.Timer(told["sours_after_s"], lambda: told.update(unhealthy=True)).start()
if told.get("eats_after_s"):
    threading.Timer(told["eats_after_s"], lambda: eaten.append(b"x" * 10**9)).start()
server.serve_forever(poll_interval=0.05)
server.server_close()
say(f"stopped {told['version']}")
