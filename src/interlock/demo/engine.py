"""The container engine, asked directly: what runs there and how, what was started there, and clearing it away.

It is its own HTTP interface that is spoken here, not the control plane's adapter: what an engine says of a container does not
depend on what Interlock believes.
"""

import json
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, cast
from urllib.parse import quote

import httpx

from interlock.demo.repeating import Repeating

Doc = dict[str, Any]
INSTANCE_LABEL = "interlock.instance"
TIMEOUT_S = 60.0
POLL_S = 0.4
"""An engine keeps only its last few hundred events, of everything that happens on it."""
CLEAR_PATIENCE_S = 20.0
NOTE = "engine.json"


class EngineAwayError(Exception):
    """The engine does not answer, or not as one would expect; the message says what it was asked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cleared:
    """What was removed at the engine, and what is there nevertheless; ``pushed`` are the names that registries know."""

    containers: int
    images: int
    pushed: tuple[str, ...]
    remains: tuple[str, ...]


class Engine:
    """The engine at ``url`` (``unix://`` or ``tcp://``). Every method raises EngineAwayError."""

    def __init__(self, url: str) -> None:
        self.url = url
        if url.startswith("unix://"):
            transport = httpx.HTTPTransport(uds=url.removeprefix("unix://"))
            self._http = httpx.Client(transport=transport, base_url="http://engine", timeout=TIMEOUT_S)
        else:
            self._http = httpx.Client(base_url="http" + url.removeprefix("tcp"), timeout=TIMEOUT_S, trust_env=False)

    def close(self) -> None:
        self._http.close()

    def name(self) -> str:
        """What it calls itself, with its version."""
        found: Doc = self._get("/version").json()
        parts: list[Doc] = found.get("Components") or [{}]
        name = found.get("Platform", {}).get("Name") or parts[0].get("Name") or "engine"
        return f"{name} {found.get('Version', '')}".strip()

    def has_image(self, reference: str) -> bool:
        return self._ask("GET", f"/images/{quote(reference, safe='/:@')}/json").is_success

    def containers(self, **labels: str) -> list[Doc]:
        """All containers with these labels, running or not, in the engine's own words."""
        listed: list[Doc] = self._get("/containers/json", all="true", filters=_with_labels(labels)).json()
        answers = [self._ask("GET", f"/containers/{item['Id']}/json") for item in listed]
        return [answer.json() for answer in answers if answer.is_success]

    def images(self, **labels: str) -> list[Doc]:
        """All images with these labels."""
        return self._get("/images/json", filters=_with_labels(labels)).json()

    def users(self, container_id: str) -> set[str]:
        """As whom its processes run, by the engine's process table."""
        table: Doc = self._get(f"/containers/{container_id}/top").json()
        return {row[0] for row in table["Processes"]}

    def starts(self, instance: str) -> "Starts":
        """Counts the starts of a control plane's containers for as long as it is open."""
        return Starts(self, instance)

    def started_between(self, instance: str, begin: float, end: float) -> list[tuple[str, str]]:
        """Moment and name of each start in this span of wall-clock time."""
        kinds = {"type": ["container"], "event": ["start"], "label": [f"{INSTANCE_LABEL}={instance}"]}
        found = self._get("/events", since=f"{begin:.6f}", until=f"{end:.6f}", filters=json.dumps(kinds))
        events = [cast("Doc", json.loads(line)) for line in found.text.splitlines() if line.strip()]
        return [(str(event["timeNano"]), event["Actor"]["Attributes"].get("name", "")) for event in events]

    def clear(self, instance: str) -> Cleared:
        """Remove all containers and images of a control plane that is not there any more."""
        labels = {INSTANCE_LABEL: instance}
        removed, pushed = {"containers": set[str](), "images": set[str]()}, set[str]()
        deadline = time.monotonic() + CLEAR_PATIENCE_S
        while True:
            found = {"containers": self._ids("/containers/json", labels), "images": self._ids("/images/json", labels)}
            if not (found["containers"] or found["images"]) or time.monotonic() > deadline:
                break
            images = self.images(**labels)
            removed["images"] |= {image["Id"] for image in images}
            pushed |= {name for image in images for name in image.get("RepoDigests") or () if not name.startswith("<none>")}
            removed["containers"] |= set(found["containers"])
            for kind, ids in found.items():
                for item in ids:
                    # With its anonymous volumes; an image goes with all its names.
                    self._ask("DELETE", f"/{kind}/{item}", force="true", **({"v": "true"} if kind == "containers" else {}))
        found["networks"] = self._ids("/networks", labels)
        remains = tuple(item.removeprefix("sha256:")[:12] for ids in found.values() for item in ids)
        counts = {kind: len(ids) for kind, ids in removed.items()}
        return Cleared(**counts, pushed=tuple(sorted(pushed)), remains=remains)

    def _ids(self, path: str, labels: dict[str, str]) -> list[str]:
        listed: list[Doc] = self._get(path, all="true", filters=_with_labels(labels)).json()
        return [item["Id"] for item in listed]

    def _get(self, path: str, **query: str) -> httpx.Response:
        response = self._ask("GET", path, **query)
        if not response.is_success:
            raise EngineAwayError(f"{path}: {response.status_code} {response.text[:200]}")
        return response

    def _ask(self, method: str, path: str, **query: str) -> httpx.Response:
        try:
            return self._http.request(method, path, params=query)
        except httpx.HTTPError as error:
            raise EngineAwayError(f"{self.url} does not answer: {error}") from error


class Starts:
    """How often each container was started, by the engine's own events. Use it as a context."""

    def __init__(self, engine: Engine, instance: str) -> None:
        self._engine = engine
        self._instance = instance
        self._seen: set[tuple[str, str]] = set()
        self._asked_to = time.time()
        self._poll = Repeating(self._look, POLL_S)

    def __enter__(self) -> "Starts":
        self._poll.start()
        return self

    def __exit__(self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None) -> None:
        self._poll.end()
        self._look()

    def by_name(self) -> Counter[str]:
        """The starts of each container so far."""
        return Counter(name for _, name in self._seen)

    def _look(self) -> None:
        now = time.time()
        # Both ends belong to it: what was seen twice is counted once.
        self._seen |= set(self._engine.started_between(self._instance, self._asked_to - POLL_S, now))
        self._asked_to = now


def take_note(folder: Path, engine: Engine, instance: str) -> None:
    """Write into the demo's folder what is to be cleared away at which engine, for whoever does it."""
    (folder / NOTE).write_text(json.dumps({"url": engine.url, "instance": instance}))


def noted(folder: Path) -> tuple[Engine, str] | None:
    """What was noted; None for a story without containers."""
    try:
        note = json.loads((folder / NOTE).read_bytes())
        return Engine(note["url"]), str(note["instance"])
    except (OSError, ValueError, KeyError):
        return None


def _with_labels(labels: dict[str, str]) -> str:
    return json.dumps({"label": [f"{name}={value}" for name, value in labels.items()]})
