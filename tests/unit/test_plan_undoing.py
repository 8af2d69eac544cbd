"""Every step of a plan says how it is taken back; and wherever a plan goes wrong, that is what happens, in reverse."""

from itertools import product
from types import SimpleNamespace
from typing import Any

import pytest

from interlock.plans.blueprints.layout import lay_out
from interlock.plans.facts import ImagePlan
from interlock.plans.launching import bound
from interlock.plans.outcome import what_is_now
from interlock.runs import model as m
from interlock.sources.model import Migration
from interlock.tools.model import Effect
from unit.plan_facts import command, environment, facts, recipe, release
from unit.plan_facts import deployment as make_deployment
from unit.plan_world import World

TABLE = Migration(command=command("migrate table"), undo=command("migrate table --down"))
INDEX = Migration(command=command("migrate index"), undo=command("migrate index --down"))
DROP = Migration(command=command("migrate drop"), one_way="drops the column legacy")
V1 = release("v1")
STRATEGIES = ("recreate", "blue-green", "canary", "rolling")


def deployment(*migrations: Migration, environments: tuple[str, ...] = ("staging",), count: int = 1, **fields: Any):
    """v2 with these migrations, where v1 serves; ``together`` for all or nothing."""
    together, strategy = fields.pop("together", False), fields.pop("strategy", "blue-green")
    old = fields.pop("old", V1)
    chosen = recipe(migrate=migrations, all_or_nothing=together, replicas=count, **fields)
    places = tuple(environment(name, old, count) for name in environments)
    return facts(recipe=chosen, environments=places, strategy=strategy)


def contained(action, registry="", **fields):
    """A plan for what runs in containers."""
    image = ImagePlan(repository="interlock/shop", registry=registry, text="FROM base", container_port=8080)
    return facts(action, recipe=recipe(target="container", migrate=(TABLE, DROP)), image=image, **fields)


def every_plan():
    """All actions, strategies and beginnings; each with an id."""
    both = ("staging", "production")
    for strategy, old, count in product(STRATEGIES, (V1, None), (1, 3)):
        about = {"strategy": strategy, "old": old, "count": count}
        name = f"{strategy}-{count}-{'over' if old else 'first'}"
        yield f"deploy-{name}", deployment(TABLE, DROP, **about)
        yield f"deploy-both-{name}", deployment(TABLE, DROP, environments=both, **about)
        yield f"deploy-together-{name}", deployment(TABLE, DROP, environments=both, together=True, **about)
    for action, strategy in product(("restart", "rollback", "stop"), STRATEGIES):
        yield f"{action}-{strategy}", facts(action, release=V1, recipe=recipe(migrate=(TABLE, DROP)), strategy=strategy)
        alone = recipe(takes_port=False, migrate=(TABLE, DROP))
        yield f"{action}-portless", facts(action, release=release("v1", recipe=alone), recipe=alone, strategy="recreate")
    for action in ("build", "test"):
        yield action, facts(action, environments=())
        yield f"{action}-image", contained(action, environments=())
    for strategy, registry in product(STRATEGIES, ("", "registry:5000/interlock/shop")):
        yield (
            f"container-{strategy}-{'pushed' if registry else 'kept'}",
            contained("deploy", strategy=strategy, registry=registry),
        )
    yield "drill", facts("drill", release=V1)


PLANS = dict(every_plan())


@pytest.mark.parametrize("name", PLANS)
def test_every_step_that_changes_the_world_is_taken_back_by_something_or_says_that_nothing_can(name):
    graph, _ = lay_out(PLANS[name])
    assert graph.undeclared == ()
    for task in graph:
        assert (task.effect is not Effect.DESTRUCTIVE) or task.one_way, f"{task.id} cannot be taken back and does not say why"


@pytest.mark.parametrize("name", PLANS)
def test_what_takes_a_step_back_belongs_to_the_same_environment(name):
    graph, _ = lay_out(PLANS[name])
    for task in graph:
        place = task.inputs.get("place", {}).get("environment")
        for target in (*task.takes_back, *([task.undoes] if task.undoes else [])):
            assert graph.specs[target].inputs.get("place", {}).get("environment") == place or task.kind == "delivery.switch"


