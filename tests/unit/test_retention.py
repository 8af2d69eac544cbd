"""What is removed after a while, and what never is while somebody may need it."""

import asyncio
import dataclasses
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from interlock.bootstrap.control_plane import ControlPlane
from interlock.core.clock import to_text
from interlock.core.errors import Unavailable
from interlock.core.scope import system_scope
from interlock.delivery.artifacts import RELEASE_LABEL, StoredArtifacts
from interlock.delivery.model import Route
from interlock.delivery.retention import Retention
from interlock.delivery.service import IN_USE
from interlock.delivery.targets import Targets
from interlock.testing.containers import FakeEngine
from interlock.tools.containers.ports import INSTANCE_LABEL
from interlock.tools.ports import ProcessStatus
from unit.plan_facts import deployment, place, release

SCOPE = system_scope("test")
KEPT = 2


class Records:
    """`Delivery` as retention asks it: releases and deployments, newest first."""

    def __init__(self, folder) -> None:
        self._folder = folder
        self._releases: list[Any] = []
        self._deployments: list[Any] = []
        self._serving: dict[str, str] = {}
        self.before: dict[str, str] = {}

    def build(self, *versions, image="") -> None:
        for version in versions:
            found = release(version, folder=str(self._folder / version), image=image)
            (self._folder / version).mkdir(parents=True)
            (self._folder / version / "shop.py").write_text(version)
            (self._folder / f"{version}.manifest").write_text("")
            self._releases.insert(0, found)

    def deploy(self, version, state="good", *, serves=False) -> None:
        self._deployments.insert(0, deployment(version, "staging", state=state))
        if serves:
            self._serving["staging"] = self._deployments[0].deployment_id

    def left(self) -> list[str]:
        """The versions whose files and list are there."""
        folders = {path.name for path in self._folder.iterdir() if path.is_dir()}
        assert {path.stem for path in self._folder.glob("*.manifest")} == folders
        return sorted(folders)

    def newest(self, count) -> list[Any]:
        return self._releases[:count]

    async def services(self, _scope):
        return [SimpleNamespace(name="shop")]

    async def releases(self, _scope, _service, limit):
        return self._releases[:limit]

    async def deployments(self, _scope, limit):
        return self._deployments[:limit]

    async def in_use(self, _scope):
        return [item for item in self._deployments if item.state in IN_USE]

    async def deployment(self, _scope, deployment_id):
        return next(item for item in self._deployments if item.deployment_id == deployment_id)

    async def targets(self, _scope):
        return {"process", *({"container"} if any(item.image for item in self._releases) else ())}

    async def known_releases(self, _scope, release_ids):
        return {item.release_id for item in self._releases} & set(release_ids)

    async def routes(self, _scope):
        known = msgspec.structs.asdict(place("staging"))
        return [Route(deployment_id=self._serving.get("staging", ""), **known)]

    async def last_good(self, _scope, _service, _environment, *, before):
        older = self.before.get(before)
        return await self.deployment(_scope, older) if older else None


class Processes:
    """A host that is only asked what there is, and told to forget."""

    def __init__(self) -> None:
        self.known: dict[str, ProcessStatus] = {}

    async def list(self):
        return dict(self.known)

    async def remove(self, key) -> None:
        del self.known[key]


@pytest.fixture
def records(tmp_path):
    return Records(tmp_path / "shop")


@pytest.fixture
def host():
    return Processes()


@pytest.fixture
def engine():
    return FakeEngine()


@pytest.fixture
def sweep(records, host, clock, engine):
    artifacts, targets = StoredArtifacts(engine), Targets({"process": host, "container": engine})
    retention = Retention(records, artifacts, targets, clock, KEPT, timedelta(days=30))
    return lambda: retention.sweep(SCOPE)


async def test_the_newest_builds_are_kept_whether_they_were_deployed_or_not(records, sweep):
    records.build("v1", "v2", "v3", "v4")
    assert await sweep() == 2
    assert records.left() == ["v3", "v4"]
    assert await sweep() == 0, "what is gone is not counted again"


async def test_an_engine_that_is_away_keeps_nothing_else_from_being_removed(records, host, clock, sweep, engine):
    for version in ("v1", "v2", "v3", "v4"):
        records.build(version, image=built(engine, version))
    host.known["p"] = ProcessStatus(state="exited", ended_at=to_text(clock.now() - timedelta(days=31)))
    engine.is_down = True
    assert await sweep() == 3
    assert (records.left(), list(host.known)) == (["v3", "v4"], [])
    engine.is_down = False
    assert await sweep() == 2, "the images have their turn once the engine is back"
    assert {image.image_id for image in await engine.images()} >= {item.image for item in records.newest(2)}


