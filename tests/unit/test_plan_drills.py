"""Drills and promotions: what they do to the world wherever they go wrong, and what is said and refused beforehand."""

from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from interlock.core.errors import Conflict, Invalid
from interlock.core.scope import system_scope
from interlock.events.model import Envelope
from interlock.plans.drafting.findings import changes_of, findings_of
from interlock.plans.drafting.promotion import check_is_meant, check_not_there, origin_of, source_of
from interlock.plans.drilled import DrillHandlers
from interlock.plans.model import Pin
from interlock.plans.words.model import Constraints, Understood, VersionWords
from unit.plan_facts import ENVIRONMENTS, deployment, environment, facts, origin, recipe, release
from unit.plan_world import World

V1 = release("v1")
V2 = release("v2")
THREE = release("v1", recipe=recipe(replicas=3))
PROMOTED = facts("promote", release=V2, origin=origin())


def drill(release=V1, **fields):
    return facts("drill", release=release, recipe=release.recipe, environments=(environment("staging", V2),), **fields)


@pytest.fixture
def world(monkeypatch):
    return lambda facts: World(facts, monkeypatch)


# --- drills -------------------------------------------------------------------------------------------------------------------


STEPS = ["check-staging", "start-staging", "verify-staging", "smoke-staging", "stop-staging"]


@pytest.mark.parametrize("broken", ["", *STEPS])
@pytest.mark.parametrize("release", [V1, THREE], ids=["one", "three"])
async def test_a_drill_leaves_the_world_as_it_was_wherever_it_ends(world, broken, release):
    found = world(drill(release))
    before = (dict(found.known), dict(found.routes), set(found.running), found.stable_leg("staging"))
    done = await found.walk(*[broken] if broken else [])
    others = {name: item for name, item in done.known.items() if item.version != "v1"}
    assert (others, done.routes, done.running, done.stable_leg("staging")) == before
    assert not [call for call in done.calls if call[2].get("kind") == "stable"]
    assert done.legs.get(("shop.staging", "candidate"), set()) == set()
    assert (done.incidents, done.quarantined) == ({}, [])
    drilled = [item for item in done.known.values() if item.version == "v1"]
    states = {"": ["drilled"], "check-staging": [], "stop-staging": ["drilled"]}
    assert [item.state for item in drilled] == states.get(broken, ["failed"])
    assert (done.ended["abandon-staging"] == "completed") == (broken in STEPS[1:])


async def test_a_drill_proves_as_many_instances_as_a_rollback_would_start(world):
    done = await world(drill(THREE)).walk()
    assert len([call for call in done.calls if call[1] == "process.start"]) == 3


async def test_a_drill_ends_where_something_else_serves_by_now(world):
    found = world(drill())
    found.routes["staging"] = ""
    with pytest.raises(Conflict, match="nothing serves in staging by now"):
        await found.walk()
    assert found.calls == []


def test_a_drill_changes_nothing_and_says_what_it_starts():
    assert changes_of(drill(), {}) == ()
    assert {finding.code for finding in findings_of(drill())} == {"drill_target", "drill_starts"}
    bare = drill(release("v1", recipe=recipe(smoke=())))
    assert "no_smoke_tests" in {finding.code for finding in findings_of(bare)}


@pytest.mark.parametrize(
    ("pinned", "hint"),
    [("rel_v1", None), ("rel_v0", "interlock drill shop --env staging --to v0"), ("rel_v2", "it serves already")],
)
def test_a_drill_says_where_the_watch_would_go_if_that_is_elsewhere(pinned, hint):
    pin = Pin(environment="staging", release_id=pinned, version=pinned.removeprefix("rel_"))
    found = [finding.hint for finding in findings_of(drill(pinned=pin)) if finding.code == "drill_differs"]
    assert [hint in text for text in found] == ([True] if hint else [])


class Recorded:
    """`Drills`, as far as the handlers use it."""

    def __init__(self) -> None:
        self.drills: list[Any] = []
        self.asked: list[str] = []

    async def record(self, _scope: Any, drill: Any, asks: str = "") -> None:
        self.drills.append(drill)
        self.asked += [asks] if asks else []


