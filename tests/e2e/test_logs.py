"""The log of a real service: a window of it, and followed over switches, restarts of the control plane and rotations."""

import asyncio
import json
import signal
import sys
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio
from httpx_sse import aconnect_sse
from typer.testing import CliRunner, Result

from harness.plane import PATIENCE_S, Plane, until
from harness.sample import Sample
from harness.server import Server
from interlock.delivery.logs.places import LogQuery
from interlock.faces.cli.app import build_app
from interlock.faces.cli.context import CliContext

pytestmark = pytest.mark.asyncio(loop_scope="module")

SECRET = "hunter2-hunter2"
THEN_SERVE = "import runpy\nrunpy.run_path('service.py', run_name='__main__')\n"


@pytest_asyncio.fixture(loop_scope="module")
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    own = Server(tmp_path / "home", SECRET_TOKEN=SECRET)
    yield own
    await own.clear()


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def steady(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Server]:
    """One for all tests that do not end it."""
    shared = Server(tmp_path_factory.mktemp("steady") / "home", SECRET_TOKEN=SECRET)
    await shared.start()
    yield shared
    await shared.clear()


def place(sample: Sample, environment: str = "staging") -> str:
    return f"/services/{sample.name}/environments/{environment}/logs"


async def stream(server: Server, path: str, cursor: str = "", **query: Any) -> AsyncGenerator[dict[str, Any]]:
    """The events of a log as they come."""
    headers = {"Last-Event-ID": cursor} if cursor else {}
    async with aconnect_sse(server.http, "GET", f"/api/v1{path}/stream", params=query, headers=headers) as source:
        async for sent in source.aiter_sse():
            if sent.data:
                data = json.loads(sent.data)
                assert (sent.event, sent.id) == (data["type"], data["cursor"])
                yield data


async def read_until(events: AsyncGenerator[dict[str, Any]], text: str, seen: list[dict[str, Any]]) -> None:
    """Read events into ``seen`` until the output of the last deployment in it holds ``text``."""
    async with asyncio.timeout(PATIENCE_S):
        while text not in output(seen):
            seen.append(await anext(events))


def output(seen: list[dict[str, Any]]) -> str:
    return "".join(event["text"] for event in seen if event["type"] == "log")


def command(server: Server, *arguments: str) -> Result:
    """The command line against the server's data folder."""
    context = CliContext(home=server.home, url=None, token=None, serve=lambda _host, _port: 0, demo=lambda **_: 0)
    return CliRunner().invoke(build_app(context), list(arguments))


async def cli(server: Server, *arguments: str) -> Result:
    return await asyncio.to_thread(command, server, *arguments)


async def test_a_log_is_followed_over_a_switch_and_over_the_death_of_the_control_plane(server: Server, sample: Sample) -> None:
    sample.release("v1.0.0")
    sample.release("v1.1.0")
    await server.start()
    await server.add(sample)
    await server.deploy(sample, "v1.0.0")
    first = await server.serving(sample)
    assert first is not None
    seen: list[dict[str, Any]] = []
    async with aclosing(stream(server, place(sample))) as events:
        await read_until(events, "started v1.0.0", seen)
        assert seen[0] | {"cursor": ""} == {
            "type": "deployment",
            "cursor": "",
            "deployment_id": first["deployment_id"],
            "version": "v1.0.0",
            "previous": "",
        }
        await server.deploy(sample, "v1.1.0")
        await read_until(events, "started v1.1.0", seen)
    turned = [event for event in seen if event["type"] == "deployment"]
    assert [(event["version"], event["previous"]) for event in turned] == [("v1.0.0", ""), ("v1.1.0", first["deployment_id"])]

    # While nobody controls it the service goes on; what it wrote meanwhile is read once, nothing before it again.
    await server.kill()
    await server.start()
    await server.behave(sample, slow_ms=0)
    async with aclosing(stream(server, place(sample), seen[-1]["cursor"])) as events:
        again = [await anext(events)]
        assert (again[0]["type"], again[0]["version"]) == ("deployment", "v1.1.0")
        assert await server.ask(sample, "/crash") != (200, "")
        await read_until(events, "crashing\nstarted v1.1.0", again)
    assert output(again).startswith("crashing\n")
    # Who was away during the switch goes on in the old one's log, which says how it ended, and then in the new one's.
    async with aclosing(stream(server, place(sample), seen[1]["cursor"])) as events:
        late: list[dict[str, Any]] = []
        await read_until(events, "crashing\nstarted v1.1.0", late)
    assert [event["version"] for event in late if event["type"] == "deployment"] == ["v1.0.0", "v1.1.0"]
    assert output(late).startswith("told to stop\n")


