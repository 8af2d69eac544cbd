"""What the executors that judge a release make of a person's word, of a verdict that was lost, and of what could not be run."""

import asyncio

import msgspec
import pytest
import pytest_asyncio

from harness.http_target import http_target
from harness.judging import AWAY, NEW, OLD, Context, Cut, Judged
from interlock.adapters.http.client import HttpxClient
from interlock.core.errors import Conflict, Unavailable
from interlock.core.signals import NeedsApproval
from interlock.delivery.model import Share
from interlock.delivery.ports import Leg
from interlock.sources.model import AnalysisPolicy, Check, Command, HealthCheck, SmokeTest
from interlock.tools.http import CheckInput, HttpCheck
from interlock.tools.model import Call

IN_DOUBT = AnalysisPolicy(checks=(Check(name="faults", signal="promql", query="faults", max=1),))
"""Nothing is known of it here."""
QUICK_HEALTH = HealthCheck(path="/health", interval_s=0.01, start_timeout_s=0.1)
TEST = SmokeTest(name="orders", command=Command(text="order", argv=(("order",),)))


@pytest_asyncio.fixture
async def judged(database, scope) -> Judged:
    made = Judged(database, scope)
    await made.begin()
    await made.deploy("new", (NEW,))
    return made


async def canary(judged: Judged) -> None:
    """A tenth of the requests goes to the new one."""
    route = await judged.delivery.route(judged.scope, "shop", "staging")
    leg = Leg(route="shop.staging", kind="candidate", port=route.candidate_port)
    await judged.forwarder.point(leg, (Share(port=NEW, percent=100),), "call-candidate")
    shares = (Share(port=route.candidate_port, percent=10), Share(port=OLD, percent=90))
    await judged.serves("old", shares)


async def ends_of(judged: Judged, context: Context, kind: str = "analyse") -> Conflict:
    with pytest.raises(Conflict) as refused:
        await {"analyse": judged.analysing.analyse, "watch": judged.watching.watch, "smoke": judged.verifying.smoke}[kind](
            context
        )
    return refused.value


class TestTheWordOfAPerson:
    """What was asked once is not looked at again before the answer counts."""

    async def test_abort_holds_at_once_although_another_bake_would_pass(self, judged: Judged) -> None:
        await canary(judged)
        task = judged.analysis(IN_DOUBT)
        with pytest.raises(NeedsApproval):
            await judged.analysing.analyse(judged.context(task))
        well = AnalysisPolicy(checks=(Check(name="processes", signal="promql", query="scalar", max=1),))
        context = judged.context(judged.analysis(well, bake_s=3600), answer="abort")
        async with asyncio.timeout(10):
            assert (await ends_of(judged, context)).code == "stopped_by_person"
        assert await judged.incidents.listing(judged.scope) == []

    async def test_promote_goes_on_without_another_bake(self, judged: Judged) -> None:
        await canary(judged)
        async with asyncio.timeout(10):
            output = await judged.analysing.analyse(judged.context(judged.analysis(IN_DOUBT, bake_s=3600), answer="promote"))
        assert output["decided"] == "promote"

    async def test_look_again_bakes_again(self, judged: Judged) -> None:
        await canary(judged)
        with pytest.raises(NeedsApproval):
            await judged.analysing.analyse(judged.context(judged.analysis(IN_DOUBT), answer="look again"))

    @pytest.mark.parametrize(("kind", "answer"), [("analyse", "promote"), ("watch", "continue")])
    async def test_what_has_ended_since_is_not_let_on_by_it(self, judged: Judged, kind: str, answer: str) -> None:
        await canary(judged)
        for _ in range(6):
            judged.host.end(f"new-{NEW}", 1)
        task = judged.analysis(IN_DOUBT) if kind == "analyse" else judged.watch()
        code = {"analyse": "analysis_failed", "watch": "threshold_crossed"}[kind]
        assert (await ends_of(judged, judged.context(task, answer=answer), kind)).code == code

    async def test_stop_in_the_watch_holds_at_once(self, judged: Judged) -> None:
        await judged.serves("new", (Share(port=NEW, percent=100),))
        assert (await ends_of(judged, judged.context(judged.watch(), answer="stop"), "watch")).code == "stopped_by_person"

    async def test_continue_ends_the_watch_although_it_still_cannot_be_told(self, judged: Judged) -> None:
        await judged.serves("new", (Share(port=NEW, percent=100),))
        judged.forwarder.kill()
        await judged.watching.watch(judged.context(judged.watch(), answer="continue"))
        assert (await judged.delivery.deployment(judged.scope, "dep_new")).state == "good"


