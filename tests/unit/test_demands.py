"""Counting approvals: what the environments of a plan ask together, who may give it, and who has."""

from datetime import UTC, datetime

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from interlock.core.errors import Conflict, Forbidden
from interlock.delivery.rules import EnvironmentRules
from interlock.delivery.windows import Freeze, parse_window
from interlock.plans.deciding.demands import Demands, is_overridden
from interlock.plans.deciding.queue import ahead_of
from interlock.plans.model import Approval, Plan

NOW = datetime(2026, 8, 3, 12, tzinfo=UTC)
JOINED = {"owner": "", "maria": "2026-01-01", "jonas": "2026-01-01", "lena": "2026-01-01"}
STAGING = EnvironmentRules(environment="staging")
PRODUCTION = EnvironmentRules(environment="production", approvals=2, approvers=("maria", "jonas"), not_requester=True)
SUNDAYS = (parse_window("Sun 09:00-16:00 UTC"),)


def demands(*rules: EnvironmentRules, requester: str = "lena", action: str = "deploy", **fields) -> Demands:
    whole = {"rules": rules, "joined": JOINED, "requester": requester, "action": action, "now": NOW}
    return Demands(**(whole | fields))


def by(*names: str, at: str = "2026-08-01", **said) -> tuple[Approval, ...]:
    return tuple(Approval(by=f"user:{name}", at=at, content_hash="h", signature="s", **said) for name in names)


# --- counting -----------------------------------------------------------------------------------------------------------------


def test_without_rules_one_approval_by_anybody_is_enough():
    assert demands(STAGING).missing(()) == "0 of 1 approval; anybody"
    assert demands(STAGING).missing(by("lena")) == ""


def test_what_is_missing_names_who_could_give_it():
    assert demands(PRODUCTION).missing(()) == "0 of 2 approvals; maria or jonas"
    assert demands(PRODUCTION).missing(by("maria")) == "1 of 2 approvals; jonas"
    assert demands(PRODUCTION).missing(by("maria", "jonas")) == ""


def test_several_environments_ask_together():
    both = demands(STAGING, PRODUCTION)
    assert both.missing(()) == "staging: 0 of 1 approval; anybody / production: 0 of 2 approvals; maria or jonas"
    assert both.missing(by("lena")) == "production: 0 of 2 approvals; maria or jonas"
    assert both.missing(by("maria", "jonas")) == "", "each approval counts for every environment"


def test_one_person_counts_once():
    assert demands(PRODUCTION).missing(by("maria", "maria")) == "1 of 2 approvals; jonas"


def test_whoever_asked_does_not_count_where_the_rule_says_so():
    assert demands(PRODUCTION, requester="maria").missing(by("maria")) == "0 of 2 approvals; jonas"
    four_eyes = EnvironmentRules(environment="staging", not_requester=True)
    assert demands(four_eyes).missing(by("lena")) == "0 of 1 approval; anybody but lena"


def test_who_was_removed_does_not_count_even_if_another_got_the_name():
    gone = demands(PRODUCTION, joined={"owner": "", "jonas": ""})
    assert gone.missing(by("maria", "jonas")) == "1 of 2 approvals; nobody is left who could: ask the owner to change the rules"
    again = demands(PRODUCTION, joined=JOINED | {"maria": "2026-08-02"})
    assert again.missing(by("maria", "jonas")) == "1 of 2 approvals; maria"


def test_the_control_plane_itself_approves_nothing():
    approval = msgspec.structs.replace(by("x")[0], by="system:plans")
    assert demands(STAGING).missing((approval,))


@given(st.lists(st.sampled_from(sorted(JOINED)), max_size=6), st.sampled_from(sorted(JOINED)), st.integers(1, 3))
def test_enough_is_exactly_as_many_different_people_who_count(names, requester, needed):
    rules = EnvironmentRules(environment="p", approvals=needed, approvers=("maria", "jonas", "lena"), not_requester=True)
    count = len({name for name in names if name in rules.approvers and name != requester})
    assert (demands(rules, requester=requester).missing(by(*names)) == "") is (count >= needed)


# --- who may ------------------------------------------------------------------------------------------------------------------


