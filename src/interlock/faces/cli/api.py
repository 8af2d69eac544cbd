"""The control plane's HTTP API, as the command line uses it: like any other client."""

import contextlib
import fcntl
import json
from collections.abc import Generator, Iterator
from typing import Any, cast
from urllib.parse import quote, urlsplit

import httpx
import typer
from httpx_sse import EventSource

from interlock.core.errors import Forbidden, Invalid
from interlock.faces.cli.context import CliContext, context_of
from interlock.faces.cli.failures import Refused, Unreachable
from interlock.faces.cli.text import Doc

PREFIX = "/api/v1"
DEFAULT_URL = "http://127.0.0.1:8420"
ADDRESS_FILE = "server.json"
LOCK_FILE = "serve.lock"
TOKEN_FILE = "owner.token"  # noqa: S105 - the name of the file, not a token

CONNECT_S = 5.0
ANSWER_S = 300.0
"""Making a plan fetches the repository, which may be large or far away."""
SILENCE_S = 45.0
"""A live stream is pinged every 15 s; a longer silence means that it is dead."""


class Api:
    """Requests as the owner. Raises `Refused` for a problem document, `Unreachable` where no control plane answers."""

    def __init__(self, context: CliContext) -> None:
        self._context = context
        timeout = httpx.Timeout(ANSWER_S, connect=CONNECT_S)
        # What is on this machine is asked directly: a proxy would get to see the token.
        self._http = httpx.Client(timeout=timeout, trust_env=not _is_local(self.url()))

    def __enter__(self) -> "Api":
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def get(self, *path: str, **query: Any) -> Doc:
        """The document at ``path``; parts of it and the query's values are quoted, None is left out."""
        return self._document(self._request("GET", path, query))

    def post(self, *path: str, **body: Any) -> Doc:
        """Send ``body`` without its members that are None."""
        return self._document(self._request("POST", path, {}, _given(body)))

    def put(self, *path: str, **body: Any) -> Doc:
        """Replace something by ``body`` without its members that are None."""
        return self._document(self._request("PUT", path, {}, _given(body)))

    def patch(self, *path: str, **body: Any) -> Doc:
        """Change the members of ``body`` that are not None."""
        return self._document(self._request("PATCH", path, {}, _given(body)))

    def delete(self, *path: str) -> Doc:
        """Take something away; returns what it was."""
        return self._document(self._request("DELETE", path, {}))

    def content(self, *path: str, **query: Any) -> bytes:
        """The bytes at ``path``, exactly."""
        return self._request("GET", path, query).content

    @contextlib.contextmanager
    def download(self, *path: str) -> Generator[Iterator[bytes]]:
        """The bytes at ``path``, piece by piece."""
        with self._open(path, {}) as response:
            yield self._pieces(response)

    @contextlib.contextmanager
    def stream(self, run_id: str, after: int) -> Generator[Iterator[Doc]]:
        """The events of a run behind sequence number ``after``, as they happen."""
        with self.live("runs", run_id, "stream", last_id=str(after), after=after) as events:
            yield events

    @contextlib.contextmanager
    def live(self, *path: str, last_id: str, **query: Any) -> Generator[Iterator[Doc]]:
        """The data of the server-sent events at ``path``, as they happen; ``last_id`` is the last one that was seen."""
        headers = {"Accept": "text/event-stream"} | ({"Last-Event-ID": last_id} if last_id else {})
        timeout = httpx.Timeout(SILENCE_S, connect=CONNECT_S)
        with self._open(path, _given(query), headers=headers, timeout=timeout) as response:
            yield self._events(response)

    def url(self) -> str:
        """Where the control plane answers: looked up each time, because one that comes back may be elsewhere."""
        if self._context.url:
            return self._context.url.rstrip("/")
        try:
            address = json.loads((self._context.home / ADDRESS_FILE).read_bytes())
            return str(address["url"])
        except (OSError, ValueError, KeyError, TypeError):
            return DEFAULT_URL

    # --- inside ---

    def _events(self, response: httpx.Response) -> Iterator[Doc]:
        with self._reaching():
            for event in EventSource(response).iter_sse():
                if event.data:
                    yield cast("Doc", json.loads(event.data))

    def _pieces(self, response: httpx.Response) -> Iterator[bytes]:
        with self._reaching():
            yield from response.iter_bytes()

    @contextlib.contextmanager
    def _open(self, path: tuple[str, ...], query: Doc, **options: Any) -> Generator[httpx.Response]:
        headers = options.pop("headers", {}) | self._credentials()
        with contextlib.ExitStack() as stack:
            with self._reaching():
                answer = self._http.stream("GET", self._address(path), params=query, headers=headers, **options)
                response = stack.enter_context(answer)
                if response.is_error:
                    response.read()
            if response.is_error:
                raise _refusal(response)
            yield response

    def _request(self, method: str, path: tuple[str, ...], query: Doc, body: Doc | None = None) -> httpx.Response:
        headers = self._credentials()
        with self._reaching():
            response = self._http.request(method, self._address(path), params=_given(query), json=body, headers=headers)
        if response.is_error:
            raise _refusal(response)
        return response

    def _document(self, response: httpx.Response) -> Doc:
        try:
            return cast("Doc", response.json())
        except ValueError as error:
            raise self._unreachable(": what answers there is something else") from error

    def _address(self, path: tuple[str, ...]) -> str:
        return self.url() + PREFIX + "".join("/" + quote(part, safe="") for part in path)

    def _credentials(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self._context.token or self._token_of_the_folder()}"}

    def _token_of_the_folder(self) -> str:
        """The owner's token, for nobody but who serves this data folder, or who was named."""
        file = self._context.home / TOKEN_FILE
        if not self._context.url and not self._is_served():
            raise self._unreachable()
        try:
            return file.read_text().strip()
        except OSError as error:
            with self._reaching():
                self._http.get(self.url() + "/health")
            hint = "set INTERLOCK_TOKEN, or INTERLOCK_HOME to the data folder of the control plane"
            raise Forbidden("no_token", f"there is no token: {error.strerror}", where=str(file), hint=hint) from error

    def _is_served(self) -> bool:
        # An address alone proves nothing: one that was killed leaves it, and anybody may listen there now.
        with contextlib.suppress(OSError), (self._context.home / LOCK_FILE).open("rb") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return (self._context.home / ADDRESS_FILE).exists()
        return False

    @contextlib.contextmanager
    def _reaching(self) -> Generator[None]:
        try:
            yield
        except (httpx.InvalidURL, httpx.UnsupportedProtocol) as error:
            hint = "it looks like http://HOST:PORT, in INTERLOCK_URL"
            raise Invalid("url", f"{self.url()!r} is no address of a control plane", hint=hint) from error
        except httpx.TimeoutException as error:
            raise self._unreachable(": it took too long") from error
        except (httpx.TransportError, httpx.DecodingError) as error:
            raise self._unreachable() from error

    def _unreachable(self, why: str = "") -> Unreachable:
        message = f"no control plane answers at {self.url()}{why}"
        return Unreachable("unreachable", message, hint="start one: interlock serve")


def api_of(ctx: typer.Context) -> Api:
    """The API for a command; its connections are closed when the command ends."""
    return ctx.with_resource(Api(context_of(ctx)))


def _given(members: Doc) -> Doc:
    return {name: value for name, value in members.items() if value is not None}


def _is_local(url: str) -> bool:
    try:
        host = urlsplit(url).hostname or ""
    except ValueError:
        return False
    return host in {"localhost", "::1", "0.0.0.0"} or host.startswith("127.")  # noqa: S104 - compared, not bound


def _refusal(response: httpx.Response) -> Refused:
    try:
        document = response.json()
    except ValueError:
        document = None
    if not isinstance(document, dict):
        title = f"the server answered {response.status_code} {response.reason_phrase}"
        document = {"code": f"http_{response.status_code}", "title": title, "where": response.request.url.path}
    return Refused({"status": response.status_code} | cast("Doc", document))
