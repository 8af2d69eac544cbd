"""A control plane inside the test's own process, spoken to by its public HTTP interface."""

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import httpx

from harness.ports import port_range
from harness.sample import Sample
from interlock.adapters.hosts.local import LocalHost
from interlock.bootstrap.joining import ControlPlane, build
from interlock.core.clock import Clock
from interlock.settings import Settings

PATIENCE_S = 40.0
ENDED = {"completed", "failed", "cancelled", "rolled_back"}
SETTLED = {"succeeded", "failed", "rolled_back"}


async def until(look: Callable[[], Awaitable[Any]], what: str, patience_s: float = PATIENCE_S) -> Any:
    """Look until what is seen is true; returns it."""
    deadline, pause_s = time.monotonic() + patience_s, 0.02
    while not (seen := await look()):
        assert time.monotonic() < deadline, f"in vain: {what}"
        await asyncio.sleep(pause_s)
        # Every look costs the machine what the looked-at wants for itself.
        pause_s = min(1.5 * pause_s, 0.2)
    return seen


class Client:
    """The HTTP interface with the owner's token, wherever the control plane runs."""

    http: httpx.AsyncClient

    async def call(self, method: str, path: str, status: int | None = 200, **options: Any) -> Any:
        """One request below ``/api/v1``; returns the body. The status must be ``status``, if given."""
        answer = await self.http.request(method, f"/api/v1{path}", **options)
        assert status is None or answer.status_code == status, f"{method} {path}: {answer.status_code} {answer.text}"
        return answer.json()

    async def get(self, path: str, status: int | None = 200, **options: Any) -> Any:
        return await self.call("GET", path, status, **options)

    async def post(self, path: str, body: dict[str, Any] | None = None, status: int | None = 200, **options: Any) -> Any:
        return await self.call("POST", path, status, json=body or {}, **options)

    async def add(self, sample: Sample) -> None:
        await self.post("/services", {"name": sample.name, "repository": str(sample.path)}, 201)

    async def plan(self, text: str) -> dict[str, Any]:
        """The plan for a sentence, which must be one."""
        parsed = await self.post("/commands/parse", {"text": text})
        assert parsed["kind"] == "plan", parsed
        return parsed["plan"]

    async def refusal(self, text: str, status: int = 409) -> dict[str, Any]:
        """The problem that a sentence meets with."""
        return await self.post("/commands/parse", {"text": text}, status)

    async def approve(self, plan: dict[str, Any], status: int = 200) -> dict[str, Any]:
        return await self.post(f"/plans/{plan['plan_id']}/approve", {"content_hash": plan["content_hash"]}, status)

    async def begin(self, text: str) -> str:
        """Plan and approve; returns the id of the run once it is there."""
        plan = await self.plan(text)
        await self.approve(plan)
        return await self.run_of(plan["plan_id"])

    async def run_of(self, plan_id: str, role: str = "main") -> str:
        async def look() -> Any:
            runs = (await self.get("/runs", params={"plan": plan_id}))["items"]
            return next((run["run_id"] for run in runs if run["role"] == role), None)

        return await until(look, f"{plan_id} has its {role} run")

    async def ended(self, run_id: str, patience_s: float = PATIENCE_S) -> dict[str, Any]:
        """The run, once it has ended and its plan knows."""

        async def look() -> Any:
            run = await self.get(f"/runs/{run_id}")
            return run if run["status"] in ENDED else None

        try:
            run = await until(look, f"{run_id} ends", patience_s)
        except AssertionError as error:
            error.add_note(await self.how_far(run_id))
            raise

        async def settled() -> Any:
            return (await self.get(f"/plans/{run['plan_id']}"))["state"] in SETTLED

        await until(settled, "the plan knows of the end of its run")
        return run

    async def how_far(self, run_id: str) -> str:
        """What a run that does not end is at, for people."""
        run = await self.get(f"/runs/{run_id}")
        under_way = [task for task in run["tasks"] if task["status"] not in {"completed", "pending", "skipped"}]
        items = (await self.get("/inbox"))["items"]
        return json.dumps({"status": run["status"], "tasks": under_way, "inbox": items}, indent=1)

    async def do(self, text: str) -> dict[str, Any]:
        """Plan, approve, and wait for the end of the run."""
        return await self.ended(await self.begin(text))

    async def deploy(self, sample: Sample, version: str, environment: str = "staging") -> dict[str, Any]:
        """Deploy, which must succeed."""
        run = await self.do(f"deploy {sample.name} {version} to {environment}")
        assert run["status"] == "completed", run["error"]
        return run

    async def task_runs(self, run_id: str, task_id: str) -> None:
        """Wait until a task of the run is running."""

        async def look() -> bool:
            tasks = (await self.get(f"/runs/{run_id}"))["tasks"]
            return any(task["id"] == task_id and task["status"] == "running" for task in tasks)

        await until(look, f"{task_id} runs")

    async def serving(self, sample: Sample, environment: str = "staging") -> dict[str, Any] | None:
        rows = (await self.get("/status", params={"service": sample.name, "environment": environment}))["items"]
        return rows[0]["serving"]

    async def url(self, sample: Sample, environment: str = "staging") -> str:
        rows = (await self.get("/status", params={"service": sample.name, "environment": environment}))["items"]
        return rows[0]["url"]

    async def ask(self, sample: Sample, path: str = "/", environment: str = "staging") -> tuple[int, str]:
        """What the service answers where its users reach it; status 0 for no answer at all."""
        async with httpx.AsyncClient(trust_env=False, timeout=10) as http:
            try:
                answer = await http.get(await self.url(sample, environment) + path)
            except httpx.TransportError as error:
                return 0, str(error)
        return answer.status_code, answer.text

    async def behave(self, sample: Sample, **told: Any) -> None:
        """Tell the running service how to behave from now on."""
        query = "&".join(f"{name}={str(value).lower()}" for name, value in told.items())
        assert (await self.ask(sample, f"/behave?{query}"))[0] == 200

    async def state(self, plan_id: str) -> str:
        return (await self.get(f"/plans/{plan_id}"))["state"]

    async def incidents(self, sample: Sample, state: str = "") -> list[dict[str, Any]]:
        found = (await self.get("/incidents", params={"state": state} if state else {}))["items"]
        return [incident for incident in found if incident["service"] == sample.name]

    async def inbox(self, sample: Sample) -> list[dict[str, Any]]:
        return [item for item in (await self.get("/inbox"))["items"] if sample.name in item["title"]]

    @contextlib.asynccontextmanager
    async def traffic(self, sample: Sample, pause_s: float = 0.02) -> AsyncIterator[list[tuple[int, str]]]:
        """Requests one after the other, on new connections, as long as the context lasts; the list grows with each answer."""
        url = await self.url(sample)
        answers: list[tuple[int, str]] = []
        # Made once: it is what a new client takes longest for.
        context = httpx.create_ssl_context()

        async def send() -> None:
            while True:
                # A connection kept open over a change of the listeners is closed by the forwarder, as its port says.
                async with httpx.AsyncClient(trust_env=False, timeout=10, verify=context) as http:
                    try:
                        answer = await http.get(url)
                        answers.append((answer.status_code, answer.text))
                    except httpx.TransportError as error:
                        answers.append((0, repr(error)))
                await asyncio.sleep(pause_s)

        sender = asyncio.create_task(send())
        try:
            yield answers
        finally:
            sender.cancel()
            await asyncio.wait([sender])


