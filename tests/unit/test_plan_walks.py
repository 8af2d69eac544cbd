"""What a plan does to the world, wherever it goes wrong: the real executors of its tasks on a host in memory."""

import pytest

from interlock.plans.blueprints.layout import lay_out
from unit.plan_facts import deployment, environment, facts, recipe, release
from unit.plan_world import World

V1 = release("v1")
V2 = release("v2")


@pytest.fixture
def world(monkeypatch):
    return lambda facts, **options: World(facts, monkeypatch, **options)


def keys_of(deployment):
    """What runs of a deployment; nothing of None."""
    return {instance.key for instance in deployment.instances} if deployment else set()


def check_that_it_is_settled(world, name, version):
    """Exactly ``version`` serves, runs, counts as good and gets the traffic; None for nothing."""
    serving = world.serving(name)
    assert (serving.version if serving else None) == version
    assert world.stable_leg(name) == ({address.port for address in serving.addresses} if serving else set()), (
        "the traffic goes where the record says"
    )
    assert world.running == keys_of(serving), "nothing else is left running"
    assert serving is None or serving.state == "good"


async def test_a_deployment_that_goes_well_takes_over_and_stops_the_old_one(world):
    done = await world(facts()).walk()
    check_that_it_is_settled(done, "staging", "v2")
    assert done.known["dep_v1_staging"].state == "retired"
    assert done.legs["shop.staging", "candidate"] == set()
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
        found.legs["shop.staging", "stable"] = {address.port for address in other.addresses}
        found.running = keys_of(other) | found.running

    found = world(facts())
    found.bodies["delivery.watch"] = watch
    done = await found.walk("watch-staging")
    assert (done.serving("staging").version, done.stable_leg("staging")) == ("v3", {20003})
    assert [item.state for item in done.known.values() if item.version == "v2"] == ["rolled_back"]
    assert done.running == {*keys_of(other), "process-v1-staging"}


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


CANARY = facts(strategy="canary")
ROLLING = facts(recipe=recipe(replicas=3), strategy="rolling", environments=(environment("staging", V1, count=3),))


def stable_pointings(world):
    """Each time the traffic was led anew: how many percent went to each port."""
    calls = [arguments for _, tool, arguments in world.calls if tool == "forwarder.point" and arguments["kind"] == "stable"]
    return [{share["port"]: share["percent"] for share in arguments["shares"]} for arguments in calls]


async def test_a_canary_gets_its_share_step_by_step_through_the_leg_where_it_is_measured(world):
    done = await world(CANARY).walk()
    check_that_it_is_settled(done, "staging", "v2")
    leg = CANARY.environments[0].place.candidate_port
    assert stable_pointings(done) == [
        {leg: 10, 20001: 90},
        {leg: 50, 20001: 50},
        {done.serving("staging").addresses[0].port: 100},
    ]


@pytest.mark.parametrize("broken", ["start-staging", "verify-staging", "smoke-staging"])
async def test_a_canary_that_goes_wrong_before_it_has_traffic_never_gets_any(world, broken):
    done = await world(CANARY).walk(broken)
    check_that_it_is_settled(done, "staging", "v1")
    assert stable_pointings(done) == []
    assert done.incidents == {}


@pytest.mark.parametrize(
    "broken",
    ["shift-staging-10", "analyse-staging-10", "shift-staging-50", "analyse-staging-50", "switch-staging", "watch-staging"],
)
async def test_a_canary_that_goes_wrong_at_any_step_gives_its_share_back(world, broken):
    done = await world(CANARY).walk(broken)
    check_that_it_is_settled(done, "staging", "v1")
    assert stable_pointings(done)[-1] == {20001: 100}
    assert {item.state for item in done.known.values() if item.version == "v2"} <= {"failed", "rolled_back"}


async def test_a_rolling_update_replaces_one_instance_after_the_other(world):
    done = await world(ROLLING).walk()
    check_that_it_is_settled(done, "staging", "v2")
    assert len(done.serving("staging").instances) == 3
    shares = stable_pointings(done)
    assert [len(set(step) & {20001, 20002, 20003}) for step in shares] == [2, 1, 0]
    assert all(sum(step.values()) == 100 and len(step) == 3 for step in shares)


@pytest.mark.parametrize("task", [task.id for task in lay_out(ROLLING)[0] if not task.branch and task.id != "retire-staging"])
async def test_a_rolling_update_that_goes_wrong_brings_as_many_old_instances_back_as_there_were(world, task):
    done = await world(ROLLING).walk(task)
    check_that_it_is_settled(done, "staging", "v1")
    assert len(done.serving("staging").instances) == 3


@pytest.mark.parametrize("strategy", ["canary", "rolling"])
async def test_where_nothing_serves_there_is_nothing_to_share_traffic_with(world, strategy):
    first = facts(recipe=recipe(replicas=2), environments=(environment("staging"),), strategy=strategy)
    done = await world(first).walk()
    check_that_it_is_settled(done, "staging", "v2")
    assert [len(step) for step in stable_pointings(done)] == [2]