@pytest.mark.parametrize("action", ["restart", "rollback"])
def test_a_release_that_was_there_before_is_not_migrated_again(action):
    graph, _ = lay_out(facts(action, release=V1, recipe=recipe(migrate=(TABLE, DROP))))
    assert not [task for task in graph if task.kind == "delivery.migrate"]


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_migrations_run_once_before_the_first_instance_and_before_anything_is_stopped(strategy):
    graph, _ = lay_out(deployment(TABLE, DROP, strategy=strategy, count=3))
    first = graph.specs["stop-staging" if strategy == "recreate" else "start-staging"]
    assert first.needs == ("migrate-staging-2",)
    assert graph.specs["migrate-staging-2"].needs == ("migrate-staging-1",)
    assert graph.specs["migrate-staging-1"].needs == ("release",)
    assert (graph.undos, graph.specs["migrate-staging-2"].one_way) == (
        {"migrate-staging-1": "unmigrate-staging-1"}, "drops the column legacy",
    )  # fmt: skip


def test_a_migration_is_told_its_environment_and_gets_what_the_service_gets():
    graph, grants = lay_out(deployment(TABLE, environments=("staging", "production")))
    told = {"INTERLOCK_PLAN": "plan_1", "INTERLOCK_VERSION": "v2", "MODE": "shop"}
    for name, task_id in product(("staging", "production"), ("migrate", "unmigrate")):
        task = graph.specs[f"{task_id}-{name}-1"]
        assert task.inputs["environment"] == told | {"INTERLOCK_ENVIRONMENT": name}
        assert task.inputs["secrets"] == {"TOKEN": "shop/token"}
        (grant,) = [grant for grant in grants if grant.task == task.id]
        assert grant.arguments["commands"].value == task.inputs["commands"]


# --- walks -------------------------------------------------------------------------------------------------------------------


@pytest.fixture
def world(monkeypatch):
    return lambda facts, **options: World(facts, monkeypatch, **options)


def versions(world):
    """What serves where, with its traffic; it is all that runs."""
    found = {}
    running = set()
    for item in world.facts.environments:
        serving = world.serving(item.name)
        found[item.name] = serving.version if serving else None
        running |= {instance.key for instance in serving.instances} if serving else set()
        assert world.stable_leg(item.name) == ({address.port for address in serving.addresses} if serving else set())
    assert world.running == running, "nothing else is left running"
    return found


async def test_a_deployment_that_goes_well_keeps_its_migrations(world):
    done = await world(deployment(TABLE, INDEX)).walk()
    assert (versions(done), done.database) == ({"staging": "v2"}, ["staging-1", "staging-2"])
    assert done.state.summary is None


def forward(wish, *but):
    """The tasks of a plan when nothing goes wrong."""
    graph, _ = lay_out(wish)
    return [task.id for task in graph if task.id not in graph.cleanup and not task.id.startswith(but)]


@pytest.mark.parametrize("how", ["fails", "is cancelled"])
@pytest.mark.parametrize("strategy", STRATEGIES)
async def test_wherever_it_ends_nothing_of_it_is_left_or_all_of_it_is_accepted(world, strategy, how):
    wish = deployment(TABLE, INDEX, count=3, strategy=strategy)
    for task in forward(wish):
        done = await world(wish).walk(*[task] if how == "fails" else [], cancelled_at=task if how == "is cancelled" else "")
        is_accepted = task == "retire-staging"
        assert versions(done) == {"staging": "v2" if is_accepted else "v1"}, task
        assert done.database == (["staging-1", "staging-2"] if is_accepted else []), task
        summary = done.state.summary
        if not is_accepted:
            assert (summary.stands, summary.left) in [((), ()), (("checkout", "install", "test-1", "test-2", "release"), ())], (
                task
            )


async def test_a_migration_is_undone_after_everything_that_needs_it_and_the_last_one_first(world):
    done = await world(deployment(TABLE, INDEX)).walk("watch-staging")
    assert done.order[-7:] == [
        *[f"{step}-staging" for step in ("restore", "recheck", "return", "settle", "take-out")],
        "unmigrate-staging-2", "unmigrate-staging-1",
    ]  # fmt: skip
    assert done.state.status is m.RunStatus.ROLLED_BACK