def test_only_who_counts_somewhere_may_approve():
    demands(STAGING, PRODUCTION).check_may_approve("user:owner")
    demands(PRODUCTION).check_may_approve("user:maria")
    with pytest.raises(Forbidden) as refusal:
        demands(PRODUCTION).check_may_approve("user:owner")
    assert (refusal.value.code, refusal.value.hint) == ("not_an_approver", "ask maria or jonas")


@pytest.mark.parametrize("principal", ["user:stranger", "system:plans", "anonymous"])
def test_who_is_no_user_may_not_approve(principal):
    with pytest.raises(Forbidden):
        demands(STAGING).check_may_approve(principal)


def test_the_requester_is_told_that_it_takes_somebody_else():
    with pytest.raises(Forbidden) as refusal:
        demands(PRODUCTION, requester="maria").check_may_approve("user:maria")
    assert (refusal.value.code, refusal.value.hint) == ("requester", "ask jonas")


def test_approvers_the_requester_and_the_owner_may_reject():
    for name in ("maria", "lena", "owner"):
        demands(PRODUCTION).check_may_reject(f"user:{name}")
    demands(PRODUCTION, requester="maria").check_may_reject("user:maria")
    with pytest.raises(Forbidden):
        demands(PRODUCTION, requester="maria").check_may_reject("user:lena")


# --- when ---------------------------------------------------------------------------------------------------------------------


def test_outside_of_a_window_a_deployment_is_told_when_it_may_start():
    closed = demands(STAGING, EnvironmentRules(environment="production", windows=SUNDAYS)).closed()
    assert closed is not None
    assert closed.code == "window_closed"
    assert closed.message == "production is outside of Sun 09:00-16:00 UTC; it opens at 2026-08-09T09:00:00.000Z"
    assert closed.details == {"opens_at": "2026-08-09T09:00:00.000Z"}


@pytest.mark.parametrize("action", ["rollback", "stop"])
def test_a_way_back_and_taking_something_out_wait_for_nothing(action):
    freeze = Freeze(until="", reason="", by="owner", at="")
    frozen = EnvironmentRules(environment="production", windows=SUNDAYS, freeze=freeze)
    assert demands(frozen, action=action).closed() is None
    assert demands(frozen).closed() is not None


def test_only_the_owner_overrides():
    assert is_overridden(by("owner", override="fire"))
    assert not is_overridden(by("owner"))
    assert not is_overridden(by("maria", override="fire"))


# --- in line ------------------------------------------------------------------------------------------------------------------


def plan(name: str, state: str = "approved", waits: str = "", places: tuple[str, ...] = ("staging",), minute: int = 0) -> Plan:
    approvals = by("owner", at=f"2026-08-03T12:{minute:02}")
    texts = dict.fromkeys(("content_hash", "version", "requested_by", "created_at", "expires_at"), "")
    about = {"action": "deploy", "service": "shop", "environments": places, "text": f"deploy {name}", "tier": 1}
    return Plan(plan_id=name, state=state, waits=waits, approvals=approvals, **about, **texts)


def test_who_is_under_way_is_waited_for_or_refuses():
    running = plan("a", "running")
    new = plan("b", "pending_approval")
    assert ahead_of(new, [running], {"staging": "wait"}) == (running,)
    with pytest.raises(Conflict) as refusal:
        ahead_of(new, [running], {"staging": "refuse"})
    assert refusal.value.code == "busy"


def test_another_place_is_in_nobodys_way():
    assert ahead_of(plan("b"), [plan("a", "running", places=("production",))], {"staging": "refuse"}) == ()


def test_one_contested_place_that_refuses_is_enough():
    both = ("staging", "production")
    with pytest.raises(Conflict):
        ahead_of(plan("b", places=both), [plan("a", "running", places=both)], {"staging": "wait", "production": "refuse"})


def test_who_was_approved_first_is_first():
    first, second, third = (plan(name, waits="turn", minute=minute) for name, minute in (("c", 1), ("b", 2), ("a", 3)))
    line = [first, second, third]
    busy = {"staging": "wait"}
    assert ahead_of(first, line, busy) == ()
    assert ahead_of(third, line, busy) == (first, second)
    assert ahead_of(plan("new", "pending_approval"), line, busy) == (first, second, third)


def test_who_waits_for_a_window_is_in_nobodys_way():
    assert ahead_of(plan("b"), [plan("a", waits="window")], {"staging": "wait"}) == ()
