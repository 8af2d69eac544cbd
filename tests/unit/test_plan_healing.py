"""How plans say what they bring is brought back after a change from outside."""

import pytest

from interlock.plans.blueprints.healing import lay_out_healing
from interlock.plans.blueprints.layout import lay_out
from interlock.tools.grants import Rule
from unit.plan_facts import environment, facts, recipe, release

V1 = release("v1")
TWO = facts(environments=(environment("staging", V1), environment("production", V1)))
BRING = [facts(), facts("restart", release=V1), facts("rollback", release=V1), facts(recipe=recipe(takes_port=False)), TWO]


@pytest.mark.parametrize("about", BRING, ids=lambda about: f"{about.action}-{len(about.environments)}")
def test_a_plan_that_brings_something_says_for_each_environment_how_it_is_healed(about):
    healing, grants = lay_out_healing(about)
    main, _ = lay_out(about)
    assert {task.branch for task in healing} == {f"heal:{place.name}" for place in about.environments}
    assert healing.undeclared == ()
    assert not {task.id for task in healing} & {task.id for task in main}
    assert {grant.task for grant in grants} <= set(healing.specs)


@pytest.mark.parametrize("action", ["stop", "test", "build"])
def test_a_plan_that_brings_nothing_heals_nothing(action):
    assert lay_out_healing(facts(action, release=V1))[0].tasks == ()


def test_a_branch_may_start_what_was_approved_and_nothing_else():
    _, grants = lay_out_healing(facts())
    (start,) = [grant for grant in grants if grant.tool == "process.start"]
    assert start.arguments["commands"] == Rule(rule="exactly", value=[["python", "shop.py", "{port}"]])
    assert start.arguments["folder"].value == facts().folder


def test_a_branch_of_two_environments_acts_in_its_own():
    healing, _ = lay_out_healing(TWO)
    for task in healing.branch("heal:production"):
        assert task.inputs["place"]["environment"] == "production"
