"""The graph of each action: what is done after what, what belongs to the way back, and how long it may take."""

from typing import Any

import msgspec
import pytest

from interlock.core.errors import Invalid
from interlock.plans.blueprints.layout import lay_out
from interlock.plans.launching import bound
from interlock.runs.references import references
from interlock.sources.model import HealthCheck
from interlock.tools.model import Effect
from unit.plan_facts import WATCH, environment, facts, origin, recipe, release

V1 = release("v1")
V2 = release("v2")


def graph_of(*about: Any, **fields: Any):
    return lay_out(facts(*about, **fields))[0]


def straight(graph):
    """The tasks of a run in which nothing goes wrong, each with its needs."""
    return {task.id: task.needs for task in graph if task.when == "succeeded" and not task.branch}


@pytest.mark.parametrize("action", ["deploy", "drill"])
def test_smoke_commands_of_a_container_run_in_its_image_and_its_network(action: str):
    box = release("v1", recipe=recipe(target="container"), image="sha256:1", container_port=8080)
    graph, grants = lay_out(facts(action, release=box, recipe=box.recipe))
    inputs = graph.specs["smoke-staging"].inputs
    assert inputs["environment"]["SERVICE_URL"] == "http://127.0.0.1:8080"
    assert inputs["inside"]["instances"] == {"$output": "start-staging.instances"}
    (grant,) = [each for each in grants if each.task == "smoke-staging" and each.tool.endswith(".run")]
    assert (grant.tool, grant.arguments["image"].value) == ("container.run", "sha256:1")
    assert grant.arguments["commands"].value == [["python", "order.py", "8080"]]
    assert grant.arguments["joins"].rule == "decided"


def test_a_deployment_builds_proves_the_candidate_moves_the_traffic_watches_and_then_stops_the_old_one():
    assert straight(graph_of()) == {
        "checkout": (),
        "install": ("checkout",),
        "test-1": ("install",),
        "test-2": ("test-1",),
        "release": ("test-2",),
        "start-staging": ("release",),
        "verify-staging": ("start-staging",),
        "switch-staging": ("verify-staging",),
        "smoke-staging": ("switch-staging",),
        "watch-staging": ("smoke-staging",),
        "retire-staging": ("watch-staging",),
    }


@pytest.mark.parametrize(
    ("about", "tasks"),
    [
        (facts(release=V2), "start verify switch smoke watch retire"),
        (facts(release=V2, recipe=recipe(smoke=())), "start verify switch watch retire"),
        (facts(release=V2, wants_smoke=False), "start verify switch watch retire"),
        (facts(release=V2, environments=(environment("staging"),)), "start verify switch smoke watch"),
        (facts(release=V2, strategy="recreate"), "stop start verify switch smoke watch retire"),
        (facts("restart", release=V1), "start verify switch smoke watch retire"),
        (facts("rollback", release=V1), "start verify switch smoke watch quarantine"),
        (facts("drill", release=V1), "check start verify smoke stop"),
        (facts("drill", release=V1, recipe=recipe(smoke=())), "check start verify stop"),
        (facts("stop", release=V1), "switch retire"),
        (facts("stop", release=V1, environments=(environment("staging"),)), "switch"),
    ],
)
def test_the_straight_way_in_one_environment_is_one_line_of_tasks(about, tasks):
    ids = [f"{name}-staging" for name in tasks.split()]
    assert straight(lay_out(about)[0]) == {
        name: (before,) if before else () for before, name in zip([None, *ids], ids, strict=False)
    }


@pytest.mark.parametrize(
    ("about", "tasks"),
    [
        (facts("build", environments=()), ["checkout", "install", "test-1", "test-2", "release"]),
        (facts("build", environments=(), release=V2), []),
        (facts("test", environments=()), ["checkout", "install", "test-1", "test-2", "clean-up"]),
        (facts("test", environments=(), release=V2), ["checkout", "install", "test-1", "test-2", "clean-up"]),
    ],
)
def test_a_build_is_sealed_unless_there_is_one_and_a_test_always_runs_and_leaves_nothing(about, tasks):
    graph, _ = lay_out(about)
    assert list(straight(graph)) == tasks
    [*cleanup] = [task for task in graph if task.branch]
    assert [set(task.needs) for task in cleanup] == ([set(tasks)] if tasks else []), "after whichever step failed"


