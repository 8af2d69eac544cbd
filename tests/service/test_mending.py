"""What is started again is what is missing, whoever has taken its place; and what is told as healed was mended."""

from typing import Any

import pytest
import pytest_asyncio

from harness.judging import NEW, Context, Judged
from interlock.core.addresses import local
from interlock.delivery.model import Instance, evenly
from interlock.delivery.steps.inputs import ClearTask, MendTask, ProcessPlan
from interlock.delivery.steps.mending import Mending
from interlock.delivery.steps.starting import Starting

PLAN = ProcessPlan(commands=[["serve"]], folder="/", environment={}, secrets={}, takes_port=True)
STARTED = {"process.start": {"key": "again", "port": 7040, "identity": "another one"}, "forwarder.point": {"shares": []}}
TWO = (NEW, NEW + 1)


@pytest_asyncio.fixture
async def judged(database, scope) -> Judged:
    made = Judged(database, scope)
    await made.begin()
    await made.deploy("new", TWO)
    await made.serves("new", evenly([local(port) for port in TWO]))
    await made.delivery.change(scope, "dep_new", "good", "the watch passed")
    return made


@pytest.fixture
def mending(judged: Judged) -> Mending:
    starting = Starting(judged.delivery, judged.incidents, judged.clock)
    return Mending(judged.delivery, judged.incidents, starting, judged.targets)


async def mended(judged: Judged, mending: Mending) -> dict[str, Any]:
    task = MendTask(
        place=judged.place, deployment_id="dep_new", release_id="rel_new", instance=PLAN, takes_port=True, replaced=()
    )
    return await mending.mend(judged.context(task, answers=STARTED))


async def clear(judged: Judged, mending: Mending, *gone: Instance) -> None:
    task = ClearTask(place=judged.place, former="dep_new", gone=gone, orphans=(), takes_port=True)
    context: Context = judged.context(task, answers={**STARTED, "process.stop": {"reason": "stopped"}})
    await mending.clear(context)


async def test_a_stranger_under_the_key_of_an_instance_is_no_instance_of_it(judged: Judged, mending: Mending) -> None:
    judged.host.identities[f"new-{NEW}"] = "a stranger"
    output = await mended(judged, mending)
    assert [item["key"] for item in output["gone"]] == [f"new-{NEW}"]
    assert [item["key"] for item in output["survivors"]] == [f"new-{NEW + 1}"]
    assert [item["key"] for item in output["instances"]] == ["again"]


async def test_where_all_of_it_is_itself_nothing_is_started(judged: Judged, mending: Mending) -> None:
    output = await mended(judged, mending)
    assert (len(output["gone"]), len(output["survivors"])) == (0, 2)


async def test_what_was_told_of_it_is_healed_only_where_something_was_mended(judged: Judged, mending: Mending) -> None:
    deployment = await judged.delivery.deployment(judged.scope, "dep_new")
    await judged.incidents.open(judged.scope, deployment, "it does not run", {}, found_by="host")
    await clear(judged, mending)
    (incident,) = await judged.incidents.listing(judged.scope)
    assert incident.state == "open"
    await clear(judged, mending, deployment.instances[0])
    (incident,) = await judged.incidents.listing(judged.scope)
    assert incident.state == "resolved"
