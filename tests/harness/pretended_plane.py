"""A server in the place of a control plane, which answers, refuses, is cut off and comes back as a test wants it."""

import fcntl
import json
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

Asked = dict[str, Any]
Answer = tuple[int, Any]


class ControlPlane:
    """Answers by path, remembers what it was asked, and announces itself as a real one does. ``streams`` are the
    connections to the live stream, one after the other: the lines that each sends before it is cut, or a refusal."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.answers: dict[tuple[str, str], Answer | Callable[[Asked], Answer]] = {}
        self.asked: list[Asked] = []
        self.streams: list[list[str] | Answer] = []
        self.on_cut: Callable[[], None] = lambda: None
        (home / "owner.token").write_text("secret\n")
        self.start()

    def start(self) -> None:
        """Listen on a new port."""
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        url = f"http://127.0.0.1:{self._http.server_address[1]}"
        self._lock = (self.home / "serve.lock").open("a")
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        (self.home / "server.json").write_text(json.dumps({"url": url}))

    def release(self) -> None:
        """Leave the data folder as one that is killed leaves it, and go on answering."""
        self._lock.close()

    def stop(self) -> None:
        """Stop listening, and leave what one that is killed leaves."""
        self.release()
        self._http.shutdown()
        self._http.server_close()

    def last(self, path: str) -> Asked:
        return next(asked for asked in reversed(self.asked) if asked["path"] == path)

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        plane = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                url = urlsplit(self.path)
                length = int(self.headers.get("content-length") or 0)
                body = json.loads(self.rfile.read(length)) if length else None
                asked = {"method": self.command, "path": url.path, "query": dict(parse_qsl(url.query)), "body": body}
                plane.asked.append(asked | {"headers": dict(self.headers)})
                if url.path.endswith("/stream"):
                    self._stream()
                    return
                refusal = 404, {"title": "there is no such thing", "status": 404, "code": "nothing", "hint": "look"}
                answer = plane.answers.get((self.command, url.path.removeprefix("/api/v1")), refusal)
                status, content = answer(plane.asked[-1]) if callable(answer) else answer
                self._send(status, content if isinstance(content, bytes) else json.dumps(content).encode())

            def do_POST(self) -> None:
                self.do_GET()

            def _send(self, status: int, content: bytes) -> None:
                self.send_response(status)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def _stream(self) -> None:
                lines = plane.streams.pop(0)
                if isinstance(lines, tuple):
                    self._send(lines[0], json.dumps(lines[1]).encode())
                    return
                self.send_response(200)
                self.send_header("Content-Type", "text/event-stream")
                self.end_headers()
                self.wfile.write("".join(lines).encode())
                self.wfile.flush()
                if plane.streams:
                    plane.on_cut()

            def log_message(self, *_arguments: object) -> None:
                pass

        return Handler