@pytest.mark.parametrize(("serving", "last"), [(V1, "retire-staging"), (None, "watch-staging")])
def test_the_next_environment_begins_when_the_one_before_was_watched_and_is_in_order(serving, last):
    both = (environment("staging", serving), environment("production", serving))
    assert straight(graph_of(environments=both))["start-production"] == (last,)
    recreated = straight(graph_of(environments=(both[0], environment("production", V1)), strategy="recreate"))
    assert recreated["stop-production"] == (last,)


@pytest.mark.parametrize(
    ("about", "guards"),
    [
        (facts(), {"switch-staging", "smoke-staging", "watch-staging"}),
        (facts(recipe=recipe(smoke=())), {"switch-staging", "watch-staging"}),
        (
            facts(strategy="recreate"),
            {"stop-staging", "start-staging", "verify-staging", "switch-staging", "smoke-staging", "watch-staging"},
        ),
    ],
)
def test_the_way_back_is_taken_when_anything_fails_that_touched_what_serves(about, guards):
    graph, _ = lay_out(about)
    restore = graph.specs["restore-staging"]
    assert (set(restore.needs), restore.when) == (guards, "failed")
    discarded = [set(task.needs) for task in graph if task.kind == "delivery.discard"]
    assert discarded == ([] if "start-staging" in guards else [{"start-staging", "verify-staging"}])


@pytest.mark.parametrize(
    ("serving", "steps"),
    [(V1, ["restore", "recheck", "return", "settle", "take-out"]), (None, ["restore", "return", "settle", "take-out"])],
)
def test_the_way_back_verifies_what_it_brings_back_before_it_gets_the_traffic(serving, steps):
    branch = graph_of(environments=(environment("staging", serving),)).branch("rollback:staging")
    assert [task.id for task in branch] == [f"{step}-staging" for step in steps]
    assert [task.needs for task in branch] == [(), *((f"{step}-staging",) for step in steps[:-1])]


def test_the_way_back_frees_the_candidate_leg_at_which_it_checked():
    for about, task in ((facts(), "take-out-staging"), (facts("rollback", release=V1), "quarantine-staging")):
        graph, grants = lay_out(about)
        assert graph.specs[task].inputs["takes_port"]
        pointed = [grant.arguments["kind"].value for grant in grants if (grant.task, grant.tool) == (task, "forwarder.point")]
        assert pointed == ["candidate"]


def test_the_way_back_is_made_of_what_served_when_the_plan_was_made():
    old = release("v1", recipe=recipe(env={"MODE": "old"}, health=HealthCheck(path="/old")))
    specs = graph_of(environments=(environment("staging", old),)).specs
    restore = specs["restore-staging"].inputs
    assert (restore["release_id"], restore["deployment_id"]) == ("rel_v1", "dep_v1_staging")
    assert (restore["instance"]["folder"], restore["instance"]["environment"]) == ("/bundles/shop/v1", {"MODE": "old"})
    assert specs["recheck-staging"].inputs["health"]["path"] == "/old"
    assert specs["switch-staging"].inputs["fallback"] == "rel_v1", "proven to be there before traffic leaves it"
    assert specs["return-staging"].inputs["fallback"] == "", "there is nothing further back"


def test_what_moves_traffic_forward_expects_what_served_when_the_plan_was_made():
    for about in (facts(), facts("stop", release=V1)):
        expecting = [task.inputs for task in lay_out(about)[0] if task.kind in {"delivery.start", "delivery.switch"}]
        assert {inputs["expects"] for inputs in expecting if "expects" in inputs} == {"dep_v1_staging"}
    first = graph_of(environments=(environment("staging"),)).specs
    assert first["start-staging"].inputs["expects"] == first["switch-staging"].inputs["expects"] == ""


def test_a_promotion_looks_at_its_source_before_anything_is_done_and_goes_on_like_a_deployment():
    graph = graph_of("promote", release=V2, origin=origin())
    assert straight(graph) == {"confirm-dev": ()} | straight(graph_of(release=V2)) | {"start-staging": ("confirm-dev",)}
    confirm = graph.specs["confirm-dev"]
    assert confirm.effect is Effect.READ
    assert confirm.inputs == {"service": "shop", "environment": "dev", "release_id": "rel_v2"}


