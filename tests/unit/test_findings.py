"""What is said about a plan before it is approved: each finding where it applies, and nowhere else."""

import msgspec
import pytest

from interlock.plans.blueprints.layout import lay_out
from interlock.plans.drafting.findings import changes_of, findings_of
from interlock.plans.facts import EnvironmentFacts
from interlock.sources.model import Analysis, Finding, Migration, Resources
from interlock.sources.ports import Ref
from unit.plan_facts import command, deployment, environment, facts, place, recipe, release

V1 = release("v1")
BRANCH = Ref(kind="branch", name="main", commit="c" * 40, tree="t" * 40)
DAMAGED = EnvironmentFacts(place=place("staging"), serving=deployment("v1", "staging"), fallback=None)


def codes(*about, **fields):
    return {finding.code for finding in findings_of(facts(*about, **fields))}


def test_a_plan_with_nothing_special_has_no_findings():
    assert findings_of(facts()) == ()


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"ref": BRANCH}, "branch_pinned"),
        ({"release": release("v2")}, "reused"),
        ({"recipe": recipe(health=None)}, "no_health_check"),
        ({"strategy": "recreate"}, "downtime"),
        ({"strategy": "rolling"}, "rolling_alone"),
        ({"recipe": recipe(smoke=())}, "no_smoke_tests"),
        ({"recipe": recipe(dependencies=("mail",))}, "dependencies"),
        ({"recipe": recipe(dependencies=("billing",))}, "dependencies"),
        ({"recipe": recipe(resources=Resources(memory_mb=256))}, "resources_not_limited"),
        ({"recipe": recipe(rollback="propose")}, "rollback_proposed"),
        ({"environments": (environment("staging"),)}, "first_deployment"),
        ({"environments": (DAMAGED,)}, "no_way_back"),
    ],
)
def test_what_a_person_should_know_is_said_alone(fields, code):
    assert codes(**fields) == {code}


def test_a_service_without_a_port_is_told_once_what_it_goes_without():
    worker = recipe(takes_port=False)
    assert codes(recipe=worker) == {"no_port"}, "neither a health check nor blue-green is missed"
    asked = msgspec.structs.replace(worker, health=recipe().health)
    assert codes(recipe=asked) == {"no_port", "health_not_asked"}


def test_commands_that_were_guessed_are_said_to_be():
    guessed = Analysis(tier=2, commit="c" * 40, tree="t" * 40, recipe=recipe())
    assert codes(analysis=guessed) == {"tier_2"}


def test_a_module_file_is_quoted_where_it_says_what_has_no_effect():
    recipes = recipe(dependencies=("mail",))
    analysis = Analysis(tier=1, commit="c", tree="t", recipe=recipes, places={"dependencies": "ai-module.yaml:7"})
    [finding] = findings_of(facts(analysis=analysis))
    assert finding.where == "ai-module.yaml:7"
    [finding] = findings_of(facts(recipe=recipes))
    assert "dependencies" in finding.where


@pytest.mark.parametrize("action", ["test", "build"])
def test_what_is_not_deployed_is_not_measured_by_how_it_would_run(action):
    assert codes(action, recipe=recipe(health=None, smoke=()), environments=(environment("staging"),)) == set()


def test_a_stop_says_that_the_service_goes_down_and_nothing_of_its_successor():
    assert codes("stop", release=V1, recipe=recipe(health=None), strategy="recreate") == {"service_down"}


def test_the_worst_comes_first_and_equals_keep_their_order():
    analysed = [
        Finding(severity=severity, code=f"{severity}-{n}", message="") for severity in ("info", "error") for n in (1, 2)
    ]
    analysis = Analysis(tier=1, commit="c" * 40, tree="t" * 40, recipe=recipe(dependencies=("mail",)), findings=tuple(analysed))
    found = [finding.code for finding in findings_of(facts(analysis=analysis))]
    assert found == ["error-1", "error-2", "dependencies", "info-1", "info-2"]


# --- changes ------------------------------------------------------------------------------------------------------------------


def test_each_environment_is_told_what_changes_and_where_it_can_go_back_to():
    both = (environment("staging", V1), environment("production"))
    staging, production = changes_of(facts(environments=both), {"staging": ("abc fix",)})
    assert (staging.environment, staging.now, staging.then, staging.commits) == ("staging", "v1", "v2", ("abc fix",))
    assert (production.now, production.then, production.commits) == ("nothing", "v2", ())
    assert (staging.url, production.url) == ("http://127.0.0.1:18102/", "http://127.0.0.1:18104/")
    assert "rel_v1" in staging.rollback
    assert "rel_" not in production.rollback


def test_a_stop_ends_in_nothing_and_says_how_to_have_it_back():
    [change] = changes_of(facts("stop", release=V1), {})
    assert (change.now, change.then) == ("v1", "nothing")
    assert "deploy v1 of shop to staging" in change.rollback


def test_a_service_that_can_be_told_no_port_is_reached_where_it_listens():
    [change] = changes_of(facts(recipe=recipe(takes_port=False, port=9000)), {})
    assert change.url == "http://127.0.0.1:9000/"


def test_what_cannot_be_undone_is_said_once_for_each_reason():
    drop = Migration(command=command("migrate drop"), one_way="drops the column legacy")
    wish = facts(recipe=recipe(migrate=(drop,)), environments=(environment("staging", V1), environment("production", V1)))
    [finding] = findings_of(wish, lay_out(wish)[0])
    message = "migrate-staging-1, migrate-production-1 cannot be undone: drops the column legacy"
    assert (finding.code, finding.severity, finding.message) == ("one_way", "warning", message)
    stopping = facts("stop", release=V1)
    found = [item.message for item in findings_of(stopping, lay_out(stopping)[0]) if item.code == "one_way"]
    assert found == ["switch-staging, retire-staging cannot be undone: it serves nobody until it is deployed again"]


def test_an_ordinary_deployment_has_nothing_one_way():
    assert findings_of(facts(), lay_out(facts())[0]) == ()


def test_what_becomes_of_the_migrations_of_what_serves_is_said():
    table = Migration(command=command("migrate"), undo=command("migrate --down"))
    old = release("v1", recipe=recipe(migrate=(table,)))
    places = (environment("staging", old),)
    assert "migrations_stay" in codes("rollback", release=release("v0"), environments=places)
    assert "undo_seen_before" in codes(recipe=recipe(migrate=(table,)), environments=places)
    other = msgspec.structs.replace(table, undo=command("migrate --down orders"))
    assert not {"migrations_stay", "undo_seen_before"} & codes(recipe=recipe(migrate=(other,)), environments=places)
