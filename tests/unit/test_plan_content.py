"""The content of a plan: the bytes that are hashed and approved, the signature over them, and what a plan may become."""

import json
from typing import get_args

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.examples import examples
from interlock.core.errors import Internal, Invalid
from interlock.plans.blueprints.blueprint import ANYTHING
from interlock.plans.blueprints.layout import lay_out
from interlock.plans.deciding.approval import decode
from interlock.plans.facts import choose_strategy
from interlock.plans.model import (
    APPROVED,
    ENDED,
    Approval,
    Pin,
    PlanContent,
    PlanState,
    approval_message,
    is_altered,
    may_become,
)
from interlock.runs.graph import Retry, TaskGraph
from unit.plan_facts import WATCH, environment, facts, recipe, release

STATES: tuple[PlanState, ...] = get_args(PlanState)
ABOUT = facts()
GRAPH, GRANTS = lay_out(ABOUT)
CONTENT = PlanContent(
    plan_id="plan_1",
    action="deploy",
    service="shop",
    repository="/repositories/shop",
    environments=("staging",),
    ref_kind="tag",
    ref_name="v2",
    commit="c" * 40,
    tree="t" * 40,
    tier=1,
    content="content-v2",
    release_id="rel_v2",
    recipe=recipe(),
    watch=WATCH,
    graph=GRAPH,
    grants=GRANTS,
    pins=tuple(item.pin() for item in ABOUT.environments),
)
ENCODED = CONTENT.encoded()


def test_what_is_stored_is_what_was_hashed_and_reads_back_to_the_same_bytes():
    assert not is_altered(ENCODED, CONTENT.digest())
    assert decode(ENCODED).encoded() == ENCODED


@examples(25)
@given(st.integers(0, len(ENCODED) - 1), st.integers(1, 255))
def test_no_byte_can_be_changed_unnoticed(place, flip):
    altered = bytearray(ENCODED)
    altered[place] ^= flip
    assert is_altered(bytes(altered), CONTENT.digest())


@pytest.mark.parametrize("altered", [ENCODED + b"\n", ENCODED[:-1], b" " + ENCODED, b""])
def test_nothing_can_be_added_or_taken_away_unnoticed(altered):
    assert is_altered(altered, CONTENT.digest())


def with_task(**fields):
    first, *rest = GRAPH.tasks
    return {"graph": TaskGraph(tasks=(msgspec.structs.replace(first, **fields), *rest))}


@pytest.mark.parametrize(
    "otherwise",
    [
        {"action": "build"},
        {"environments": ("staging", "production")},
        {"commit": "d" * 40},
        {"recipe": recipe(secrets={"TOKEN": "other/token"})},
        {"watch": msgspec.structs.replace(WATCH, error_rate=0.06)},
        {"grants": GRANTS[1:]},
        {"grants": (msgspec.structs.replace(GRANTS[0], arguments=GRANTS[0].arguments | {"x": ANYTHING}), *GRANTS[1:])},
        {"pins": (Pin(environment="staging"),)},
        with_task(needs=("install",)),
        with_task(when="failed"),
        with_task(branch="rollback:staging"),
        with_task(timeout_s=601.0),
        with_task(retry=Retry(max_attempts=5)),
        with_task(title="something harmless"),
        with_task(inputs=GRAPH.tasks[0].inputs | {"commit": "d" * 40}),
    ],
)
def test_whatever_is_said_otherwise_is_another_plan(otherwise):
    altered = msgspec.structs.replace(CONTENT, **otherwise)
    assert altered.digest() != CONTENT.digest()
    assert is_altered(altered.encoded(), CONTENT.digest())


@pytest.mark.parametrize("field", PlanContent.__struct_fields__)
def test_every_field_is_in_the_content(field):
    assert field in json.loads(ENCODED)


def test_the_order_in_which_a_mapping_was_written_does_not_matter():
    one = msgspec.structs.replace(CONTENT, recipe=recipe(env={"A": "1", "B": "2"}))
    other = msgspec.structs.replace(CONTENT, recipe=recipe(env={"B": "2", "A": "1"}))
    assert one.digest() == other.digest()


def test_the_bytes_are_those_that_anybody_gets_from_the_values():
    assert json.dumps(json.loads(ENCODED), sort_keys=True, separators=(",", ":")).encode() == ENCODED


