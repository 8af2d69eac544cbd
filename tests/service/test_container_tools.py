"""The container tools against a real engine: act, probe before, probe after, and act again under the same key."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import msgspec
import pytest

from harness.containers import TestEngine, Unusable
from harness.ports import free_port
from interlock.adapters.containers.engine import DockerEngine
from interlock.core.errors import Conflict, Invalid
from interlock.core.scope import system_scope
from interlock.sources.commands import parse_command
from interlock.sources.dockerfile import BaseImages, generate_dockerfile
from interlock.sources.dockerfile_reading import unbuildable
from interlock.sources.model import Recipe
from interlock.tools.containers.images import image_tools
from interlock.tools.containers.ports import KEY_LABEL, BuildSpec
from interlock.tools.containers.workloads import container_tools
from interlock.tools.model import Call, Done, NotDone, Tool
from interlock.tools.service import Toolbox, to_data, to_input

SECRETS = {"db_password": "correct-horse"}
SERVICE = """\
import os, sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
import extra

class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(f"{extra.WORD} {os.getuid()} {os.environ['PORT']}".encode())

print("password", os.environ.get("DB_PASSWORD"), flush=True)
ThreadingHTTPServer((os.environ.get("HOST", "127.0.0.1"), int(sys.argv[1])), Handler).serve_forever()
"""


@pytest.fixture
async def engine(container_engine: TestEngine) -> AsyncIterator[DockerEngine]:
    name = f"tests-{uuid4().hex[:12]}"
    engine = DockerEngine(container_engine.url, lambda: name)
    yield engine
    for key in await engine.list():
        await engine.stop(key, 0)
        await engine.remove(key)
    for image in await engine.images():
        await engine.remove_image(image.image_id)


@pytest.fixture
def tools(engine: DockerEngine) -> Toolbox:
    return Toolbox([*image_tools(engine), *container_tools(engine, SECRETS.get)])


@pytest.fixture
async def busybox(engine: DockerEngine, container_engine: TestEngine) -> str:
    image = await engine.image(await asyncio.to_thread(container_engine.busybox))
    assert image is not None
    return image.image_id


def call(key: str) -> Call:
    return Call(scope=system_scope("tests"), run_id="run_1", task_id="task", key=key)


async def act(tools: Toolbox, name: str, key: str, /, **arguments: Any) -> dict[str, Any]:
    tool: Tool[Any, Any] = tools.get(name)
    return to_data(tool, await tool.act(call(key), to_input(tool, arguments)))


async def probe(tools: Toolbox, name: str, key: str, /, **arguments: Any) -> Any:
    tool: Tool[Any, Any] = tools.get(name)
    return await tool.probe(call(key), to_input(tool, arguments))


async def test_commands_run_in_an_image_once(tools: Toolbox, busybox: str) -> None:
    commands = [["/bin/sh", "-c", "echo one $WORD"], ["/bin/sh", "-c", "echo two $PASSWORD"]]
    arguments = {"image": busybox, "commands": commands, "environment": {"WORD": "x"}, "secrets": {"PASSWORD": "db/password"}}
    assert await probe(tools, "container.run", "run-1", **arguments) == NotDone()
    done = await act(tools, "container.run", "run-1", **arguments)
    assert done == {"key": "run-1-2", "tail": "two ***\n", "output_bytes": 24, "dropped_bytes": 0}
    assert await probe(tools, "container.run", "run-1", **arguments) == Done(done)
    assert await act(tools, "container.run", "run-1", **arguments) == done


async def test_a_command_that_fails_or_takes_too_long_is_a_conflict(tools: Toolbox, busybox: str) -> None:
    fails: dict[str, Any] = {"image": busybox, "commands": [["/bin/sh", "-c", "echo why; exit 3"], ["/bin/true"]]}
    with pytest.raises(Conflict) as failure:
        await act(tools, "container.run", "fails", **fails)
    assert (failure.value.code, failure.value.details["tail"], failure.value.details["exit_code"]) == (
        "command_failed",
        "why\n",
        3,
    )
    assert await probe(tools, "container.run", "fails", **fails) == NotDone()
    with pytest.raises(Conflict) as late:
        await act(tools, "container.run", "late", image=busybox, commands=[["/bin/sleep", "600"]], timeout_s=0.5)
    assert late.value.code == "command_timeout"


async def test_what_commands_left_of_an_image_is_removed_and_what_they_printed_is_kept(
    engine: DockerEngine, busybox: str
) -> None:
    kept: dict[str, str] = {}
    tools = Toolbox(container_tools(engine, SECRETS.get, kept.__setitem__))
    commands = [["/bin/echo", "one"], ["/bin/sh", "-c", "echo $PASSWORD; exit 3"]]
    with pytest.raises(Conflict):
        await act(tools, "container.run", "run-1", image=busybox, commands=commands, secrets={"PASSWORD": "db/password"})
    await act(tools, "container.start", "start-1", image=busybox, command=["/bin/sleep", "600"])
    other = Call(scope=system_scope("tests"), run_id="run_2", task_id="task", key="of-another-run")
    run: Tool[Any, Any] = tools.get("container.run")
    await run.act(other, to_input(run, {"image": busybox, "commands": [["/bin/true"]]}))
    remove = {"image": busybox}
    assert await probe(tools, "container.remove", "remove-1", **remove) == NotDone()
    assert await act(tools, "container.remove", "remove-1", **remove) == remove
    assert await probe(tools, "container.remove", "remove-1", **remove) == Done(remove)
    assert kept == {"run-1": "one\n", "run-1-2": "***\n"}
    assert set(await engine.list()) == {"start-1", "of-another-run"}


async def test_a_service_is_started_once_and_stopped(engine: DockerEngine, tools: Toolbox, busybox: str) -> None:
    port = free_port()
    command = [
        "/bin/sh",
        "-c",
        "echo $PORT; mkdir /tmp/www; echo hello > /tmp/www/index.html; exec httpd -f -p $1 -h /tmp/www",
        "x",
        "{port}",
    ]
    arguments = {
        "image": busybox,
        "command": command,
        "port": port,
        "container_port": 8080,
        "labels": {"interlock.service": "greeter"},
    }
    assert await probe(tools, "container.start", "start-1", **arguments) == NotDone()
    output = await act(tools, "container.start", "start-1", **arguments)
    identity = (await engine.status("start-1")).identity
    assert output == {"key": "start-1", "port": port, "identity": identity}
    assert identity
    assert await probe(tools, "container.start", "start-1", **arguments) == Done(output)
    assert await act(tools, "container.start", "start-1", **arguments) == output
    assert "hello" in await get(port)
    assert (await engine.log("start-1")).text == "8080\n"
    with pytest.raises(Conflict) as taken:
        await act(tools, "container.start", "start-2", **arguments)
    assert taken.value.code == "port_taken"
    assert await probe(tools, "container.start", "start-2", **arguments) == NotDone()
    stop = {"key": "start-1"}
    assert await probe(tools, "container.stop", "stop-1", **stop) == NotDone()
    stopped = await act(tools, "container.stop", "stop-1", **stop)
    assert stopped["reason"] == "stopped"
    assert await probe(tools, "container.stop", "stop-1", **stop) == Done(stopped)


async def test_a_command_that_joins_a_service_reaches_it_and_another_one_does_not(tools: Toolbox, busybox: str) -> None:
    serve = "mkdir /tmp/www; echo hello > /tmp/www/index.html; exec httpd -f -p 127.0.0.1:8080 -h /tmp/www"
    await act(tools, "container.start", "joined", image=busybox, command=["/bin/sh", "-c", serve])
    ask = "for i in 1 2 3; do wget -q -O- http://127.0.0.1:8080/ && exit; sleep 1; done; exit 1"
    asks: dict[str, Any] = {"image": busybox, "commands": [["/bin/sh", "-c", ask]]}
    assert (await act(tools, "container.run", "asks", joins="joined", **asks))["tail"] == "hello\n"
    with pytest.raises(Conflict):
        await act(tools, "container.run", "alone", **asks)
    await act(tools, "container.stop", "stop-joined", key="joined")


async def test_a_secret_that_is_not_set_is_refused_before_anything_starts(
    engine: DockerEngine, tools: Toolbox, busybox: str
) -> None:
    with pytest.raises(Invalid):
        await act(tools, "container.start", "secretless", image=busybox, secrets={"X": "nowhere"})
    assert (await engine.status("secretless")).state == "absent"


async def test_an_image_is_built_pushed_removed_and_pulled(
    engine: DockerEngine, tools: Toolbox, busybox: str, container_engine: TestEngine, tmp_path: Path
) -> None:
    if not container_engine.registry:
        pytest.skip("docker-registry is not installed (apt install docker-registry)")
    (tmp_path / "word").write_text("hello")
    (tmp_path / "word").chmod(0o600)
    (tmp_path / "Dockerfile").write_text(f"FROM {busybox}\nCOPY . /in\nRUN ls /in\n")
    (tmp_path / ".dockerignore").write_text("private*\n!private-not\n")
    for name in ("private", "private-not"):
        (tmp_path / name).write_text("x")
    repository = f"{container_engine.registry}/tests/{uuid4().hex[:8]}"
    build = {"folder": str(tmp_path), "repository": repository, "labels": {"interlock.run": "run_1"}}
    assert await probe(tools, "image.build", "build-1", **build) == NotDone()
    built = await act(tools, "image.build", "build-1", **build)
    assert "Dockerfile\nprivate-not\nword\n" in built.pop("tail")
    found = await probe(tools, "image.build", "build-1", **build)
    assert found == Done(built | {"tail": ""})
    status = await engine.image(built["image"])
    assert status is not None
    assert status.labels.items() >= {KEY_LABEL: "build-1", "interlock.run": "run_1"}.items()
    push = {"image": built["image"], "repository": repository, "tag": "v1"}
    pushed = await act(tools, "image.push", "push-1", **push)
    assert pushed == await act(tools, "image.push", "push-1", **push)
    remove = {"image": built["image"]}
    assert await probe(tools, "image.remove", "remove-1", **remove) == NotDone()
    await act(tools, "image.remove", "remove-1", **remove)
    assert await probe(tools, "image.remove", "remove-1", **remove) == Done(remove)
    pull = {"reference": pushed["reference"]}
    assert await probe(tools, "image.pull", "pull-1", **pull) == NotDone()
    assert await act(tools, "image.pull", "pull-1", **pull) == {"image": built["image"]}
    assert await probe(tools, "image.pull", "pull-1", **pull) == Done({"image": built["image"]})
    output = await act(tools, "container.run", "read", image=pushed["reference"], commands=[["/bin/cat", "/in/word"]])
    assert output["tail"] == "hello"


async def test_an_image_is_built_on_the_bases_that_were_approved_alone(
    engine: DockerEngine, tools: Toolbox, busybox: str, tmp_path: Path
) -> None:
    base = f"tests/base-{uuid4().hex[:8]}:1"
    await engine.tag(busybox, base)
    pinned = await engine.image(base)
    assert pinned is not None
    build = {"folder": str(tmp_path), "repository": "interlock-tests/on-base", "bases": {base: pinned.image_id}}
    built = await act(tools, "image.build", "build-1", **build, dockerfile_text=f"FROM {base}\nLABEL a=1\n")
    await engine.tag(built["image"], base)
    with pytest.raises(Conflict, match="by now") as moved:
        await act(tools, "image.build", "build-2", **build, dockerfile_text=f"FROM {base}\nLABEL a=2\n")
    await engine.remove_image(base)
    with pytest.raises(Conflict, match="not on the engine any more") as gone:
        await act(tools, "image.build", "build-3", **build, dockerfile_text=f"FROM {base}\nLABEL a=3\n")
    assert [(error.value.code, error.value.where) for error in (moved, gone)] == [("base_changed", base)] * 2


async def test_a_build_ends_when_its_time_is_over_or_nobody_waits(engine: DockerEngine, busybox: str, tmp_path: Path) -> None:
    text = f'FROM {busybox}\nRUN ["/bin/sh", "-c", "echo begun; sleep 600"]\n'
    spec = BuildSpec(folder=str(tmp_path), tag="interlock-tests/slow:1", dockerfile_text=text)
    begun = asyncio.Event()
    build = asyncio.create_task(engine.build(spec, lambda output: begun.set() if "begun\n" in output else None))
    async with asyncio.timeout(60):
        await begun.wait()
    build.cancel()
    with pytest.raises(asyncio.CancelledError):
        await build
    with pytest.raises(Conflict) as late:
        await engine.build(msgspec.structs.replace(spec, timeout_s=1.0), lambda _: None)
    assert late.value.code == "build_timeout"
    assert await engine.image("interlock-tests/slow:1") is None


async def test_a_python_service_runs_from_its_generated_dockerfile(
    engine: DockerEngine, tools: Toolbox, container_engine: TestEngine, tmp_path: Path
) -> None:
    base = await base_image(container_engine.python)
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "extra.py").write_text("WORD = 'hello'\n")
    (tmp_path / "service.py").write_text(SERVICE)
    (tmp_path / "requirements.txt").write_text("# nothing from elsewhere\n")
    recipe = Recipe(
        name="greeter",
        module_type="api",
        runtime="python >=3.11",
        install=(parse_command("python3 -m venv .venv && .venv/bin/python -m pip install -r requirements.txt"),),
        start=parse_command(".venv/bin/python service.py {port}"),
        takes_port=True,
        env={"PYTHONPATH": "lib"},
        writable=("/data",),
    )
    generated = generate_dockerfile(
        recipe, BaseImages(python=base, node=""), {"requirements.txt": "# nothing from elsewhere\n"}
    )
    built = await act(
        tools,
        "image.build",
        "build-1",
        folder=str(tmp_path),
        repository="interlock-tests/greeter",
        dockerfile_text=generated.text,
        ignore_text=generated.ignore,
    )
    port = free_port()
    started = await act(
        tools,
        "container.start",
        "start-1",
        image=built["image"],
        secrets={"DB_PASSWORD": "db-password"},
        port=port,
        container_port=generated.container_port,
        writable=["/data"],
        limits={"memory_mb": 128, "cpus": 1.0},
    )
    assert await get(port) == "hello 65532 8080"
    assert "password ***\n" in (await engine.log(started["key"])).text


async def test_a_node_service_runs_from_its_generated_dockerfile(
    tools: Toolbox, container_engine: TestEngine, tmp_path: Path
) -> None:
    base = await base_image(container_engine.node)
    (tmp_path / "package.json").write_text('{"name": "x", "version": "1.0.0", "scripts": {"start": "node server.js"}}')
    (tmp_path / "server.js").write_text(
        "require('http').createServer((_, answer) => answer.end('hello ' + process.getuid())).listen(process.env.PORT)\n"
    )
    recipe = Recipe(
        name="x",
        module_type="api",
        runtime="node",
        install=(parse_command("npm install"),),
        start=parse_command("npm start"),
        takes_port=True,
    )
    generated = generate_dockerfile(
        recipe, BaseImages(python="", node=base), {"package.json": (tmp_path / "package.json").read_text()}
    )
    arguments = {"folder": str(tmp_path), "repository": "interlock-tests/node", "dockerfile_text": generated.text}
    built = await act(tools, "image.build", "build-1", **arguments, ignore_text=generated.ignore)
    port = free_port()
    await act(tools, "container.start", "start-1", image=built["image"], port=port, container_port=generated.container_port)
    assert await get(port) == "hello 65532"


async def base_image(make: Any) -> str:
    try:
        return await asyncio.to_thread(make)
    except Unusable as problem:
        pytest.skip(str(problem))


async def get(port: int) -> str:
    """What the service answers, once it does."""
    async with asyncio.timeout(60), httpx.AsyncClient(trust_env=False) as client:
        while True:
            try:
                return (await client.get(f"http://127.0.0.1:{port}/")).text
            except httpx.TransportError:
                await asyncio.sleep(0.05)


@pytest.mark.parametrize(
    "line",
    [
        "RUN --mount=type=cache,target=/x true",
        "RUN --network=none true",
        "RUN --security=insecure true",
        "COPY --chmod=755 word /word",
        "COPY --link word /word",
        "COPY --parents word /word",
        "COPY --exclude=x . /all",
        "ADD --checksum=sha256:1 https://127.0.0.1:9/x /x",
        "ADD --keep-git-dir word /word",
        "RUN <<EOF\necho hello\nEOF",
        "COPY <<EOF /word\nhello\nEOF",
    ],
)
async def test_what_is_said_to_need_buildkit_is_refused_by_the_engine(
    engine: DockerEngine, busybox: str, tmp_path: Path, line: str
) -> None:
    if "Podman" in (await engine.ping()).name:
        pytest.skip("Podman builds it")
    (tmp_path / "word").write_text("hello\n")
    text = f"FROM {busybox}\n{line}\n"
    assert [finding.code for finding in unbuildable(text, "Dockerfile")] == ["needs_buildkit"]
    with pytest.raises(Conflict) as refusal:
        await engine.build(BuildSpec(folder=str(tmp_path), tag="tests/new:1", dockerfile_text=text), lambda _: None)
    assert refusal.value.code == "build_failed"
