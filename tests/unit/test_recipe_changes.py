"""What a plan says of the recipe: the parts that differ from the release that serves, and never the value of a variable."""

import msgspec
import pytest

from interlock.plans.drafting.findings import changes_of
from interlock.sources.model import CanaryStep, HealthCheck, Migration, Recipe, SmokeTest, WatchPolicy
from interlock.sources.recipe_changes import recipe_changes
from unit.plan_facts import command, environment, facts, recipe, release

OLD = recipe()
WATCH = WatchPolicy(window_s=60, error_rate=0.05)


def changed(then: Recipe, watch: WatchPolicy = WATCH, now: Recipe = OLD) -> dict[str, tuple[str, str]]:
    return {item.field: (item.now, item.then) for item in recipe_changes(now, then, WATCH, watch)}


def test_the_same_recipe_under_another_name_and_version_changes_nothing():
    assert changed(msgspec.structs.replace(OLD, name="other", version="9", description="new")) == {}


@pytest.mark.parametrize(
    ("fields", "field", "now", "then"),
    [
        ({"start": command("python new.py {port}")}, "start", "python shop.py {port}", "python new.py {port}"),
        ({"test": ()}, "test", "pytest -q; pytest -q slow", ""),
        ({"build": (command("make"),)}, "build", "", "make"),
        ({"health": HealthCheck(path="/ready")}, "health.path", "/health", "/ready"),
        ({"health": HealthCheck(path="/health", timeout_s=5.0)}, "health.timeout_s", "2", "5"),
        ({"strategy": "recreate"}, "strategy", "", "recreate"),
        ({"replicas": 3}, "replicas", "1", "3"),
        ({"takes_port": False}, "takes_port", "yes", "no"),
        ({"rollback": "propose"}, "rollback", "automatic", "propose"),
        ({"secrets": {"TOKEN": "shop/other"}}, "secrets.TOKEN", "shop/token", "shop/other"),
        ({"steps": (CanaryStep(percent=10, bake_s=30),)}, "steps", "10 % for 30 s; 50 % for 30 s", "10 % for 30 s"),
        (
            {"migrate": (Migration(command=command("migrate up"), undo=command("migrate down")),)},
            "migrate",
            "",
            "migrate up (undo: migrate down)",
        ),
    ],
)
def test_each_part_is_compared_with_what_serves(fields, field, now, then):
    assert changed(msgspec.structs.replace(OLD, **fields)) == {field: (now, then)}


def test_a_health_check_that_is_gone_is_said_part_by_part():
    assert changed(msgspec.structs.replace(OLD, health=None))["health.path"] == ("/health", "")


def test_of_variables_the_names_are_told_and_never_a_value():
    new = msgspec.structs.replace(OLD, env={"MODE": "hunter2", "EXTRA": "hunter3"})
    found = changed(new)
    assert found == {"env.MODE": ("set", "set to another value"), "env.EXTRA": ("", "set")}
    assert changed(OLD, now=new)["env.EXTRA"] == ("set", "")
    assert "hunter" not in str(found)


def test_what_has_a_name_is_compared_by_it():
    new = msgspec.structs.replace(OLD, smoke=(SmokeTest(name="new", path="/"), *OLD.smoke))
    assert changed(new) == {"smoke.new": ("", "path /, expect_status 200")}


def test_thresholds_are_those_that_are_watched_by():
    assert changed(OLD, WatchPolicy(window_s=60, error_rate=0.01)) == {"watch.error_rate": ("0.05", "0.01")}


def test_a_plan_holds_the_changes_for_each_environment():
    old = release("v1", recipe=msgspec.structs.replace(OLD, replicas=2))
    both = facts(environments=(environment("staging", old), environment("production")))
    staging, production = changes_of(both, {})
    assert [(item.field, item.now, item.then) for item in staging.recipe] == [("replicas", "2", "1")]
    assert production.recipe == (), "nothing serves there to compare with"
