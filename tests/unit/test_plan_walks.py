"""What a plan does to the world, wherever it goes wrong: the real executors of its tasks on a host in memory."""

import pytest

from unit.plan_facts import deployment, environment, facts, recipe, release
from unit.plan_world import World

V1 = release("v1")
V2 = release("v2")


@pytest.fixture
def world(monkeypatch):
    return lambda facts, **options: World(facts, monkeypatch, **options)


def check_that_it_is_settled(world, name, version):
    """Exactly ``version`` serves, runs, counts as good and gets the traffic; None for nothing."""
    serving = world.serving(name)
    assert (serving.version if serving else None) == version
    assert world.stable_leg(name) == (serving.port if serving else None), "the traffic goes where the record says"
    assert world.running == ({serving.process} if serving else set()), "nothing else is left running"
    assert serving is None or serving.state == "good"


async def test_a_deployment_that_goes_well_takes_over_and_stops_the_old_one(world):
    done = await world(facts()).walk()
    check_that_it_is_settled(done, "staging", "v2")
    assert done.known["dep_v1_staging"].state == "retired"
    assert done.legs["shop.staging", "candidate"] is None
    assert {name for name, ending in done.ended.items() if ending == "skipped"} == {
        "discard", "discard-staging", "restore-staging", "recheck-staging", "return-staging", "settle-staging",
        "take-out-staging",
    }  # fmt: skip


@pytest.mark.parametrize("broken", ["start-staging", "verify-staging"])
async def test_a_candidate_that_does_not_get_healthy_never_touches_what_serves(world, broken):
    done = await world(facts()).walk(broken)
    check_that_it_is_settled(done, "staging", "v1")
    assert done.known["dep_v1_staging"].state == "good"
    assert [item.state for item in done.known.values() if item.version == "v2"] == ["failed"]
    assert not [call for call in done.calls if call[2].get("kind") == "stable"], "no traffic was moved, not even back"
    assert done.ended["restore-staging"] == "skipped"


@pytest.mark.parametrize("broken", ["switch-staging", "smoke-staging", "watch-staging"])
@pytest.mark.parametrize("old_has_ended", [False, True])
async def test_once_traffic_has_moved_a_failure_brings_the_old_one_back(world, broken, old_has_ended):
    done = await world(facts(), old_has_ended=old_has_ended).walk(broken)
    check_that_it_is_settled(done, "staging", "v1")
    assert done.ended["retire-staging"] == done.ended["discard-staging"] == "skipped"
    assert [item.state for item in done.known.values() if item.version == "v2"] == ["rolled_back"]
    assert done.quarantined == ([] if broken == "switch-staging" else ["content-v2"])
    assert done.incidents == {}


async def test_what_somebody_else_has_brought_meanwhile_is_left_where_it_is(world):
    other = deployment("v3", "staging", port=20003)

    async def watch(_context):
        found.known[other.deployment_id] = other
        found.routes["staging"] = other.deployment_id
        found.legs["shop.staging", "stable"] = other.port
        found.running = {other.process, *found.running}

    found = world(facts())
    found.bodies["delivery.watch"] = watch
    done = await found.walk("watch-staging")
    assert (done.serving("staging").version, done.stable_leg("staging")) == ("v3", 20003)
    assert [item.state for item in done.known.values() if item.version == "v2"] == ["rolled_back"]
    assert done.running == {other.process, "process-v1-staging"}


@pytest.mark.parametrize("broken", ["stop-staging", "start-staging", "verify-staging", "switch-staging", "watch-staging"])
async def test_recreate_brings_the_old_one_back_from_its_first_step_on(world, broken):
    done = await world(facts(strategy="recreate")).walk(broken)
    check_that_it_is_settled(done, "staging", "v1")


async def test_recreate_stops_the_old_one_before_the_new_one_starts(world):
    done = await world(facts(strategy="recreate")).walk()
    check_that_it_is_settled(done, "staging", "v2")
    tools = [tool for _, tool, _ in done.calls if tool in {"process.start", "process.stop"}]
    assert tools[:2] == ["process.stop", "process.start"]