async def test_followers_leave_nothing_behind_and_share_what_is_read(plane: Plane, sample: Sample) -> None:
    sample.release("v1.0.0")
    await plane.add(sample)
    await plane.deploy(sample, "v1.0.0")
    logs = plane.inside.services.logs
    scope = plane.inside.scope
    query = LogQuery(service=sample.name, environment="staging")
    started = asyncio.Event()

    async def follow() -> None:
        async with aclosing(logs.follow(scope, query)) as events:
            async for event in events:
                if event.cursor and logs.followers == 50:
                    started.set()

    before = logs.readings
    followers = [asyncio.create_task(follow()) for _ in range(50)]
    async with asyncio.timeout(PATIENCE_S):
        await started.wait()
        # Each round of all of them together is one reading, however many they are.
        while logs.readings - before < 8:
            await asyncio.sleep(0.05)
    assert logs.followers == 50
    for follower in followers:
        follower.cancel()
    await asyncio.gather(*followers, return_exceptions=True)
    assert logs.followers == 0


async def test_a_stream_ends_when_its_client_leaves_and_does_not_hold_up_the_end(server: Server, sample: Sample) -> None:
    sample.release("v1.0.0")
    await server.start()
    await server.add(sample)
    await server.deploy(sample, "v1.0.0")
    async with aclosing(stream(server, place(sample))) as left:
        await anext(left)
    async with aclosing(stream(server, place(sample))) as events:
        await anext(events)
        assert await server.terminate() == 0
        with suppress(httpx.TransportError, StopAsyncIteration):
            while True:
                await anext(events)
    assert "Traceback" not in server.log.read_text()


async def test_the_values_of_secrets_never_leave_the_host(steady: Server, sample: Sample) -> None:
    leak = "import os\nprint(5 * ('<' + os.environ['TOKEN'] + '>'), flush=True)\n"
    (sample.path / "leak.py").write_text(leak + THEN_SERVE)
    sample.release("v1.0.0", {"start": "python3 leak.py {port}", "secrets": {"TOKEN": "token"}})
    await steady.add(sample)
    await steady.deploy(sample, "v1.0.0")
    window = await steady.get(place(sample))
    assert window["pieces"][0]["text"].startswith("<***>" * 5)
    for begin in range(0, 90, 7):
        for size in (1, 5, 16):
            piece = (await steady.get(place(sample), params={"offset": begin, "limit_bytes": size}))["pieces"][0]
            assert not any(SECRET[at : at + 4] in piece["text"] for at in range(len(SECRET) - 3))
    shown = await cli(steady, "logs", sample.name, "--env", "staging", "--raw")
    assert shown.stdout.startswith("<***>" * 5)