@pytest.mark.parametrize("stored", [b"", b"{}", b"[1]", b'{"plan_id": 7}', ENCODED[:-1]])
def test_bytes_that_are_no_plan_are_told_apart_from_one(stored):
    with pytest.raises(Internal) as broken:
        decode(stored)
    assert broken.value.code == "plan_content"


# --- approval -----------------------------------------------------------------------------------------------------------------

TEXTS = st.text(max_size=8)
PARTS = st.tuples(TEXTS, TEXTS, TEXTS, TEXTS, TEXTS, st.booleans())


def message(plan_id, content_hash, by, at, override="", when_open=False):
    approval = Approval(by=by, at=at, content_hash=content_hash, signature="", override=override, when_open=when_open)
    return approval_message(plan_id, approval)


@examples(25)
@given(PARTS, PARTS)
def test_two_approvals_sign_the_same_only_if_all_their_parts_are_the_same(one, other):
    assert (message(*one) == message(*other)) == (one == other)


def test_no_part_of_an_approval_can_slide_into_its_neighbour():
    messages = {message(*parts) for parts in (("p", "h", "b", "t"), ("ph", "", "b", "t"), ("p", 'h","by":"b', "", "t"))}
    assert len(messages) == 3


# --- states -------------------------------------------------------------------------------------------------------------------


def test_only_an_approved_plan_ever_runs():
    before: dict[str, set[str]] = {then: {now for now in STATES if may_become(now, then)} for then in STATES}
    assert before["running"] == {"approved"}
    assert before["approved"] == {"pending_approval"}
    assert before["pending_approval"] == set()


@pytest.mark.parametrize("closed", ["rejected", "expired", "superseded", "rolled_back"])
def test_a_plan_that_is_closed_stays_closed(closed):
    assert not [state for state in STATES if may_become(closed, state)]


def test_a_step_that_comes_twice_is_not_taken_twice():
    assert not [state for state in STATES if may_become(state, state)]


def test_a_plan_holds_its_place_from_approval_to_the_end_of_its_run():
    assert {state for state in STATES if state != "pending_approval" and not may_become("pending_approval", state)} >= ENDED
    for state in APPROVED:
        assert any(may_become(state, then) for then in ENDED)
        assert not may_become(state, "superseded")
    assert {then for then in STATES if may_become("running", then)} == ENDED


@pytest.mark.parametrize("state", sorted(ENDED - {"rolled_back"}))
def test_a_plan_that_has_ended_can_still_be_rolled_back(state):
    assert may_become(state, "rolled_back")


# --- facts --------------------------------------------------------------------------------------------------------------------


def test_a_pin_says_what_serves_and_what_a_rollback_goes_back_to():
    serving = environment("staging", release("v1"))
    whole = Pin(environment="staging", deployment_id="dep_v1_staging", release_id="rel_v1", version="v1", bundle="bundle-v1")
    assert serving.pin() == whole
    assert environment("staging").pin() == Pin(environment="staging")
    damaged = msgspec.structs.replace(serving, fallback=None).pin()
    assert damaged == Pin(environment="staging", deployment_id="dep_v1_staging", version="v1")


@pytest.mark.parametrize(
    ("said", "wanted", "takes_port", "strategy"),
    [
        (None, None, True, "blue-green"),
        (None, None, False, "recreate"),
        (None, "recreate", True, "recreate"),
        ("blue-green", "recreate", True, "blue-green"),
        ("recreate", "blue-green", True, "recreate"),
        ("recreate", "blue-green", False, "recreate"),
        ("canary", None, True, "canary"),
        ("canary", None, False, None),
        (None, "rolling", True, "rolling"),
        ("quickly", None, True, None),
        ("blue-green", None, False, None),
        (None, "blue-green", False, None),
    ],
)
def test_the_words_decide_the_strategy_then_the_module_then_what_the_service_can(said, wanted, takes_port, strategy):
    analysis = facts(recipe=recipe(takes_port=takes_port, strategy=wanted)).analysis
    if strategy is not None:
        assert choose_strategy(said, analysis) == strategy
        return
    with pytest.raises(Invalid) as refusal:
        choose_strategy(said, analysis)
    assert refusal.value.code == "strategy"