@pytest.mark.parametrize(
    ("status", "error", "outcome"),
    [
        ("completed", {}, "proven"),
        ("failed", {"task": "verify-staging", "code": "not_healthy", "message": "ill"}, "failed"),
        ("failed", {"task": "check-staging", "code": "bundle_missing", "message": "gone"}, "failed"),
        ("failed", {"task": "check-staging", "code": "environment_changed", "message": "other"}, None),
        ("failed", {"task": "stop-staging", "code": "forwarder_down", "message": "down"}, None),
        ("failed", {"code": "run_timeout", "message": "too long"}, None),
        ("cancelled", {}, None),
    ],
)
async def test_only_what_a_rollback_would_meet_too_is_the_answer_of_a_drill(status, error, outcome):
    content = SimpleNamespace(
        action="drill", service="shop", environments=("staging",), release_id="rel_v1", plan_id="plan_1", pins=(Pin(
            environment="staging", version="v2"),)
    )  # fmt: skip
    drills = Recorded()

    async def get(_scope, _plan_id):
        return SimpleNamespace(version="v1"), content

    plans: Any = SimpleNamespace(get=get)
    handlers = DrillHandlers(plans, drills)  # pyright: ignore[reportArgumentType]
    data = {"run_id": "run_1", "plan_id": "plan_1", "role": "main", "status": status, "error": error}
    event = Envelope(
        event_id="e",
        event_type="run.finished",
        version="1.0",
        subject="run:run_1",
        timestamp="t",
        originating_agent="a",
        data=data,
    )
    await handlers.run_finished(system_scope("test"), event)
    assert [item.outcome for item in drills.drills] == ([outcome] if outcome else [])
    assert [text.startswith("the rollback of shop in staging would not work: ") for text in drills.asked] == (
        [True] if outcome == "failed" else []
    )


# --- promotions ---------------------------------------------------------------------------------------------------------------


async def test_a_promotion_that_goes_well_takes_over(world):
    done = await world(PROMOTED).walk()
    assert done.serving("staging").version == "v2"
    assert done.serving("staging").release_id == done.serving("dev").release_id
    assert done.known["dep_v1_staging"].state == "retired"


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"release_id": "rel_v3"}, "environment_changed"),
        ({"state": "live"}, "not_good"),
        ({"state": "paused"}, "not_good"),
    ],
)
async def test_a_promotion_touches_nothing_where_its_source_is_not_what_it_was(world, change, code):
    found = world(PROMOTED)
    found.known["dep_v2_dev"] = msgspec.structs.replace(found.known["dep_v2_dev"], **change)
    with pytest.raises(Conflict) as caught:
        await found.walk()
    assert caught.value.code == code
    assert found.calls == []


async def test_a_promotion_touches_nothing_while_an_incident_is_open_at_its_source(world):
    found = world(PROMOTED)
    found.incidents["dep_v2_dev"] = "it is slow"
    with pytest.raises(Conflict, match="it is slow"):
        await found.walk()
    assert found.calls == []


async def test_a_promotion_that_turns_bad_is_brought_back_and_its_source_left(world):
    done = await world(PROMOTED).walk("watch-staging")
    assert done.serving("staging").version == "v1"
    assert done.serving("dev").state == "good"


def wish(*environments, source=None, version=None):
    said = VersionWords(kind="tag", name=version) if version else None
    return Understood(
        action="promote", service="shop", version=said, environments=environments, post_steps=(), constraints=Constraints(),
        highlights=(), corrections=(), source=source,
    )  # fmt: skip


def test_without_a_source_it_is_the_environment_before_the_target():
    assert source_of(wish("production"), ENVIRONMENTS) == "staging"
    assert source_of(wish("production", source="dev"), ENVIRONMENTS) == "dev"
    with pytest.raises(Invalid, match="nothing comes before it"):
        source_of(wish("dev"), ENVIRONMENTS)


@pytest.mark.parametrize(("said", "fits"), [(None, True), ("v2", True), ("2", True), ("v2v2v2v", True), ("v1", False)])
def test_a_version_that_was_said_has_to_be_the_one_that_serves(said, fits):
    serving = deployment("v2", "staging")
    if fits:
        check_is_meant(wish("production", version=said), serving, V2)
        return
    with pytest.raises(Conflict) as caught:
        check_is_meant(wish("production", version=said), serving, V2)
    assert caught.value.code == "other_version"


def test_where_the_very_release_serves_already_there_is_nothing_to_do():
    check_not_there(V2, [environment("production", V1), environment("staging")])
    with pytest.raises(Conflict) as caught:
        check_not_there(V2, [environment("production", V2)])
    assert caught.value.code == "nothing_to_do"


@pytest.mark.parametrize(
    ("source", "targets", "skipped", "is_backwards"),
    [
        ("dev", ("staging",), (), False),
        ("dev", ("staging", "production"), (), False),
        ("dev", ("production",), ("staging",), False),
        ("dev", ("eu.west",), ("staging", "production"), False),
        ("production", ("dev",), (), True),
    ],
)
def test_the_order_of_environments_is_a_warning_and_no_refusal(source, targets, skipped, is_backwards):
    found = origin_of(deployment("v2", source), V2, targets, ENVIRONMENTS)
    assert (found.skipped, found.is_backwards) == (skipped, is_backwards)
    codes = {finding.code for finding in findings_of(facts("promote", release=V2, origin=found))}
    assert ("promotion_skips" in codes, "promotion_backwards" in codes) == (bool(skipped), is_backwards)
