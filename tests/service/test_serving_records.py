"""What is on record of deployments that serve, were healed or brought back: the real executors on a real database."""

from types import SimpleNamespace
from typing import Any, cast

import msgspec
import pytest
import pytest_asyncio

from harness.engine import run_of, task
from interlock.core.errors import Unavailable
from interlock.core.scope import Scope
from interlock.delivery.incidents.record import Incidents
from interlock.delivery.model import Deployment, Instance
from interlock.delivery.service import Delivery
from interlock.delivery.steps.mending import Mending
from interlock.delivery.steps.recovery import Recovery
from interlock.delivery.steps.starting import Starting
from interlock.delivery.targets import Targets
from interlock.events.service import Events
from interlock.inbox.service import Inbox
from interlock.runs.ports import TaskContext
from interlock.tenancy.service import Tenancy
from interlock.tools.ports import ProcessStatus
from unit.plan_facts import AT, deployment, place

ENVIRONMENTS = ("staging",)
ONE, TWO, AGAIN = (Instance(key=name, port=port) for name, port in (("one", 20001), ("two", 20002), ("again", 20003)))
NOTHING = cast("Any", None)


class Context:
    """What a body sees of a run that has the task ``name``; ``fails`` are the tools that do not answer."""

    def __init__(self, scope: Scope, name: str, inputs: dict[str, Any], fails: tuple[str, ...] = ()) -> None:
        self.scope = scope
        self.run = run_of(task(name), run_id="run_heal")
        self.task_id = name
        self.inputs = msgspec.to_builtins(inputs)
        self.stopped: list[str] = []
        self._fails = fails

    async def call(self, tool: str, arguments: dict[str, Any], *, name: str = "") -> dict[str, Any]:
        if tool in self._fails:
            raise Unavailable("away", f"{tool} does not answer")
        if tool.endswith(".stop"):
            self.stopped.append(arguments["key"])
        return {"reason": ""}

    async def report(self, message: str, **data: Any) -> None:
        pass


def of_run(context: Context) -> TaskContext:
    return cast("TaskContext", context)


@pytest_asyncio.fixture
async def delivery(database, clock, scope, tmp_path) -> Delivery:
    events = Events(database, clock)
    made = Delivery(database, events, Tenancy(database, events, clock), NOTHING, clock, ENVIRONMENTS, (21000, 21100))
    await made.add_service(scope, "shop", str(tmp_path))
    return made


@pytest.fixture
def incidents(database, clock) -> Incidents:
    events = Events(database, clock)
    return Incidents(database, events, Tenancy(database, events, clock), Inbox(database, events, clock), clock)


@pytest.fixture
def starting(delivery, incidents, clock) -> Starting:
    return Starting(delivery, incidents, clock)


async def keep(delivery: Delivery, scope: Scope, version: str, *states: Any, **fields: Any) -> Deployment:
    """A deployment of the version that went through these states, the first of which is ``starting``."""
    instances = fields.pop("instances", (Instance(key=f"process-{version}", port=20001),))
    found = deployment(version, "staging", state="starting", instances=(), live_at="", good_at="", **fields)
    for instance in instances:
        await delivery.record_instance(scope, found, instance)
    for state in states:
        if state == "live":
            await delivery.switch(scope, "shop", "staging", found.deployment_id, "traffic was led to it")
        else:
            at = {"good_at": AT} if state == "good" else {}
            await delivery.change(scope, found.deployment_id, state, "for the test", **at)
    return await delivery.deployment(scope, found.deployment_id)