class Plane(Client):
    """`start` and `stop` it as often as wanted; `clear` at the end stops everything that it ever started."""

    def __init__(self, home: Path, environ: Mapping[str, str], clock: Clock | None = None, **options: Any) -> None:
        first, last = port_range()
        defaults: dict[str, Any] = {
            "environments": ("staging", "production"),
            "first_port": first,
            "last_port": last,
            # Where the receivers of tests are.
            "notify_allow": ("127.0.0.1",),
        }
        self.settings = Settings(home=home, **(defaults | options))
        self.home = home
        self.host = LocalHost(home / "processes")
        self._environ = environ
        self._clock = clock
        self.inside: ControlPlane

    @property
    def database_file(self) -> Path:
        return self.home / "tenants" / "default.db"

    async def start(self) -> None:
        for folder in ("sandbox", "bundles"):
            (self.home / folder).mkdir(parents=True, exist_ok=True)
        self.inside = build(self.settings, self._clock, self._environ)
        app = self.inside.app()
        await self.inside.start()
        token = (self.home / "owner.token").read_text().strip()
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        headers = {"Authorization": f"Bearer {token}"}
        self.http = httpx.AsyncClient(transport=transport, base_url="http://interlock", headers=headers, timeout=30)
        self.app = app

    async def stop(self) -> None:
        await self.http.aclose()
        await self.inside.stop()

    async def clear(self) -> None:
        """End every process that was started from this data folder."""
        keys = await self.host.list()
        # The forwarder goes first: it must not answer for services that are gone.
        await asyncio.gather(*(self.host.stop(key, 0) for key in sorted(keys)))


MakePlane = Callable[..., Awaitable[Plane]]