async def test_a_one_way_migration_is_left_and_told_and_what_came_before_it_is_undone(world):
    done = await world(deployment(TABLE, DROP)).walk("verify-staging")
    assert (versions(done), done.order[-1]) == ({"staging": "v1"}, "unmigrate-staging-1")
    left = m.Left(task="migrate-staging-2", reason="cannot be undone: drops the column legacy")
    assert done.state.summary.left == (left,)
    assert "start-staging" in done.state.summary.undone


@pytest.mark.parametrize("broken", ["restore-staging", "return-staging", "take-out-staging"])
async def test_a_migration_stays_beneath_a_release_that_could_not_be_taken_out(world, broken):
    done = await world(deployment(TABLE)).walk("watch-staging", broken)
    assert done.database == ["staging-1"]
    left = {item.task: item.reason for item in done.state.summary.left}
    assert left["migrate-staging-1"].startswith(f"unmigrate-staging-1 skipped: {broken} failed, and start-staging rests on")
    assert done.state.status is m.RunStatus.FAILED


async def test_an_undo_that_fails_keeps_what_it_rests_on_and_is_told(world):
    done = await world(deployment(TABLE, INDEX)).walk("watch-staging", "unmigrate-staging-2")
    assert done.ended["unmigrate-staging-1"] == "skipped"
    assert [item.task for item in done.state.summary.left] == ["migrate-staging-1", "migrate-staging-2"]
    assert done.state.status is m.RunStatus.FAILED


BOTH = ("staging", "production")


@pytest.mark.parametrize("how", ["fails", "is cancelled"])
@pytest.mark.parametrize("strategy", STRATEGIES)
async def test_what_was_watched_in_one_environment_stays_when_the_next_goes_wrong(world, strategy, how):
    wish = deployment(TABLE, environments=BOTH, strategy=strategy, count=2)
    for task in [task for task in forward(wish, "retire") if "production" in task]:
        done = await world(wish).walk(*[task] if how == "fails" else [], cancelled_at=task if how == "is cancelled" else "")
        assert versions(done) == {"staging": "v2", "production": "v1"}, task
        assert done.database == ["staging-1"], task
        assert {"migrate-staging-1", "start-staging", "retire-staging"} <= set(done.state.summary.stands)
        assert done.state.summary.left == ()


@pytest.mark.parametrize("how", ["fails", "is cancelled"])
@pytest.mark.parametrize("strategy", STRATEGIES)
async def test_all_or_nothing_takes_back_what_was_watched_before(world, strategy, how):
    wish = deployment(TABLE, INDEX, environments=BOTH, together=True, strategy=strategy, count=2)
    for task in forward(wish, "retire", "checkout", "install", "test", "release"):
        done = await world(wish).walk(*[task] if how == "fails" else [], cancelled_at=task if how == "is cancelled" else "")
        assert versions(done) == {"staging": "v1", "production": "v1"}, task
        assert done.database == [], task
        assert done.state.summary.left == (), task
        assert not {name for name in done.state.summary.stands if name.endswith(BOTH)}, task


async def test_all_or_nothing_that_goes_well_stops_the_old_ones_when_the_last_watch_has_passed(world):
    done = await world(deployment(TABLE, environments=BOTH, together=True)).walk()
    assert versions(done) == {"staging": "v2", "production": "v2"}
    assert done.order[-3:] == ["watch-production", "retire-staging", "retire-production"]
    assert done.database == ["staging-1", "production-1"]


async def test_all_or_nothing_brings_the_last_one_back_first_and_refuses_what_was_bad(world):
    done = await world(deployment(TABLE, environments=BOTH, together=True)).walk("watch-production")
    back = [task for task in done.order if task.startswith(("restore", "take-out", "unmigrate"))]
    assert back == [
        "restore-production", "take-out-production", "restore-staging", "take-out-staging",
        "unmigrate-production-1", "unmigrate-staging-1",
    ]  # fmt: skip
    assert done.quarantined == ["content-v2"]
    assert (done.state.status, done.incidents) == (m.RunStatus.ROLLED_BACK, {})