async def test_what_was_rotated_away_is_told(steady: Server, sample: Sample) -> None:
    (sample.path / "flood.py").write_text("for number in range(1400000):\n    print(f'{number:09d}')\n" + THEN_SERVE)
    sample.release("v1.0.0", {"start": "python3 flood.py {port}"})
    await steady.add(sample)
    await steady.deploy(sample, "v1.0.0")
    piece = (await steady.get(place(sample), params={"offset": 0}))["pieces"][0]
    assert piece["lost_bytes"] == piece["offset"] > 0
    async with aclosing(stream(steady, place(sample), offset="0")) as events:
        await anext(events)
        gap = await anext(events)
        assert (gap["type"], gap["lost_bytes"]) == ("gap", piece["offset"])
        # A reader who is in no hurry gets all that is kept, whole and in order.
        seen = [gap]
        await read_until(events, "started v1.0.0", seen)
    numbers = [int(line) for line in output(seen).partition("started")[0].split("\n")[1:-1]]
    assert numbers == list(range(numbers[0], 1400000))
    shown = await cli(steady, "logs", sample.name, "--env", "staging", "--since-offset", "0")
    assert f"--- {piece['offset']} bytes are missing here" in shown.stderr


async def test_the_log_of_what_went_wrong_is_kept(steady: Server, sample: Sample) -> None:
    sample.release("v1.0.0", exits_at_once=True)
    await steady.add(sample)
    run = await steady.do(f"deploy {sample.name} v1.0.0 to staging")
    assert run["status"] != "completed"
    window = await steady.get(place(sample))
    assert (window["state"], window["is_serving"]) == ("failed", False)
    assert window["pieces"][0]["text"].startswith("started v1.0.0")
    dep = window["deployment_id"]
    assert await steady.get(f"/deployments/{dep}/logs") == window
    async with aclosing(stream(steady, f"/deployments/{dep}/logs")) as events:
        seen = [event async for event in events]
    assert [event["type"] for event in seen] == ["deployment", "log", "end"]
    shown = await cli(steady, "logs", sample.name, "--env", "staging", "--deployment", dep, "--follow")
    assert shown.exit_code == 0
    assert shown.stdout == window["pieces"][0]["text"]
    assert f"{dep} has ended" in shown.stderr


async def test_where_there_is_no_log_it_is_said_why(steady: Server, sample: Sample) -> None:
    sample.release("v1.0.0")
    await steady.add(sample)
    for path in (place(sample), place(sample) + "/stream"):
        nothing = await steady.get(path, 404)
        assert nothing["code"] == "never_deployed"
        assert nothing["hint"] == f'interlock plan "deploy latest of {sample.name} to staging"'
    near = await steady.get(f"/services/{sample.name}x/environments/staging/logs", 404)
    assert (near["code"], near["details"]["nearest"]) == ("service", [sample.name])
    near = await steady.get(place(sample, "stagin"), 404)
    assert (near["code"], near["details"]["nearest"]) == ("environment", ["staging"])
    assert (await steady.get("/deployments/dep_none/logs", 404))["code"] == "deployment"
    await steady.deploy(sample, "v1.0.0")
    unknown = await steady.get(place(sample), 404, params={"deployment": "dep_none"})
    assert unknown["code"] == "deployment"
    assert "v1.0.0" in unknown["hint"]
    # A cursor leads to the deployment's own processes and to no others.
    for cursor in ("interlock-forwarder-1:0", "x y", "a:-1", "a:b"):
        assert (await steady.get(place(sample), 422, params={"offset": cursor}))["code"] == "cursor"
        assert (await steady.get(place(sample) + "/stream", 422, headers={"Last-Event-ID": cursor}))["code"] == "cursor"
    shown = await cli(steady, "logs", sample.name, "--env", "production", "-f")
    assert shown.exit_code == 1
    assert "was never deployed to production" in shown.stderr


async def test_a_hostile_service_cannot_act_on_the_terminal(steady: Server, sample: Sample) -> None:
    (sample.path / "hostile.py").write_text("print('\\x1b]0;owned\\x07\\x1b[2J\\tname\\r\\n\\u202egnp')\n" + THEN_SERVE)
    sample.release("v1.0.0", {"start": "python3 hostile.py {port}", "env": {"PYTHONIOENCODING": "utf-8"}})
    await steady.add(sample)
    await steady.deploy(sample, "v1.0.0")
    shown = await cli(steady, "logs", sample.name, "--env", "staging", "--tail", "3")
    assert "␛]0;owned␇␛[2J\tname\n�gnp\n" in shown.stdout
    assert "\x1b" not in shown.stdout
    as_json = await cli(steady, "logs", sample.name, "--env", "staging", "--json")
    assert as_json.stdout.isascii()
    assert "\x1b" not in as_json.stdout
    raw = await cli(steady, "logs", sample.name, "--env", "staging", "--raw", "--tail", "3")
    assert "\x1b]0;owned\x07" in raw.stdout