class TestHealing:
    """One of two instances was started again as ``again``, beside ``one``, which survived."""

    @pytest_asyncio.fixture
    async def former(self, delivery, scope) -> Deployment:
        return await keep(delivery, scope, "v1", "live", "good", instances=(ONE, TWO))

    @pytest_asyncio.fixture
    async def mended(self, delivery, scope, former) -> Deployment:
        again = deployment("v1", "staging", deployment_id="dep_again", run_id="run_heal", state="starting", instances=())
        await delivery.record_instance(scope, msgspec.structs.replace(again, live_at="", good_at=former.good_at), AGAIN)
        return await delivery.deployment(scope, "dep_again")

    def lead_inputs(self) -> dict[str, Any]:
        inputs = {"former": "dep_v1_staging", "deployment_id": "dep_again", "survivors": (ONE,), "takes_port": True}
        return inputs | {"place": place("staging")}

    async def test_what_breaks_off_stops_only_what_it_started(self, delivery, scope, incidents, starting, mended):
        mending = Mending(delivery, incidents, starting, NOTHING)
        broken = Context(scope, "heal-lead-staging", self.lead_inputs(), fails=("forwarder.point",))
        with pytest.raises(Unavailable):
            await mending.lead(of_run(broken))
        inputs = {"place": place("staging"), "deployment_id": "dep_again", "reason": "it did not get healthy"}
        discard = Context(scope, "heal-discard-staging", inputs)
        await Recovery(delivery, incidents, starting, NOTHING, NOTHING).discard(of_run(discard))
        assert discard.stopped == ["again"]
        serving = await delivery.serving(scope, "shop", "staging")
        assert (serving.deployment_id, serving.state, serving.instances) == ("dep_v1_staging", "good", (ONE, TWO))

    async def test_it_takes_over_what_survived_when_it_serves_and_may_be_told_twice(
        self, delivery, scope, incidents, starting, mended
    ):
        mending = Mending(delivery, incidents, starting, NOTHING)
        for _ in range(2):
            await mending.lead(of_run(Context(scope, "heal-lead-staging", self.lead_inputs())))
            serving = await delivery.serving(scope, "shop", "staging")
            assert (serving.deployment_id, serving.state, serving.instances) == ("dep_again", "good", (AGAIN, ONE))
            assert (await delivery.deployment(scope, "dep_v1_staging")).state == "retired"
            route = await delivery.route(scope, "shop", "staging")
            assert {share.port for share in route.shares} == {AGAIN.port, ONE.port}

    async def test_what_serves_by_the_time_that_it_breaks_off_stays(self, delivery, scope, incidents, starting, mended):
        mending = Mending(delivery, incidents, starting, NOTHING)
        await mending.lead(of_run(Context(scope, "heal-lead-staging", self.lead_inputs())))
        inputs = {"place": place("staging"), "deployment_id": "dep_again", "reason": "it did not get healthy"}
        discard = Context(scope, "heal-discard-staging", inputs)
        done = await Recovery(delivery, incidents, starting, NOTHING, NOTHING).discard(of_run(discard))
        assert (done, discard.stopped) == ({"stopped": None}, [])

    async def test_what_never_was_good_is_not_good_for_having_been_healed(self, delivery, scope, incidents, starting):
        await keep(delivery, scope, "v1", "live", instances=(ONE, TWO))
        again = deployment("v1", "staging", deployment_id="dep_again", state="starting", instances=(), live_at="", good_at="")
        await delivery.record_instance(scope, again, AGAIN)
        mending = Mending(delivery, incidents, starting, NOTHING)
        await mending.lead(of_run(Context(scope, "heal-lead-staging", self.lead_inputs())))
        assert (await delivery.serving(scope, "shop", "staging")).state == "live"
        assert await delivery.last_good(scope, "shop", "staging") is None


class TestLastKnownGood:
    """v1 was good; the watch of v2 has not passed, and it could not be brought back; v3 took over."""

    @pytest_asyncio.fixture(autouse=True)
    async def history(self, delivery, scope) -> None:
        await keep(delivery, scope, "v1", "live", "good", "retired")
        await keep(delivery, scope, "v2", "live", "retired")
        await keep(delivery, scope, "v3", "live", "good")

    async def test_what_another_one_replaced_before_it_was_good_is_nothing_to_go_back_to(self, delivery, scope):
        found = await delivery.last_good(scope, "shop", "staging", before="dep_v3_staging")
        assert found.version == "v1"
        newest = await delivery.newest_good(scope, "shop", "staging", lambda item: True, before="dep_v3_staging")
        assert newest.version == "v1"

    async def test_restored_it_is_what_it_had_proven_to_be(self, delivery, scope, incidents, starting):
        recovery = Recovery(delivery, incidents, starting, NOTHING, NOTHING)
        for version, state in (("v4", "live"), ("v5", "good")):
            before = await keep(delivery, scope, version, *(["live", "good"] if state == "good" else ["live"]), "paused")
            inputs = {"deployment_id": before.deployment_id}
            await recovery.settle(of_run(Context(scope, "settle-staging", inputs)))
            assert (await delivery.deployment(scope, before.deployment_id)).state == state

    async def test_what_is_between_two_restarts_is_not_started_a_second_time(self, delivery, scope, incidents, starting):
        serving = await delivery.serving(scope, "shop", "staging")
        host: Any = SimpleNamespace(status=_starting)
        recovery = Recovery(delivery, incidents, starting, Targets({"process": host}), NOTHING)
        instance = {"target": "process", "commands": [], "folder": "", "environment": {}, "secrets": {}, "takes_port": True}
        inputs = {"place": place("staging"), "release_id": "rel_v3", "deployment_id": serving.deployment_id}
        inputs |= {"instance": instance, "former": serving.instances, "candidate": "dep_v4_staging"}
        context = Context(scope, "restore-staging", inputs)
        restored = await recovery.restore(of_run(context))
        assert (restored["deployment_id"], len(restored["instances"])) == (serving.deployment_id, 1)

    async def test_whose_a_key_is_is_told_from_the_record_or_by_the_run_in_its_name(self, delivery, scope):
        v2 = await delivery.deployment(scope, "dep_v2_staging")
        assert await delivery.owners(scope, "process-v2") == [v2]
        await delivery.drop_instances(scope, "dep_v2_staging", v2.instances)
        assert [item.version for item in await delivery.owners(scope, "process-v2")] == ["v2"], "it had that once"
        await keep(delivery, scope, "v4", run_id="run_a1b_rb_staging")
        named = await delivery.owners(scope, "run-a1b-rb-staging-restore-start-1")
        assert [item.version for item in named] == ["v4"]
        assert await delivery.owners(scope, "run-a1-start-1") == await delivery.owners(scope, "by-hand") == []
        assert await delivery.targets(scope) == {"process"}


async def _starting(_key: str) -> ProcessStatus:
    return ProcessStatus(state="starting")