async def test_all_or_nothing_brings_the_first_one_back_also_when_the_last_cannot_be(world):
    done = await world(deployment(environments=BOTH, together=True)).walk("watch-production", "restore-production")
    assert done.serving("staging").version == "v1"
    assert done.state.status is m.RunStatus.FAILED
    assert {item.task for item in done.state.summary.left} >= {"start-production", "switch-production"}


@pytest.mark.parametrize("strategy", STRATEGIES)
async def test_all_or_nothing_where_nothing_served_leaves_nothing(world, strategy):
    wish = deployment(TABLE, environments=BOTH, together=True, strategy=strategy, old=None)
    done = await world(wish).walk("watch-production")
    assert versions(done) == {"staging": None, "production": None}
    assert done.database == []


async def test_a_test_that_fails_is_taken_back_with_its_folder(world):
    done = await world(facts("test", environments=())).walk("test-1")
    assert done.state.summary == m.RunSummary(undone=("checkout", "install", "test-1"), never_begun=("test-2",))


UNTOUCHED = "production was not touched, v1 serves there"


def told(world):
    """What the plan says of the run's end."""
    content: Any = SimpleNamespace(pins=tuple(item.pin() for item in world.facts.environments))
    return what_is_now(content, world.facts.version, world.state)


@pytest.mark.parametrize(
    ("about", "broken", "said"),
    [
        ({}, "install", "staging was not touched, v1 serves there"),
        ({"old": None}, "install", "staging was not touched, nothing serves there"),
        ({}, "verify-staging", "staging still has v1"),
        ({"old": None}, "verify-staging", "nothing serves in staging, as before"),
        ({}, "watch-staging", "staging was brought back to v1"),
        ({"old": None}, "watch-staging", "staging was taken out of traffic; nothing served before"),
        ({"environments": BOTH}, "install", "staging was not touched, v1 serves there; " + UNTOUCHED),
        ({"environments": BOTH}, "watch-staging", "staging was brought back to v1; " + UNTOUCHED),
        ({"environments": BOTH}, "verify-production", "staging has v2; production still has v1"),
        ({"environments": BOTH}, "watch-production", "staging has v2; production was brought back to v1"),
        (
            {"environments": BOTH, "together": True},
            "verify-production",
            "staging was brought back to v1; production still has v1",
        ),
    ],
)
async def test_a_plan_says_what_is_where_when_it_did_not_succeed(world, about, broken, said):
    assert told(await world(deployment(**about)).walk(broken)) == said


async def test_a_plan_says_what_could_not_be_brought_back(world):
    done = await world(deployment(TABLE)).walk("watch-staging", "restore-staging")
    first, _, rest = told(done).partition("; ")
    assert first == "staging could not be brought back to v1: a person has to look"
    assert "not undone: migrate-staging-1 (unmigrate-staging-1 skipped: restore-staging failed" in rest
    done = await world(deployment()).walk("verify-staging", "discard-staging")
    assert told(done).startswith("what runs in staging is not certain: a person has to look; not undone: start-staging")


async def test_a_plan_says_where_somebody_else_was_quicker(world):
    other = make_deployment("v3", "staging", port=20003)
    found = world(deployment())
    found.known[other.deployment_id] = other

    async def is_overtaken(_context):
        found.routes["staging"] = other.deployment_id
        return {}

    found.bodies["delivery.watch"] = is_overtaken
    assert told(await found.walk("watch-staging")) == "staging was changed by somebody else meanwhile, and left so"


async def test_a_plan_that_succeeded_or_touches_no_environment_says_nothing_of_it(world):
    assert told(await world(deployment(TABLE)).walk()) == ""
    assert told(await world(facts("build", environments=())).walk("install")) == ""


def test_the_way_back_of_an_environment_alone_takes_nothing_else_along():
    graph, _ = lay_out(deployment(TABLE, environments=BOTH, together=True))
    outputs: Any = {task.id: {"deployment_id": "dep_bad", "instances": []} for task in graph}
    alone = bound(graph.branch("rollback:staging"), outputs)
    alone.check()
    steps = [f"{step}-staging" for step in ("restore", "recheck", "return", "settle", "take-out")]
    assert [task.id for task in alone] == steps
    assert [task.needs for task in alone] == [(), *((step,) for step in steps[:-1])]