async def test_a_window_begins_where_it_is_told(steady: Server, sample: Sample) -> None:
    sample.release("v1.0.0")
    await steady.add(sample)
    await steady.deploy(sample, "v1.0.0")
    whole = (await steady.get(place(sample)))["pieces"][0]

    async def text(**params: Any) -> str:
        return (await steady.get(place(sample), params=params))["pieces"][0]["text"]

    assert await text(offset=3, limit_bytes=4) == whole["text"][3:7]
    assert await text(offset=-5) == whole["text"][-5:]
    assert await text(tail=0) == ""
    assert await text(tail=1) == whole["text"].splitlines(keepends=True)[-1]
    following = (await steady.get(place(sample)))["next"]
    assert following == f"{whole['key']}:{whole['next_offset']}"
    assert await text(offset=following) == ""
    await steady.ask(sample, "/crash")

    async def has_crashed() -> bool:
        return (await text(offset=following)).startswith("crashing\n")

    await until(has_crashed, "what was written since")
    for wrong in ({"limit_bytes": 0}, {"limit_bytes": 2**20 + 1}, {"tail": -1}, {"tail": 10**6}):
        assert (await steady.get(place(sample), 422, params=wrong))["code"] == "request"


async def test_a_slow_reader_is_waited_for_and_loses_nothing_that_is_kept(steady: Server, sample: Sample) -> None:
    """More than all buffers on the way hold waits at the host, not in memory."""
    (sample.path / "long.py").write_text("for number in range(300000):\n    print(f'{number:019d}')\n" + THEN_SERVE)
    sample.release("v1.0.0", {"start": "python3 long.py {port}"})
    await steady.add(sample)
    await steady.deploy(sample, "v1.0.0")
    async with aclosing(stream(steady, place(sample), offset="0")) as events:
        seen = [await anext(events)]
        # Nothing is read while others are served.
        for _ in range(20):
            await steady.get(place(sample), params={"tail": 1})
        await read_until(events, "started v1.0.0", seen)
    assert {event["type"] for event in seen} == {"deployment", "log"}
    numbers = [int(line) for line in output(seen).partition("started")[0].split()]
    assert numbers == list(range(300000))


async def test_the_command_line_follows_over_the_death_of_the_control_plane(server: Server, sample: Sample) -> None:
    sample.release("v1.0.0")
    await server.start()
    await server.add(sample)
    await server.deploy(sample, "v1.0.0")
    words = (sys.executable, "-m", "interlock", "logs", sample.name, "--env", "staging", "-f")
    following = await asyncio.create_subprocess_exec(*words, stdout=-1, stderr=-1, env=server.environment)
    try:
        assert following.stdout is not None
        assert following.stderr is not None
        async with asyncio.timeout(2 * PATIENCE_S):
            assert (await following.stdout.readline()).startswith(b"started v1.0.0")
            assert b"(v1.0.0)" in await following.stderr.readline()
            await server.kill()
            assert b"is lost; trying again" in await following.stderr.readline()
            await server.start()
            assert b"the connection is back" in await following.stderr.readline()
            await server.ask(sample, "/crash")
            assert await following.stdout.readline() == b"crashing\n"
            assert (await following.stdout.readline()).startswith(b"started v1.0.0")
            following.send_signal(signal.SIGINT)
            assert await following.wait() == 130
    finally:
        with suppress(ProcessLookupError):
            following.kill()
        await following.wait()
