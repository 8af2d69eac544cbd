"""A thousand releases later: nothing reads more of the past than it needs, and what a rollback needs is still there."""

from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
import pytest_asyncio
import sqlalchemy

from e2e.conftest import environment
from harness.plane import Plane
from harness.sample import Sample
from interlock.delivery import store
from interlock.delivery.model import Deployment, DeploymentState, Release

pytestmark = pytest.mark.asyncio(loop_scope="module")

MANY = 1000


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def plane(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Plane]:
    made = Plane(tmp_path_factory.mktemp("plane"), environment(), keep_releases=5)
    await made.start()
    yield made
    await made.stop()
    await made.clear()


class Reads:
    """What was read of the database: statements, and the rows that came of releases and deployments."""

    def __init__(self) -> None:
        self.queries = 0
        self.rows = 0


@contextmanager
def reading(monkeypatch: pytest.MonkeyPatch) -> Iterator[Reads]:
    reads = Reads()
    many = store.many

    async def counted(connection: Any, query: Any, kind: Any) -> list[Any]:
        found = await many(connection, query, kind)
        reads.rows += len(found) if kind in {Release, Deployment} else 0
        return found

    def executed(*_: Any) -> None:
        reads.queries += 1

    with monkeypatch.context() as patched:
        patched.setattr(store, "many", counted)
        sqlalchemy.event.listen(sqlalchemy.Engine, "before_cursor_execute", executed)
        try:
            yield reads
        finally:
            sqlalchemy.event.remove(sqlalchemy.Engine, "before_cursor_execute", executed)


async def add_past(plane: Plane, sample: Sample, count: int, state: DeploymentState, folder: Path) -> list[Release]:
    """As many releases, each deployed once, as if they had come and gone after what serves now."""
    services, scope = plane.inside.services, plane.inside.scope
    (like,) = await services.delivery.deployments(scope, sample.name, limit=1)
    release = await services.delivery.release(scope, like.release_id)
    made: list[Release] = []
    async with plane.inside.database.write(scope) as session:
        for number in range(count):
            place = folder / f"{state}-{number}"
            place.mkdir(parents=True)
            place.with_name(f"{place.name}.manifest").touch()
            names = {"release_id": f"rel_{sample.name}_{state}_{number}", "version": f"v0.{number}.0-{state}"}
            made.append(msgspec.structs.replace(release, folder=str(place), content=f"sha256:{state}{number}", **names))
            await store.add_release(session.connection, made[-1])
            ids = {"deployment_id": f"dep_{sample.name}_{state}_{number}", "instances": (), "state": state}
            await store.put_deployment(session.connection, msgspec.structs.replace(like, **ids, **names))
    return made


async def costs(plane: Plane, sample: Sample, monkeypatch: pytest.MonkeyPatch, version: str) -> dict[str, tuple[int, int]]:
    """What planning, the status, the list of releases and finding the way back read of the past."""
    found: dict[str, tuple[int, int]] = {}
    delivery, scope = plane.inside.services.delivery, plane.inside.scope
    for name, ask in {
        "plan": lambda: plane.post("/commands/parse", {"text": f"deploy {sample.name} {version} to staging", "preview": True}),
        "rollback": lambda: plane.post(
            "/commands/parse", {"text": f"roll back {sample.name} in staging to v1.0.0", "preview": True}
        ),
        "status": lambda: plane.get("/status", params={"service": sample.name}),
        "releases": lambda: plane.get("/releases", params={"service": sample.name, "limit": 2}),
        "last good": lambda: delivery.last_good(scope, sample.name, "staging"),
    }.items():
        with reading(monkeypatch) as reads:
            await ask()
        found[name] = (reads.queries, reads.rows)
    return found


async def test_what_people_ask_costs_as_much_after_a_thousand_releases_as_after_two(
    plane: Plane, sample: Sample, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for version in ("v1.0.0", "v1.1.0", "v1.2.0"):
        sample.release(version)
    await plane.add(sample)
    await plane.deploy(sample, "v1.0.0")
    await plane.deploy(sample, "v1.1.0")
    before = await costs(plane, sample, monkeypatch, "v1.2.0")
    # Failures, as of somebody who tries all week: behind them lies what a rollback goes back to.
    await add_past(plane, sample, MANY, "failed", tmp_path / "past")
    after = await costs(plane, sample, monkeypatch, "v1.2.0")
    for name, (queries, rows) in after.items():
        # What is watched and tidied beside it may ask something in the same moment.
        assert queries <= before[name][0] + 20, name
        assert rows <= before[name][1] + 60, name


async def test_what_a_rollback_goes_back_to_is_found_and_kept_behind_a_thousand_failures(
    plane: Plane, sample: Sample, tmp_path: Path
) -> None:
    sample.release("v1.0.0")
    sample.release("v1.1.0")
    await plane.add(sample)
    await plane.deploy(sample, "v1.0.0")
    await plane.deploy(sample, "v1.1.0")
    failed = await add_past(plane, sample, MANY, "failed", tmp_path / "past")
    removed = await plane.inside.retention.sweep(plane.inside.scope)
    assert removed >= MANY - 5
    left = [release for release in failed if Path(release.folder).exists()]
    assert left == failed[-5:], "the newest are kept, whatever came of them"
    mine = await plane.inside.services.delivery.releases(plane.inside.scope, sample.name, limit=2000)
    kept = {release.version for release in mine if Path(release.folder).exists() and release not in failed}
    assert kept == {"v1.0.0", "v1.1.0"}, "what serves, and what it would go back to"
    run = await plane.do(f"roll back {sample.name} in staging")
    assert run["status"] == "completed", run["error"]
    assert await plane.ask(sample) == (200, "v1.0.0")


async def test_a_version_is_found_by_its_name_however_long_ago_it_was_good(
    plane: Plane, sample: Sample, tmp_path: Path
) -> None:
    sample.release("v1.0.0")
    await plane.add(sample)
    await plane.deploy(sample, "v1.0.0")
    past = await add_past(plane, sample, MANY + 50, "retired", tmp_path / "past")
    delivery, scope = plane.inside.services.delivery, plane.inside.scope
    oldest = await delivery.newest_good(scope, sample.name, "staging", lambda item: item.version == past[0].version)
    assert oldest is not None
    assert oldest.release_id == past[0].release_id
    newest = await delivery.last_good(scope, sample.name, "staging")
    assert newest is not None
    assert newest.release_id == past[-1].release_id
    assert await delivery.last_good(scope, sample.name, "staging", before=oldest.deployment_id) is not None