async def test_the_engine_is_asked_once_however_many_releases_came_and_went(records, sweep, engine, monkeypatch):
    for number in range(20):
        records.build(f"v{number}", image=built(engine, f"v{number}"))
    await sweep()
    asked = []
    for name in ("image", "images", "remove_image"):
        monkeypatch.setattr(engine, name, _counted(name, getattr(engine, name), asked))
    assert await sweep() == 0
    assert asked == ["images", "images"], "once for releases, once for what is left of builds"


def built(engine, version) -> str:
    """The image of a release."""
    labels = {INSTANCE_LABEL: engine._instance, RELEASE_LABEL: f"rel_{version}"}
    return engine._keep(version, {"made": version}, labels, "")


def _counted(name, call, asked):
    async def counted(*arguments):
        asked.append(name)
        return await call(*arguments)

    return counted


@pytest.mark.parametrize("state", ["starting", "live", "good", "paused", "drilling"])
async def test_a_release_in_use_is_pinned_however_old(records, sweep, state):
    records.build("v1", "v2", "v3", "v4")
    records.deploy("v1", state)
    await sweep()
    assert records.left() == ["v1", "v3", "v4"]


@pytest.mark.parametrize("state", ["retired", "failed", "rolled_back", "drilled"])
async def test_a_release_that_nobody_uses_any_more_is_not(records, sweep, state):
    records.build("v1", "v2", "v3", "v4")
    records.deploy("v1", state)
    await sweep()
    assert records.left() == ["v3", "v4"]


async def test_the_last_known_good_behind_what_serves_is_pinned(records, sweep):
    records.build("v1", "v2", "v3", "v4", "v5")
    records.deploy("v1", "retired")
    records.deploy("v2", "retired")
    records.deploy("v3", serves=True)
    records.before = {"dep_v3_staging": "dep_v2_staging"}
    await sweep()
    assert records.left() == ["v2", "v3", "v4", "v5"]


async def test_what_serves_is_pinned_whatever_its_record_says(records, sweep):
    records.build("v1", "v2", "v3", "v4")
    records.deploy("v1", "rolled_back", serves=True)
    await sweep()
    assert records.left() == ["v1", "v3", "v4"]


@pytest.mark.parametrize(
    ("state", "days", "is_kept"),
    [
        ("exited", 31, False),
        ("lost", 31, False),
        ("exited", 29, True),
        ("running", 400, True),
        ("starting", 400, True),
        ("unknown", 400, True),
    ],
)
async def test_the_output_of_a_process_is_kept_while_it_runs_and_a_while_longer(host, clock, sweep, state, days, is_kept):
    host.known["p"] = ProcessStatus(state=state, started_at=to_text(clock.now() - timedelta(days=days)))
    assert await sweep() == (0 if is_kept else 1)
    assert ("p" in host.known) is is_kept


async def test_it_is_kept_from_its_end_on_however_long_it_ran(host, clock, sweep):
    began, ended = (to_text(clock.now() - timedelta(days=days)) for days in (400, 29))
    host.known["p"] = ProcessStatus(state="exited", started_at=began, ended_at=ended)
    assert await sweep() == 0
    host.known["p"] = ProcessStatus(state="exited", started_at=began, ended_at=to_text(clock.now() - timedelta(days=31)))
    assert await sweep() == 1


async def test_the_output_of_what_serves_is_kept_even_when_it_has_ended(records, host, clock, sweep):
    long_ago = to_text(clock.now() - timedelta(days=400))
    records.build("v1")
    records.deploy("v1", serves=True)
    for key in ("process-v1-staging", "process-v0-staging"):
        host.known[key] = ProcessStatus(state="exited", started_at=long_ago)
    await sweep()
    assert list(host.known) == ["process-v1-staging"]


async def test_a_process_of_which_no_beginning_is_known_is_left_alone(host, sweep):
    host.known["p"] = ProcessStatus(state="lost")
    await sweep()
    assert list(host.known) == ["p"]


async def test_a_step_of_tidying_that_fails_keeps_no_other_from_its_turn():
    done = asyncio.Event()

    async def fails(_scope):
        raise Unavailable("away", "it is away")

    async def forgets(_scope, age):
        assert age == timedelta(days=7)
        done.set()

    services = SimpleNamespace(plans=SimpleNamespace(expire_overdue=fails), notifications=SimpleNamespace(forget=forgets))
    nothing: Any = None
    parts: dict[str, Any] = dict.fromkeys(field.name for field in dataclasses.fields(ControlPlane) if field.init)
    parts |= {"settings": SimpleNamespace(notify_keep_days=7), "services": services, "scope": nothing}
    plane = ControlPlane(**parts | {"retention": SimpleNamespace(sweep=fails)})
    tidying = asyncio.create_task(plane._tidy())
    async with asyncio.timeout(10):
        await done.wait()
    tidying.cancel()
    await asyncio.wait([tidying])
