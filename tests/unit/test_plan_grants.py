"""What a plan gives its tasks the right to: all that their executors call, wherever the run goes, and nothing besides."""

import asyncio
import functools
from typing import Any

import msgspec
import pytest

from interlock.core.errors import Forbidden
from interlock.plans.blueprints.layout import lay_out
from interlock.tools.grants import check_call
from interlock.tools.model import Effect
from interlock.tools.service import defaults
from unit.plan_facts import environment, facts, origin, place, recipe, release
from unit.plan_world import TOOLS, World

V1 = release("v1")
V2 = release("v2")
THREE = release("v1", recipe=recipe(replicas=3, smoke=()))
WORKER = release("v1", recipe=recipe(takes_port=False))
TWO = (environment("staging", V1), environment("production", V1))
PLANS: dict[str, Any] = {
    "deploy": facts(),
    "deploy of what was built": facts(release=V2),
    "first deploy": facts(environments=(environment("staging"),)),
    "first recreate": facts(environments=(environment("staging"),), strategy="recreate"),
    "recreate": facts(strategy="recreate"),
    "without health check and smoke tests": facts(recipe=recipe(health=None, smoke=())),
    "two environments": facts(environments=TWO),
    "worker": facts(recipe=WORKER.recipe, environments=(environment("staging", WORKER),)),
    "worker in the place of a service": facts(recipe=WORKER.recipe),
    "service in the place of a worker": facts(environments=(environment("staging", WORKER),), strategy="recreate"),
    "test": facts("test", environments=()),
    "build": facts("build", environments=()),
    "restart": facts("restart", release=V1),
    "rollback": facts("rollback", release=V1, environments=(environment("staging", V2),)),
    "stop": facts("stop", release=V1),
    "promote": facts("promote", release=V2, origin=origin()),
    "drill": facts("drill", release=V1, environments=(environment("staging", V2),)),
    "drill of several": facts("drill", release=THREE, recipe=THREE.recipe, environments=(environment("staging", V2),)),
    "canary": facts(strategy="canary"),
    "rolling": facts(recipe=recipe(replicas=3), strategy="rolling", environments=(environment("staging", V1, count=3),)),
}
DECIDED_LATER = {("process.start", "port"), ("forwarder.point", "shares"), ("process.stop", "key")}
"""Where a process listens, and under which name it runs, is known when it was started."""


every_plan = pytest.mark.parametrize("plan", PLANS)


@functools.cache
def worlds(plan):
    """The plan carried out in every direction: well, and with each kind of failure."""
    with pytest.MonkeyPatch.context() as patch:
        return asyncio.run(walk(PLANS[plan], patch))


async def walk(about, patch):
    graph = World(about, patch).graph
    broken = [task.id for task in graph if task.id == "install" or task.id.startswith(("verify-", "watch-"))]
    found = [await World(about, patch).walk()]
    for task_id in broken:
        found += [await World(about, patch, old_has_ended=ended).walk(task_id) for ended in (False, True)]
    return found


def is_granted(grants, task, tool, arguments):
    try:
        check_call(grants, task, tool, arguments, defaults(TOOLS[tool]))
    except Forbidden:
        return False
    return True


def distinct_calls(plan):
    return {msgspec.json.encode(call): call for world in worlds(plan) for call in world.calls}.values()


@every_plan
def test_every_right_is_needed_on_some_way_through_the_plan(plan):
    calls = distinct_calls(plan)
    unused = [grant for grant in worlds(plan)[0].grants if not any(is_granted([grant], *call) for call in calls)]
    assert unused == []


@every_plan
def test_a_call_that_differs_in_anything_that_was_known_is_refused(plan):
    grants = worlds(plan)[0].grants
    for task, tool, arguments in distinct_calls(plan):
        for name in arguments:
            if (tool, name) not in DECIDED_LATER:
                assert not is_granted(grants, task, tool, arguments | {name: other(arguments[name])}), (task, name)
        for name, value in defaults(TOOLS[tool]).items():
            assert name in arguments or not is_granted(grants, task, tool, arguments | {name: other(value)}), (task, name)


