"""The HTTP interface of the control plane, as a client sees it."""

import json
import time
from collections.abc import Iterator
from typing import Any

import httpx
from httpx_sse import connect_sse

from interlock.demo.control_plane import ControlPlane

Doc = dict[str, Any]
PREFIX = "/api/v1"
TIMEOUT_S = 30.0
PAUSE_S = 0.05
GONE_S = 45.0
"""How long a control plane may be away while its run is followed."""


class Api:
    """Requests with the owner's token, wherever the control plane answers now."""

    def __init__(self, plane: ControlPlane) -> None:
        self._plane = plane
        self._http = httpx.Client(timeout=TIMEOUT_S, trust_env=False)

    def get(self, path: str, **query: str | int) -> Doc:
        """The document at ``path``. Raises httpx.HTTPError."""
        return self._document(self._http.get(self._address(path), params=query, headers=self._headers()))

    def post(self, path: str, body: Doc) -> Doc:
        """Send ``body``; returns the answer. Raises httpx.HTTPError."""
        return self._document(self._http.post(self._address(path), json=body, headers=self._headers()))

    def first_line(self, path: str) -> Doc:
        """The first document of an answer in JSON lines. Raises httpx.HTTPError."""
        with self._http.stream("GET", self._address(path), headers=self._headers()) as response:
            response.raise_for_status()
            return json.loads(next(response.iter_lines()))

    def run_of(self, plan_id: str, patience_s: float = GONE_S) -> str:
        """The run of an approved plan, once there is one, over restarts of the control plane. Raises TimeoutError."""
        deadline = time.monotonic() + patience_s
        while time.monotonic() < deadline:
            try:
                runs: list[Doc] = self.get("/runs", plan=plan_id)["items"]
            except httpx.TransportError:
                runs = []
            if runs:
                return str(runs[-1]["run_id"])
            time.sleep(PAUSE_S)
        raise TimeoutError(f"{plan_id} has no run after {patience_s:g} s")

    def follow(self, run_id: str) -> Iterator[Doc]:
        """The events of a run from first to last, each once, over restarts of the control plane. Raises TimeoutError."""
        seen, heard_at = 0, time.monotonic()
        while time.monotonic() - heard_at < GONE_S:
            try:
                for event in self._stream(run_id, seen):
                    seen, heard_at = int(event["seq"]), time.monotonic()
                    yield event
                    if event["type"] == "RunFinished":
                        return
            except httpx.TransportError:
                time.sleep(PAUSE_S)
        raise TimeoutError(f"nothing was heard of {run_id} for {GONE_S:g} s")

    def _stream(self, run_id: str, after: int) -> Iterator[Doc]:
        address = self._address(f"/runs/{run_id}/stream")
        with connect_sse(self._http, "GET", address, params={"after": after}, headers=self._headers()) as source:
            source.response.raise_for_status()
            for message in source.iter_sse():
                if message.data:
                    yield json.loads(message.data)

    def _document(self, response: httpx.Response) -> Doc:
        response.raise_for_status()
        return response.json()

    def _address(self, path: str) -> str:
        return self._plane.url + PREFIX + path

    def _headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self._plane.token}"}
