"""Steady, bounded traffic on a service through its forwarder's port, and what became of every request."""

import http.client
import json
import threading
import time
from collections import Counter, deque
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import urlsplit

RATE_PER_S = 50
"""Of all senders together."""
TIMEOUT_S = 10.0
KEPT = 50_000
NO_ANSWER = 0


@dataclass(frozen=True, slots=True)
class Answer:
    """``at`` is when it came (monotonic seconds); ``status`` is 0 where none came, and then ``problem`` says why."""

    sent_at: float
    at: float
    status: int
    version: str = ""
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Tally:
    """What became of some requests. ``failed`` were answered 500 by the service, ``lost`` got no answer or another one."""

    requests: int
    good: int
    failed: int
    lost: int
    first_problem: str

    def __str__(self) -> str:
        return f"{self.requests} requests, {self.lost} lost" + (f" ({self.first_problem})" if self.lost else "")


def tally(answers: Iterable[Answer]) -> Tally:
    """Count them."""
    found = list(answers)
    statuses = Counter(answer.status for answer in found)
    lost = [answer for answer in found if answer.status not in {200, 500}]
    problem = (lost[0].problem or f"status {lost[0].status}") if lost else ""
    return Tally(len(found), statuses[200], statuses[500], len(lost), problem)


class Traffic:
    """Two senders: one opens a connection for each request, the other keeps its connection. Use it as a context."""

    def __init__(self, url: str, rate_per_s: float = RATE_PER_S) -> None:
        parts = urlsplit(url)
        self._host, self._port = parts.hostname or "127.0.0.1", parts.port or 80
        self._pause_s = 2 / rate_per_s
        self._answers: deque[Answer] = deque(maxlen=KEPT)
        self._end = threading.Event()
        self._senders = [threading.Thread(target=self._send_all, args=(keeps,), daemon=True) for keeps in (False, True)]

    def __enter__(self) -> "Traffic":
        for sender in self._senders:
            sender.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        for sender in self._senders:
            sender.join()

    def between(self, begin: float, end: float) -> list[Answer]:
        """The answers to what was sent in this span of monotonic time, oldest first."""
        return sorted((a for a in tuple(self._answers) if begin <= a.sent_at < end), key=lambda answer: answer.at)

    def since(self, begin: float) -> list[Answer]:
        """The answers so far to what was sent from then on, oldest first."""
        return self.between(begin, float("inf"))

    def _send_all(self, keeps: bool) -> None:
        connection, due = self._connection(), time.monotonic()
        while not self._end.wait(max(0.0, due - time.monotonic())):
            # After a pause nothing is made up for: the traffic stays steady.
            due = max(due + self._pause_s, time.monotonic() - self._pause_s)
            self._answers.append(self._ask(connection, keeps))
            if not keeps:
                connection.close()
        connection.close()

    def _ask(self, connection: http.client.HTTPConnection, keeps: bool) -> Answer:
        sent_at = time.monotonic()
        is_reused = connection.sock is not None
        try:
            try:
                status, version = _exchange(connection, keeps)
            except (http.client.RemoteDisconnected, ConnectionError):
                # A server may close an idle connection at any time; clients then ask again on a new one (RFC 9112, 9.3.1).
                connection.close()
                if not is_reused:
                    raise
                status, version = _exchange(connection, keeps)
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            return Answer(sent_at, time.monotonic(), NO_ANSWER, problem=f"{type(error).__name__}: {error}"[:120])
        return Answer(sent_at, time.monotonic(), status, version)

    def _connection(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection(self._host, self._port, timeout=TIMEOUT_S)


def _exchange(connection: http.client.HTTPConnection, keeps: bool) -> tuple[int, str]:
    connection.request("GET", "/?name=demo", headers={} if keeps else {"Connection": "close"})
    response = connection.getresponse()
    return response.status, version_in(response.read())


def version_in(body: bytes) -> str:
    """The version that an answer names; empty where it names none."""
    try:
        return str(json.loads(body).get("version", ""))
    except (ValueError, AttributeError):
        return ""
