"""The control plane as a process: one on a data folder, ended in order, started again where it stood."""

import asyncio
import os
import re
import stat
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
import pytest_asyncio

from harness.plane import until
from harness.sample import Sample
from harness.server import SERVE, Server

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(loop_scope="module")
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    own = Server(tmp_path / "home")
    yield own
    await own.clear()


async def second(server: Server) -> tuple[int, str]:
    """Serve a second time on the same data folder."""
    done = await asyncio.to_thread(
        subprocess.run, SERVE, env=server.environment, capture_output=True, text=True, timeout=30, check=False
    )
    return done.returncode, done.stderr


async def test_a_second_one_on_the_data_folder_refuses_and_names_the_first(server: Server, sample: Sample) -> None:
    await server.start()
    assert server.process is not None
    code, said = await second(server)
    assert code == 1
    assert f"pid {server.process.pid} on {server.address}" in said
    assert "INTERLOCK_HOME" in said
    assert len(said.splitlines()) == 1
    # The first one was not disturbed, and an answer under way neither.
    sample.release("v1.0.0")
    await server.add(sample)
    await server.deploy(sample, "v1.0.0")
    # Killed, it holds nothing: the next one takes over at once.
    await server.kill()
    await server.start()
    assert (await server.get("/services"))["items"][0]["name"] == sample.name


async def test_the_data_folder_is_for_its_owner_alone(server: Server) -> None:
    await server.start()
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (server.home, server.home / "owner.token")}
    assert modes == {"home": 0o700, "owner.token": 0o600}
    token = (server.home / "owner.token").read_text()
    assert token.strip() not in server.log.read_text()
    await server.terminate()
    await server.start()
    assert (server.home / "owner.token").read_text() == token


async def test_a_setting_out_of_bounds_is_named(server: Server) -> None:
    for name, value in (
        ("TASK_TIMEOUT_S", "59"),
        ("PORT", "x"),
        ("FIRST_PORT", "70000"),
        ("WATCH_ERROR_RATE", "2"),
        ("ENVIRONMENTS", "a,a"),
        ("ENVIRONMENTS", "a b"),
    ):
        environment = server.environment | {f"INTERLOCK_{name}": value}
        done = await asyncio.to_thread(
            subprocess.run, SERVE, env=environment, capture_output=True, text=True, timeout=30, check=False
        )
        assert done.returncode == 1
        assert f"INTERLOCK_{name}" in done.stderr
        assert "Traceback" not in done.stderr


async def test_an_address_that_is_taken_is_said_so(server: Server) -> None:
    await server.start()
    environment = server.environment | {
        "INTERLOCK_HOME": str(server.home.with_name("other")),
        "INTERLOCK_PORT": server.address.rpartition(":")[2],
    }
    done = await asyncio.to_thread(
        subprocess.run, SERVE, env=environment, capture_output=True, text=True, timeout=30, check=False
    )
    assert done.returncode == 1
    assert "--port" in done.stderr


async def test_ended_in_order_it_leaves_the_services_up_and_goes_on_watching_when_it_is_back(
    server: Server, sample: Sample
) -> None:
    sample.release("v1.0.0")
    sample.release("v1.1.0")
    await server.start()
    await server.add(sample)
    await server.deploy(sample, "v1.0.0")
    run = await server.deploy(sample, "v1.1.0")
    url = await server.url(sample)
    async with server.traffic(sample) as answers:
        assert await server.terminate() == 0
        assert not (server.home / "server.json").exists()
        count = len(answers)
        while len(answers) < count + 20:
            await asyncio.sleep(0.02)
        await server.start()
    assert set(answers) == {(200, "v1.1.0")}
    # Nobody was there when it began to fail.
    await server.terminate()
    async with httpx.AsyncClient(trust_env=False) as http:
        await http.get(f"{url}/behave?unhealthy=true")
    await server.start()

    async def is_back() -> bool:
        return await server.ask(sample) == (200, "v1.0.0")

    await until(is_back, "the standing watch brings v1.0.0 back")
    way_back = await server.ended(await server.run_of(run["plan_id"], "rollback:staging"))
    assert way_back["status"] == "completed"
    assert (await server.get("/audit/verify"))["ok"] is True


async def test_no_secret_and_no_shell_is_in_the_log(server: Server, sample: Sample) -> None:
    server.environment["INTERLOCK_SECRET_DATABASE_PASSWORD"] = "correct-horse-battery"
    sample.release("v1.0.0", {"secrets": {"DB_PASSWORD": "database-password"}})
    await server.start()
    await server.add(sample)
    run = await server.deploy(sample, "v1.0.0")
    await server.terminate()
    everything = b"".join(path.read_bytes() for path in [server.log, *server.home.rglob("*.db*")] if path.is_file())
    assert b"correct-horse-battery" not in everything
    assert b"correct-horse-battery" not in str(run).encode()
    assert not re.search(r"Traceback", server.log.read_text())
    assert os.path.isfile(server.home / "control.db")
