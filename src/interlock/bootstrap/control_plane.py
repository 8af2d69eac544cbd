"""One control plane on one data folder: its start, its end, and what it does beside what it is asked."""

import asyncio
import contextlib
import functools
import importlib
import os
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import structlog
from fastapi import FastAPI

from interlock.adapters.caddy.forwarder import CaddyForwarder
from interlock.core.scope import Scope
from interlock.db.database import Database
from interlock.db.namespaces import CONTROL
from interlock.delivery.retention import Retention
from interlock.delivery.watcher import Watcher
from interlock.events.service import Events
from interlock.faces.http.app import create_app
from interlock.faces.http.services import Services
from interlock.faces.ws.runs import live_router
from interlock.notifications.courier import Courier
from interlock.plans.deciding.queue import Queue
from interlock.plans.drift.healing import Healing
from interlock.runs.driver import LocalDriver
from interlock.settings import Settings
from interlock.tenancy.model import OWNER

log = structlog.get_logger(__name__)

TOKEN_FILE = "owner.token"  # noqa: S105 - the name of the file, not a token
FORWARDER_CHECK_S = 5.0
TIDY_S = 600.0


@dataclass(slots=True, kw_only=True)
class ControlPlane:
    """One control plane on one data folder: `start` it inside a running loop, `stop` it before the loop ends."""

    settings: Settings
    database: Database
    services: Services
    driver: LocalDriver
    watcher: Watcher
    queue: Queue
    healing: Healing
    events: Events
    forwarder: CaddyForwarder
    retention: Retention
    courier: Courier
    scope: Scope
    _background: list[asyncio.Task[None]] = field(default_factory=list[asyncio.Task[None]], init=False)
    failure: Exception | None = field(default=None, init=False)
    """Why the last `lifespan` did not begin."""

    async def start(self) -> None:
        """Make the databases and the owner's token, adopt what was under way, begin to dispatch and to watch."""
        await asyncio.to_thread(self.database.store.migrate, CONTROL, "control")
        await asyncio.to_thread(self.database.store.migrate, self.scope.tenant, "tenant")
        await self.services.tenancy.ensure_tenant(self.scope)
        await self._ensure_token()
        await self.driver.recover()
        works = (
            self.events.dispatch(self.scope),
            self.watcher.run(self.scope),
            self.queue.run(self.scope),
            self.healing.run(self.scope, self.settings.drift_interval_s),
            self.courier.run(self.scope),
            self._keep_forwarder(),
            self._tidy(),
        )
        self._background.append(asyncio.create_task(asyncio.to_thread(_load_what_requests_need)))
        for work in works:
            self._background.append(asyncio.create_task(work))

    async def stop(self) -> None:
        """Stop working. Processes, the forwarder and traffic stay; what was under way goes on at the next start."""
        for task in self._background:
            task.cancel()
        await asyncio.gather(*self._background, return_exceptions=True)
        await self.driver.close()
        await self.database.close()

    @contextlib.asynccontextmanager
    async def lifespan(self, _app: FastAPI) -> AsyncGenerator[None]:
        """`start` and `stop` around the server's life."""
        try:
            await self.start()
        except Exception as error:
            self.failure = error
            raise
        try:
            yield
        finally:
            await self.stop()

    def app(self) -> FastAPI:
        """The server over this control plane."""
        router = live_router(self.services.tenancy, self.services.runs)
        return create_app(self.services, self.lifespan, [router])

    async def _ensure_token(self) -> None:
        file = self.settings.home / TOKEN_FILE
        if file.exists():
            with contextlib.suppress(Exception):
                await self.services.tenancy.authenticate(file.read_text().strip(), "internal")
                return
        token = await self.services.tenancy.issue_token(self.scope, OWNER)
        await asyncio.to_thread(_write_token, file, token)

    async def _keep_forwarder(self) -> None:
        """Bring the forwarder back, with the configuration it had, whenever something is meant to be reached through it."""
        while True:
            try:
                if any(route.deployment_id for route in await self.services.delivery.routes(self.scope)):
                    await self.forwarder.ensure()
            except Exception as error:
                log.warning("forwarder.down", error=str(error))
            await asyncio.sleep(FORWARDER_CHECK_S)

    async def _tidy(self) -> None:
        """Expire plans that nobody decided on, and remove what nobody needs any more."""
        keep = timedelta(days=self.settings.notify_keep_days)
        forget = functools.partial(self.services.notifications.forget, age=keep)
        while True:
            for step in (self.services.plans.expire_overdue, self.retention.sweep, forget):
                try:
                    await step(self.scope)
                except Exception as error:
                    log.warning("tidying.failed", error=str(error))
            await asyncio.sleep(TIDY_S)


def _load_what_requests_need() -> None:
    """Import slow modules in the background, so that the first request does not pay for them."""
    for module in ("interlock.plans.words.parser", "interlock.sources.module_file", "interlock.faces.http.querying"):
        importlib.import_module(module)


def _write_token(file: Path, token: str) -> None:
    """Readable by the owner of the data folder alone, from the first moment on."""
    aside = file.with_suffix(".new")
    with open(os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as stream:
        stream.write(token + "\n")
    aside.rename(file)
