"""Following a run live, by server-sent events and by WebSocket: every event once and in order, whatever comes between."""

import asyncio
import json
import socket
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio
from httpx_sse import aconnect_sse
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from harness.people import people
from harness.plane import PATIENCE_S, until
from harness.sample import MODULE, Sample
from harness.server import Server

pytestmark = pytest.mark.asyncio(loop_scope="module")

Sent = tuple[str, dict[str, Any]]
Source = Callable[[Server, str, int], AsyncGenerator[Sent]]

WORDS = {"RunFinished": "completion", "TaskCompleted": "task_completed", "TaskReported": "agent_communication"}
SMALL_BUFFER = (socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
FAR = 10**9


@pytest_asyncio.fixture(loop_scope="module")
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    own = Server(tmp_path / "home")
    yield own
    await own.clear()


def token(server: Server) -> str:
    return (server.home / "owner.token").read_text().strip()


def authorization(server: Server) -> dict[str, str]:
    return {"Authorization": f"Bearer {token(server)}"}


async def server_sent(server: Server, run_id: str, after: int) -> AsyncGenerator[Sent]:
    """The events behind ``after``, as server-sent events: their type and data."""
    # A client with little room: what is not read stays with the control plane.
    transport = httpx.AsyncHTTPTransport(socket_options=[SMALL_BUFFER])
    headers = authorization(server) | {"Last-Event-ID": str(after)}
    async with (
        httpx.AsyncClient(transport=transport, base_url=server.address, timeout=PATIENCE_S) as http,
        aconnect_sse(http, "GET", f"/api/v1/runs/{run_id}/stream", headers=headers) as source,
    ):
        async for sent in source.aiter_sse():
            data = json.loads(sent.data)
            assert sent.id == str(data["seq"])
            yield sent.event, data


async def over_websocket(server: Server, run_id: str, after: int) -> AsyncGenerator[Sent]:
    """The same over a WebSocket."""
    async with live(server, f"{run_id}/live?after={after}", additional_headers=authorization(server)) as messages:
        async for message in messages:
            sent = json.loads(message)
            assert set(sent) == {"seq", "event", "data"}
            yield sent["event"], {"seq": sent["seq"]} | sent["data"]


@asynccontextmanager
async def live(server: Server, path: str, **options: Any) -> AsyncGenerator[ClientConnection]:
    """A connection with little room, to below ``/runs/``."""
    url = httpx.URL(server.address)
    with socket.socket() as own:
        own.setsockopt(*SMALL_BUFFER)
        own.setblocking(False)
        await asyncio.get_running_loop().sock_connect(own, (url.host, url.port))
        address = f"ws://{url.host}:{url.port}/api/v1/runs/{path}"
        async with connect(address, sock=own, max_queue=1, max_size=None, **options) as connection:
            yield connection


async def follow(server: Server, source: Source, run_id: str, seen: list[Sent]) -> None:
    """Follow to the end, coming back with the last number that was seen whenever the connection is gone."""
    while not has_ended(seen):
        with suppress(httpx.TransportError, ConnectionClosed, OSError):
            async with aclosing(source(server, run_id, seen[-1][1]["seq"] if seen else 0)) as events:
                async for sent in events:
                    seen.append(sent)  # noqa: PERF401 - what came before the connection broke counts
        await asyncio.sleep(0.02)


def has_ended(seen: list[Sent]) -> bool:
    return bool(seen) and seen[-1][1]["type"] == "RunFinished"


async def check(server: Server, run_id: str, seen: list[Sent]) -> None:
    """What was seen is what happened, and under the words that are promised."""
    assert [data for _, data in seen] == await server.events(run_id)
    assert [data["seq"] for _, data in seen] == list(range(1, len(seen) + 1))
    assert [word for word, _ in seen] == [WORDS.get(data["type"], "status_change") for _, data in seen]


async def test_the_streams_of_a_user_who_is_removed_end_at_once(server: Server, sample: Sample) -> None:
    sample.release("v1.0.0", {"watch": MODULE["watch"] | {"window": "60s"}})
    await server.start()
    await server.add(sample)
    (maria,) = await people(server, "maria")
    run_id = await server.begin(f"deploy {sample.name} v1.0.0 to staging")
    await server.task_runs(run_id, "watch-staging")
    headers = {"Authorization": f"Bearer {maria.token}"}
    begun: list[asyncio.Event] = []

    async def sse(path: str, said: asyncio.Event) -> None:
        async with (
            httpx.AsyncClient(base_url=server.address, timeout=PATIENCE_S, trust_env=False) as http,
            aconnect_sse(http, "GET", f"/api/v1{path}", headers=headers) as source,
        ):
            async for _ in source.aiter_sse():
                said.set()

    async def over_socket(said: asyncio.Event) -> int | None:
        async with live(server, f"{run_id}/live", additional_headers=headers) as messages:
            with suppress(ConnectionClosed):
                async for _ in messages:
                    said.set()
            return messages.close_code

    async with asyncio.timeout(PATIENCE_S), asyncio.TaskGroup() as group:
        for path in (f"/runs/{run_id}/stream", f"/services/{sample.name}/environments/staging/logs/stream"):
            begun.append(asyncio.Event())
            group.create_task(sse(path, begun[-1]))
        begun.append(asyncio.Event())
        closing = group.create_task(over_socket(begun[-1]))
        for said in begun:
            await said.wait()
        await server.call("DELETE", "/users/maria")
    assert closing.result() == 4401
    assert (await server.get(f"/runs/{run_id}"))["status"] == "running", "what ended the streams is the removal"
    await server.post(f"/runs/{run_id}/cancel", {"reason": "seen"})
    await server.ended(run_id)


async def deployed(server: Server, sample: Sample) -> str:
    """Deploy v1.0.0; returns the id of the run, which has ended."""
    sample.release("v1.0.0")
    await server.start()
    await server.add(sample)
    return (await server.deploy(sample, "v1.0.0"))["run_id"]


@pytest.mark.parametrize("end", ["kill", "terminate"])
async def test_whoever_follows_over_restarts_sees_every_event_once(server: Server, sample: Sample, end: str) -> None:
    sample.release("v1.0.0", {"watch": MODULE["watch"] | {"window": "2s"}})
    await server.start()
    await server.add(sample)
    run_id = await server.begin(f"deploy {sample.name} v1.0.0 to staging")
    first: list[list[Sent]] = [[], []]
    late: list[list[Sent]] = [[], []]
    sources: list[Source] = [server_sent, over_websocket]
    async with asyncio.timeout(2 * PATIENCE_S), asyncio.TaskGroup() as group:
        for source, seen in zip(sources, first, strict=True):
            group.create_task(follow(server, source, run_id, seen))
        for task in ("start-staging", "watch-staging"):

            async def all_see(task: str = task) -> bool:
                return all(any(data.get("task") == task for _, data in seen) for seen in first)

            await until(all_see, f"all see {task}")
            await getattr(server, end)()
            assert not any(has_ended(seen) for seen in first)
            await server.start()
        for source, seen in zip(sources, late, strict=True):
            group.create_task(follow(server, source, run_id, seen))
    run = await server.ended(run_id)
    assert (run["status"], run["adoptions"]) == ("completed", 2)
    for seen in (*first, *late):
        await check(server, run_id, seen)


@pytest.mark.parametrize("source", [server_sent, over_websocket])
async def test_a_silent_run_does_not_hold_up_the_end(server: Server, sample: Sample, source: Source) -> None:
    sample.release("v1.0.0", {"watch": MODULE["watch"] | {"window": "60s"}})
    await server.start()
    await server.add(sample)
    run_id = await server.begin(f"deploy {sample.name} v1.0.0 to staging")
    await server.task_runs(run_id, "watch-staging")
    async with aclosing(source(server, run_id, 0)) as events:
        while (await anext(events))[1].get("task") != "watch-staging":
            pass
        began = time.monotonic()
        assert await server.terminate() == 0
        # Less than the time after which it would be ended by force.
        assert time.monotonic() - began < 4
    assert "Traceback" not in server.log.read_text()
    await server.start()
    assert (await server.get(f"/runs/{run_id}"))["status"] == "running"


@pytest.mark.parametrize("source", [server_sent, over_websocket])
async def test_a_slow_reader_loses_nothing_and_holds_up_nobody(server: Server, sample: Sample, source: Source) -> None:
    # A big environment is on record with every command: megabytes, more than waits in buffers on the way.
    smoke = [{"name": f"number {number}", "command": "true"} for number in range(8)]
    sample.release("v1.0.0", {"env": {f"BIG_{number}": "x" * 8000 for number in range(12)}, "smoke_tests": smoke})
    await server.start()
    await server.add(sample)
    run_id = await server.begin(f"deploy {sample.name} v1.0.0 to staging")
    async with asyncio.timeout(2 * PATIENCE_S), aclosing(source(server, run_id, 0)) as events:
        seen = [await anext(events)]
        # Nothing is read any more until the run is over.
        run = await server.ended(run_id)
        assert run["status"] == "completed", run["error"]
        while not has_ended(seen):
            seen.append(await anext(events))
            await asyncio.sleep(0.005)
        # That was all: the stream ends with the run.
        assert [sent async for sent in events] == []
    await check(server, run_id, seen)
    assert sum(len(json.dumps(data)) for _, data in seen) > 2_000_000


async def test_behind_the_end_of_a_run_there_is_nothing_to_wait_for(server: Server, sample: Sample) -> None:
    run_id = await deployed(server, sample)
    events = await server.events(run_id)
    # Far less than the pause after which a follower looks by itself.
    async with asyncio.timeout(4):
        for source in (server_sent, over_websocket):
            assert [data async for _, data in source(server, run_id, len(events) - 1)] == events[-1:]
            for after in (len(events), len(events) + 1, FAR):
                assert [data async for _, data in source(server, run_id, after)] == []
    async with live(server, f"{run_id}/live?after={FAR}", additional_headers=authorization(server)) as messages:
        await messages.wait_closed()
        assert messages.close_code == 1000
    # In the address as well as in the header.
    for after in (0, 7, len(events)):
        sent = await server.http.get(f"/api/v1/runs/{run_id}/stream", params={"after": after})
        assert sent.text.count("data: ") == len(events) - after


async def refusal(connection: ClientConnection) -> tuple[int | None, str | None]:
    """How a WebSocket that was refused is closed; nothing must come before."""
    assert [message async for message in closing(connection)] == []
    return connection.close_code, connection.close_reason


async def closing(connection: ClientConnection) -> AsyncGenerator[Any]:
    with suppress(ConnectionClosed):
        async for message in connection:
            yield message


async def test_strangers_follow_nothing(server: Server, sample: Sample) -> None:
    run_id = await deployed(server, sample)
    stream = f"{server.address}/api/v1/runs/{run_id}/stream"
    async with httpx.AsyncClient(trust_env=False) as http:
        for headers in ({}, {"Authorization": "Bearer ilk_wrong"}, {"Authorization": f"Basic {token(server)}"}):
            for address in (stream, f"{stream}?token={token(server)}"):
                answer = await http.get(address, headers=headers)
                assert (answer.status_code, answer.json()["code"]) == (401, "unauthenticated")
                assert "RunSubmitted" not in answer.text
    for options in (
        {},
        {"additional_headers": {"Authorization": "Bearer ilk_wrong"}},
        {"subprotocols": ["interlock"]},
        {"subprotocols": ["interlock", "bearer.ilk_wrong"]},
    ):
        async with live(server, f"{run_id}/live?token={token(server)}", **options) as connection:
            code, reason = await refusal(connection)
            assert code == 4401
            assert reason is not None
            assert "token" in reason
    # A browser has no header to set.
    async with live(server, f"{run_id}/live", subprotocols=["interlock", f"bearer.{token(server)}"]) as connection:
        assert connection.subprotocol == "interlock"
        assert [json.loads(message)["data"]["type"] async for message in connection][-1] == "RunFinished"


async def test_what_cannot_be_followed_is_told(server: Server, sample: Sample) -> None:
    run_id = await deployed(server, sample)
    answer = await server.get("/runs/run_unknown/stream", 404)
    assert (answer["code"], answer["hint"]) == ("run", "see: interlock runs")
    async with live(server, "run_unknown/live", additional_headers=authorization(server)) as connection:
        assert await refusal(connection) == (4404, "there is no run run_unknown")
    for number in ("x", "-1", "1.5", "9" * 30):
        answer = await server.get(f"/runs/{run_id}/stream", 422, headers={"Last-Event-ID": number})
        assert answer["code"] == "cursor"
    for number in ("x", "-1", "1.5", "9" * 30):
        for path in ("stream", "events"):
            assert (await server.get(f"/runs/{run_id}/{path}", 422, params={"after": number}))["code"] == "request"
        with pytest.raises(InvalidStatus) as refused:
            async with live(server, f"{run_id}/live?after={number}", additional_headers=authorization(server)):
                pass
        assert 400 <= refused.value.response.status_code < 500
    # Nobody's mistake has harmed the others.
    assert [data async for _, data in over_websocket(server, run_id, 0)] == await server.events(run_id)