@every_plan
def test_no_task_can_do_what_another_one_is_for(plan):
    world = worlds(plan)[0]
    callers = {(task, tool) for task, tool, _ in distinct_calls(plan)}
    for _, tool, arguments in distinct_calls(plan):
        for task in world.graph.specs:
            assert (task, tool) in callers or not is_granted(world.grants, task, tool, arguments)


@every_plan
def test_a_task_is_shown_with_at_least_the_effect_of_its_tools(plan):
    ranks = {effect: rank for rank, effect in enumerate(Effect)}
    world = worlds(plan)[0]
    for grant in world.grants:
        assert ranks[world.graph.specs[grant.task].effect] >= ranks[TOOLS[grant.tool].effect], grant.task


def other(value: Any) -> Any:
    """Something else of the same kind."""
    match value:
        case bool():
            return not value
        case int() | float():
            return value + 1
        case str():
            return value + "x"
        case list():
            return [*value, ["sh"]]
        case dict():
            return value | {"EVIL": "1"}
    return 18103


def test_what_is_decided_later_is_still_bounded():
    _, grants = lay_out(PLANS["deploy"])
    for grant in grants:
        for name, rule in grant.arguments.items():
            assert rule.rule == "exactly" or (grant.tool, name) in DECIDED_LATER
            assert rule.rule != "decided" or grant.task in {"discard-staging", "take-out-staging"}, "its run starts it"
            if name == "port":
                assert [rule.allows(port) for port in (None, 20001, 22, "20001")] == [True, True, False, False]
            if name == "shares":
                ports = [[{"port": port, "percent": 100}] for port in (20001, 22, "20001")]
                assert [rule.allows(shares) for shares in ([], *ports, None, ["sh"])] == [
                    True,
                    True,
                    False,
                    False,
                    False,
                    False,
                ]


@pytest.mark.parametrize(
    ("plan", "task", "process"),
    [
        ("deploy", "retire-staging", "process-v1-staging"),
        ("recreate", "stop-staging", "process-v1-staging"),
        ("rollback", "quarantine-staging", "process-v2-staging"),
        ("stop", "retire-staging", "process-v1-staging"),
    ],
)
def test_of_the_processes_that_run_only_the_one_that_serves_can_be_stopped(plan, task, process):
    _, grants = lay_out(PLANS[plan])
    assert is_granted(grants, task, "process.stop", {"key": process})
    assert not is_granted(grants, task, "process.stop", {"key": "process-v1-production"})


@pytest.mark.parametrize(("mine", "others"), [("staging", "production"), ("production", "staging")])
def test_a_task_of_one_environment_has_no_right_in_another(mine, others):
    _, grants = lay_out(PLANS["two environments"])
    of_mine = [grant for grant in grants if grant.task.endswith(f"-{mine}")]
    shown = msgspec.json.encode(of_mine).decode()
    assert len(of_mine) >= 10
    foreign = place(others)
    for trace in (foreign.route, str(foreign.stable_port), str(foreign.candidate_port)):
        assert trace not in shown


def test_no_right_is_about_another_service():
    _, grants = lay_out(PLANS["two environments"])
    routes = {grant.arguments["route"].value for grant in grants if "route" in grant.arguments}
    folders = {grant.arguments["folder"].value for grant in grants if "folder" in grant.arguments}
    assert routes == {"shop.staging", "shop.production"}
    assert folders == {"/bundles/shop/v1", "/bundles/shop/v2"}


def test_a_secret_reaches_the_service_and_no_command_of_the_build():
    _, grants = lay_out(PLANS["deploy"])
    with_secrets = {grant.task for grant in grants if grant.arguments.get("secrets")}
    assert with_secrets == {"start-staging", "restore-staging"}
    [install] = [grant for grant in grants if grant.task == "install"]
    call: dict[str, Any] = {name: rule.value for name, rule in install.arguments.items()}
    assert is_granted([install], "install", "command.run", call)
    assert not is_granted([install], "install", "command.run", call | {"secrets": {"TOKEN": "shop/token"}})


def test_what_only_looks_or_records_has_no_rights_at_all():
    graph, grants = lay_out(PLANS["deploy"])
    assert {task.kind for task in graph} - {graph.specs[grant.task].kind for grant in grants} == {
        "delivery.release",
        "delivery.settle",
        "delivery.watch",
    }