def test_a_drill_has_no_right_to_the_stable_leg_and_takes_away_whatever_it_has_started():
    graph, grants = lay_out(facts("drill", release=V1, environments=(environment("staging", V2),)))
    kinds = {grant.arguments["kind"].value for grant in grants if grant.tool == "forwarder.point"}
    assert kinds == {"candidate"}
    abandon = graph.specs["abandon-staging"]
    assert (abandon.when, set(abandon.needs)) == (
        "failed",
        {"start-staging", "verify-staging", "smoke-staging", "stop-staging"},
    )
    assert "deployment_id" not in graph.specs["smoke-staging"].inputs, "nothing that serves is to blame"


@pytest.mark.parametrize("strategy", ["blue-green", "recreate"])
@pytest.mark.parametrize("action", ["deploy", "promote", "restart", "rollback", "drill", "stop"])
def test_what_a_task_takes_from_another_is_there_before_it_begins(action, strategy):
    graph = graph_of(action, release=V1, strategy=strategy)

    def before(task_id):
        return {task_id}.union(*(before(need) for need in graph.specs[task_id].needs))

    for task in graph:
        owners = {reference.rpartition(".")[0] for reference in references(task.inputs)}
        assert owners <= before(task.id) - {task.id}, task.id


@pytest.mark.parametrize("name", ["staging", "eu.west"])
def test_the_way_back_alone_takes_only_the_bad_deployment_from_the_run_before(name):
    graph = graph_of(environments=(environment(name, V1),))
    outputs: Any = {task.id: {"deployment_id": None, "process": None, "port": None, "stays": None} for task in graph}
    outputs[f"start-{name}"]["deployment_id"] = "dep_bad"
    way_back = bound(graph.branch(f"rollback:{name}"), outputs)
    way_back.check()
    before = {reference for task in graph if task.branch == f"rollback:{name}" for reference in references(task.inputs)}
    assert {item for task in way_back for item in references(task.inputs)} == before - {f"start-{name}.deployment_id"}
    assert way_back.specs[f"restore-{name}"].inputs["candidate"] == "dep_bad"
    assert way_back.specs[f"take-out-{name}"].inputs["deployment_id"] == "dep_bad"


def test_a_plan_depends_on_nothing_but_its_facts():
    assert msgspec.json.encode(lay_out(facts())) == msgspec.json.encode(lay_out(facts()))


@pytest.mark.parametrize(
    ("health", "longest_s"),
    [(None, 60.0), (HealthCheck(path="/", start_timeout_s=600.0, healthy_after=100, interval_s=5.0, timeout_s=2.0), 1300.0)],
)
def test_a_verification_has_the_time_that_its_health_check_may_take(health, longest_s):
    graph = graph_of(recipe=recipe(health=health), environments=(environment("staging", release("v1", recipe=recipe())),))
    assert graph.specs["verify-staging"].timeout_s > longest_s


def test_every_task_has_more_time_than_what_it_does_may_take():
    watch = msgspec.structs.replace(WATCH, window_s=86400.0, interval_s=600.0)
    specs = graph_of(watch=watch, command_timeout_s=7200.0).specs
    assert specs["install"].timeout_s > specs["install"].inputs["timeout_s"] == 7200.0
    assert specs["watch-staging"].timeout_s > 86400.0 + 5 * 600.0, "the looks after the window are part of it"
    assert specs["smoke-staging"].timeout_s > 300.0


def test_a_command_is_not_tried_again_by_itself():
    retries = {task.retry.max_attempts for task in graph_of() if task.kind == "delivery.command"}
    assert retries == {1}


def test_stopping_is_shown_as_destructive():
    assert {task.effect for task in graph_of("stop", release=V1)} == {Effect.DESTRUCTIVE}


def test_a_status_and_a_service_without_a_start_command_have_no_plan():
    for about, code in ((facts("status"), "no_plan"), (facts(recipe=recipe(start=None)), "no_start")):
        with pytest.raises(Invalid) as refusal:
            lay_out(about)
        assert refusal.value.code == code