@pytest.mark.parametrize("old_takes_port", [True, False])
@pytest.mark.parametrize("new_takes_port", [True, False])
@pytest.mark.parametrize("broken", [None, "verify-staging", "watch-staging"])
async def test_traffic_follows_a_service_that_begins_or_ceases_to_take_a_port(world, old_takes_port, new_takes_port, broken):
    old = release("v1", recipe=recipe(takes_port=old_takes_port))
    wish = facts(recipe=recipe(takes_port=new_takes_port), environments=(environment("staging", old),), strategy="recreate")
    done = await world(wish).walk(*[broken] if broken else [])
    check_that_it_is_settled(done, "staging", "v1" if broken else "v2")


@pytest.mark.parametrize("strategy", ["blue-green", "recreate"])
@pytest.mark.parametrize("broken", ["verify-staging", "switch-staging", "watch-staging"])
async def test_a_first_deployment_that_goes_wrong_leaves_nothing_serving(world, strategy, broken):
    first = facts(environments=(environment("staging"),), strategy=strategy)
    check_that_it_is_settled(await world(first).walk(broken), "staging", None)


async def test_what_turns_bad_in_one_environment_does_not_reach_the_next(world):
    both = facts(environments=(environment("staging", V1), environment("production", V1)))
    done = await world(both).walk("watch-staging")
    assert done.serving("staging").version == done.serving("production").version == "v1"
    assert not [task for task, _, _ in done.calls if task.endswith("-production")]
    assert done.ended["restore-production"] == done.ended["discard-production"] == "skipped"


async def test_a_failure_in_the_last_environment_leaves_the_ones_before_it_alone(world):
    both = facts(environments=(environment("staging", V1), environment("production", V1)))
    done = await world(both).walk("watch-production")
    assert (done.serving("staging").version, done.serving("production").version) == ("v2", "v1")
    assert done.ended["restore-staging"] == "skipped"


@pytest.mark.parametrize("broken", ["checkout", "install", "test-1", "test-2", "release"])
async def test_a_build_that_fails_takes_its_folder_away_and_starts_nothing(world, broken):
    done = await world(facts()).walk(broken)
    check_that_it_is_settled(done, "staging", "v1")
    assert done.ended["discard"] == "completed"
    assert done.ended["start-staging"] == "skipped"
    assert not [tool for _, tool, _ in done.calls if tool.startswith(("process.", "forwarder."))]


async def test_a_rollout_that_fails_keeps_the_build(world):
    done = await world(facts()).walk("watch-staging")
    assert done.ended["discard"] == "skipped"


@pytest.mark.parametrize("broken", [None, "verify-staging", "watch-staging"])
async def test_a_rollback_by_hand_quarantines_what_it_leaves_only_when_it_goes_well(world, broken):
    wish = facts("rollback", release=V1, recipe=V1.recipe, environments=(environment("staging", V2),), content=V1.content)
    done = await world(wish).walk(*[broken] if broken else [])
    check_that_it_is_settled(done, "staging", "v2" if broken else "v1")
    assert (V2.content in done.quarantined) is (broken is None)
    assert done.known["dep_v2_staging"].state == ("good" if broken else "rolled_back")


@pytest.mark.parametrize("broken", [None, "verify-staging", "watch-staging"])
async def test_a_restart_serves_the_same_release_whether_it_works_or_not(world, broken):
    wish = facts("restart", release=V1, recipe=V1.recipe, content=V1.content)
    done = await world(wish).walk(*[broken] if broken else [])
    check_that_it_is_settled(done, "staging", "v1")
    assert done.quarantined == [], "the content that serves again is not what went wrong"


@pytest.mark.parametrize("takes_port", [True, False])
async def test_a_stop_leaves_nothing_serving(world, takes_port):
    old = release("v1", recipe=recipe(takes_port=takes_port))
    wish = facts("stop", release=old, recipe=old.recipe, environments=(environment("staging", old),), strategy="recreate")
    done = await world(wish).walk()
    check_that_it_is_settled(done, "staging", None)
    assert done.known["dep_v1_staging"].state == "retired"
