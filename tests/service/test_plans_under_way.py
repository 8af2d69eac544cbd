"""One run of a plan at a time: what it brought is healed, or brought back, and never both at once."""

from typing import Any, cast

import pytest
import pytest_asyncio

from interlock.events.service import Events
from interlock.inbox.service import Inbox
from interlock.plans import store
from interlock.plans.model import Plan
from interlock.plans.service import Plans
from interlock.plans.shelf import Shelf
from unit.plan_facts import AT

NOTHING = cast("Any", None)


@pytest.fixture
def plans(database, clock) -> Plans:
    events = Events(database, clock)
    inbox = Inbox(database, events, clock)
    return Plans(database, events, inbox, NOTHING, NOTHING, NOTHING, Shelf(database, events, inbox))


@pytest_asyncio.fixture(autouse=True)
async def brought(database, scope) -> None:
    """``plan_1`` has brought what serves in staging."""
    names = {"plan_id": "plan_1", "content_hash": "hash", "action": "deploy", "service": "shop", "state": "succeeded"}
    about = {"version": "v1", "text": "deploy", "requested_by": "user:owner", "created_at": AT, "expires_at": AT, "tier": 1}
    plan = Plan(environments=("staging",), **(names | about))
    async with database.write(scope) as session:
        await store.add(session.connection, plan, b"")


async def test_what_is_being_healed_is_brought_back_afterwards(plans, database, scope):
    assert await plans.begin_healing(scope, "plan_1", "staging")
    assert not await plans.reopen(scope, "plan_1", "staging")
    await plans.end_healing(scope, "plan_1")
    assert await plans.reopen(scope, "plan_1", "staging")
    assert await plans.reopen(scope, "plan_1", "staging"), "the control plane may have died before its run began"


async def test_what_is_being_brought_back_is_not_healed(plans, scope):
    assert await plans.reopen(scope, "plan_1", "staging")
    assert not await plans.begin_healing(scope, "plan_1", "staging")