class TestAVerdictThatTheRunLost:
    """The incident was opened, and then the control plane died before the run had its failure on record."""

    @pytest.mark.parametrize("answer", ["", "look again", "promote"])
    async def test_of_an_analysis_is_not_judged_again(self, judged: Judged, answer: str) -> None:
        await canary(judged)
        judged.web.says[NEW] = 500
        with pytest.raises(Cut):
            await judged.analysing.analyse(judged.context(judged.analysis(bake_s=5), dies_at="incident"))
        judged.web.says.clear()
        error = await ends_of(judged, judged.context(judged.analysis(), answer=answer))
        (incident,) = await judged.incidents.listing(judged.scope)
        assert (error.code, error.details["incident_id"]) == ("analysis_failed", incident.incident_id)
        assert error.message == "the health check failed 3 times in a row (limit 3)"

    @pytest.mark.parametrize("answer", ["", "continue"])
    async def test_of_a_watch_is_not_judged_again(self, judged: Judged, answer: str) -> None:
        await judged.serves("new", (Share(port=NEW, percent=100),))
        judged.web.says[NEW] = 500
        with pytest.raises(Cut):
            await judged.watching.watch(judged.context(judged.watch(), dies_at="incident"))
        judged.web.says.clear()
        error = await ends_of(judged, judged.context(judged.watch(), answer=answer), "watch")
        assert error.code == "threshold_crossed"
        assert (await judged.delivery.deployment(judged.scope, "dep_new")).state == "live"

    async def test_of_smoke_tests_is_not_judged_again(self, judged: Judged) -> None:
        refusal = Conflict("command_failed", "`order`: exit code 1")
        first = judged.context(judged.smoke(TEST), answers={"command.run": refusal})
        assert (await ends_of(judged, first, "smoke")).code == "smoke_tests_failed"
        again = judged.context(judged.smoke(TEST), answers={"command.run": {"tail": ""}})
        error = await ends_of(judged, again, "smoke")
        assert error.code == "smoke_tests_failed"
        assert "`order`: exit code 1" in error.message
        assert again.calls == []


class TestSmokeTestsThatCouldNotBeRun:
    async def test_say_nothing_of_the_release(self, judged: Judged) -> None:
        with pytest.raises(Unavailable) as error:
            await judged.verifying.smoke(judged.context(judged.smoke(TEST), answers={"command.run": AWAY}))
        assert error.value is AWAY, "the step is tried again"
        assert await judged.incidents.listing(judged.scope) == []

    async def test_do_not_hide_one_that_failed(self, judged: Judged) -> None:
        page = SmokeTest(name="page", path="/")
        answers = {"command.run": AWAY, "http.check": Conflict("check_failed", "status 500")}
        error = await ends_of(judged, judged.context(judged.smoke(TEST, page), answers=answers), "smoke")
        assert (error.code, error.message) == ("smoke_tests_failed", "page: status 500")


class TestVerifying:
    """What the health check of a candidate may answer."""

    @pytest.mark.parametrize("status", [201, 204, 299])
    async def test_any_answer_of_success_is_healthy(self, judged: Judged, status: int) -> None:
        output = await judged.verifying.verify(await asked(judged, status, QUICK_HEALTH))
        assert output["checked"].startswith("GET /health")

    @pytest.mark.parametrize("status", [0, 199, 301, 404, 500, 503])
    async def test_any_other_is_not(self, judged: Judged, status: int) -> None:
        with pytest.raises(Conflict) as error:
            await judged.verifying.verify(await asked(judged, status, QUICK_HEALTH))
        assert error.value.code == "not_healthy"

    @pytest.mark.parametrize("status", [204, 404, 500])
    async def test_without_a_check_any_answer_of_the_service_itself_will_do(self, judged: Judged, status: int) -> None:
        await judged.verifying.verify(await asked(judged, status, None))

    async def test_the_tool_tells_which_answer_it_was(self, judged: Judged) -> None:
        call = Call(scope=judged.scope, run_id="run_1", task_id="verify", key="run-1-verify-1")
        async with http_target() as target:
            for status in (204, 404):
                target.says("", status)
                with pytest.raises(Conflict) as error:
                    await HttpCheck(HttpxClient(judged.clock)).act(call, CheckInput(url=target.url))
                assert error.value.details["status"] == status


async def asked(judged: Judged, status: int, health: HealthCheck | None) -> Context:
    deployment = await judged.delivery.deployment(judged.scope, "dep_new")
    task = msgspec.structs.replace(judged.verify(deployment.instances), health=health)
    refusal = Conflict("check_failed", f"status {status}, expected status 200", status=status)
    return judged.context(task, answers={"http.check": refusal})
