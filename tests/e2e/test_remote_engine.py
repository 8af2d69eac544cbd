"""A container engine on another host, as far as can be told: it is asked over TLS at an address of its own, and containers are
published there. On the same ports of this host strangers listen, who would be glad to be mistaken for the service."""

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from e2e.conftest import environment, sample_name
from harness.certificates import FILES, Authority
from harness.containers import TestEngine, docker
from harness.own_engine import OwnEngine, own_engine
from harness.plane import Plane, until
from harness.ports import free_port
from harness.sample import Sample
from harness.small_site import release
from interlock.adapters.containers.engine import DockerEngine
from interlock.adapters.containers.tls import client_context
from interlock.core.errors import Invalid, Unavailable
from interlock.delivery.steps import starting

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.xdist_group("containers")]

HOST = "127.0.0.2"
BASE = "local/busybox:1"
CANARY = {
    "strategy": "canary",
    "steps": [{"percent": 50, "bake": 2}],
    "analysis": {"min_requests": 4, "checks": [{"name": "queue", "metric": "queue_depth", "max": 5}]},
}


class Remote:
    """The engine, its URL, and the folders of those who may ask it and of those who may not."""

    def __init__(self, engine: OwnEngine, url: str, certificates: Path, others: Path) -> None:
        self.engine = engine
        self.url = url
        self.certificates = certificates
        self.others = others


@pytest.fixture(scope="module")
def remote(container_engine: TestEngine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Remote]:
    folder = tmp_path_factory.mktemp("certificates")
    authority = Authority()
    server = authority.issue(folder / "server", HOST)
    client, others = authority.issue(folder / "client"), Authority().issue(folder / "others")
    url = f"tcp://{HOST}:{free_port()}"
    places = zip(("--tlscacert", "--tlscert", "--tlskey"), FILES, strict=True)
    options = ["-H", url, "--tlsverify", *(f"{option}={server / name}" for option, name in places)]
    with own_engine(container_engine, 4, options=options) as engine:
        yield Remote(engine, url, client, others)


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def plane(remote: Remote, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Plane]:
    settings = {
        "container_engine": remote.url,
        "container_tls": str(remote.certificates),
        "container_address": HOST,
        "drift_interval_s": 0.2,
    }
    made = Plane(tmp_path_factory.mktemp("plane"), environment(), **settings)
    await made.start()
    yield made
    await made.stop()
    await made.clear()


@pytest.fixture
def sample(tmp_path: Path, request: pytest.FixtureRequest) -> Sample:
    return Sample(tmp_path / "repositories", sample_name(request.node.name))


class Strangers:
    """On every port that is chosen for a container somebody else listens on this host, and answers whatever is asked."""

    def __init__(self) -> None:
        self.heard: list[str] = []
        self.servers: list[ThreadingHTTPServer] = []
        self.takes_next_on = ""
        """Where they take the next port before the container gets it."""

    def choose(self) -> int:
        port = free_port()
        self._listen("127.0.0.1", port)
        if self.takes_next_on:
            self._listen(self.takes_next_on, port)
            self.takes_next_on = ""
        return port

    def _listen(self, host: str, port: int) -> None:
        heard = self.heard

        class Answers(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                heard.append(f"{host}:{port}{self.path}")
                self.send_response(200)
                self.end_headers()
                self.wfile.write(b"a stranger\nqueue_depth 1000\n")

            def log_message(self, *_: Any) -> None:
                pass

        server = ThreadingHTTPServer((host, port), Answers)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        self.servers.append(server)

    def end(self) -> None:
        for server in self.servers:
            server.shutdown()
            server.server_close()


@pytest.fixture(autouse=True)
def strangers(monkeypatch: pytest.MonkeyPatch) -> Iterator[Strangers]:
    made = Strangers()
    monkeypatch.setattr(starting, "any_free_port", made.choose)
    yield made
    made.end()


def publish(sample: Sample, tag: str, **module: Any) -> None:
    """Release a site that says its version and offers a page of metrics."""
    sample.write("metrics", "queue_depth 1\n")
    release(sample, tag, BASE, **module)


def bindings(remote: Remote, sample: Sample) -> list[dict[str, str]]:
    """Where the containers of the service that run are published, in the engine's own words."""
    url = remote.engine.url
    ids = docker(url, "ps", "--quiet", "--filter", f"label=interlock.service={sample.name}").stdout.split()
    found = json.loads(docker(url, "inspect", *ids).stdout) if ids else []
    return [each for item in found for ports in item["HostConfig"]["PortBindings"].values() for each in ports]


async def instances(plane: Plane, sample: Sample) -> list[tuple[str, int]]:
    serving = await plane.serving(sample)
    assert serving is not None
    found = (await plane.get("/deployments", params={"service": sample.name}))["items"]
    (its,) = [item for item in found if item["deployment_id"] == serving["deployment_id"]]
    return [(instance["host"], instance["port"]) for instance in its["instances"]]


async def test_releases_come_by_blue_green_and_go_back_and_no_stranger_is_asked(
    plane: Plane, sample: Sample, remote: Remote, strangers: Strangers
) -> None:
    for version in ("v1.0.0", "v1.1.0"):
        publish(sample, version)
    await plane.add(sample)
    await plane.deploy(sample, "v1.0.0")
    async with plane.traffic(sample) as answers:
        await plane.deploy(sample, "v1.1.0")
        run = await plane.do(f"roll back {sample.name} in staging")
        assert run["status"] == "completed", run["error"]
    assert set(answers) <= {(200, "v1.0.0"), (200, "v1.1.0")}
    assert await plane.ask(sample) == (200, "v1.0.0")
    (place,) = await instances(plane, sample)
    assert [(item["HostIp"], int(item["HostPort"])) for item in await asyncio.to_thread(bindings, remote, sample)] == [place]
    assert place[0] == HOST
    assert strangers.heard == []


async def test_a_canary_is_judged_by_its_own_metrics(plane: Plane, sample: Sample, strangers: Strangers) -> None:
    for version in ("v1.0.0", "v1.1.0"):
        publish(sample, version, deploy=CANARY)
    sample.write("metrics", "queue_depth 9\n")
    release(sample, "v1.2.0", BASE, deploy=CANARY)
    await plane.add(sample)
    await plane.deploy(sample, "v1.0.0")
    async with plane.traffic(sample, pause_s=0.01) as answers:
        await plane.deploy(sample, "v1.1.0")
        run = await plane.do(f"deploy {sample.name} v1.2.0 to staging")
    assert (run["status"], run["error"]["code"]) == ("rolled_back", "analysis_failed"), run["error"]
    assert {status for status, _ in answers} == {200}
    assert {text for _, text in answers} == {"v1.0.0", "v1.1.0", "v1.2.0"}
    assert await plane.ask(sample) == (200, "v1.1.0")
    assert strangers.heard == []


async def test_a_candidate_that_is_not_well_is_not_taken_for_the_stranger_who_is(
    plane: Plane, sample: Sample, strangers: Strangers
) -> None:
    health = {"path": "/nowhere", "interval": 0.1, "timeout": "1s", "healthy_after": 2, "start_timeout": "2s"}
    publish(sample, "v1.0.0")
    publish(sample, "v1.1.0", health=health)
    await plane.add(sample)
    await plane.deploy(sample, "v1.0.0")
    run = await plane.do(f"deploy {sample.name} v1.1.0 to staging")
    assert (run["status"], run["error"]["code"]) == ("failed", "not_healthy"), run["error"]
    assert await plane.ask(sample) == (200, "v1.0.0")
    assert strangers.heard == []


async def test_a_port_that_is_taken_there_is_given_up_for_another_one(
    plane: Plane, sample: Sample, strangers: Strangers
) -> None:
    publish(sample, "v1.0.0")
    await plane.add(sample)
    strangers.takes_next_on = HOST
    run = await plane.deploy(sample, "v1.0.0")
    assert len(strangers.servers) == 3
    assert await plane.ask(sample) == (200, "v1.0.0"), run
    assert strangers.heard == []


async def test_a_leg_that_was_led_to_this_host_is_drift_though_the_port_is_the_same(
    plane: Plane, sample: Sample, strangers: Strangers
) -> None:
    publish(sample, "v1.0.0")
    await plane.add(sample)
    await plane.deploy(sample, "v1.0.0")
    ((host, port),) = await instances(plane, sample)
    (line,) = (plane.home / "forwarder" / "legs").glob(f"{sample.name}.staging.stable")
    line.write_text(line.read_text().replace(f"{host}:{port}", f"127.0.0.1:{port}"))
    assert await plane.ask(sample) == (200, "a stranger\nqueue_depth 1000\n")

    async def look() -> Any:
        rows = (await plane.get("/status", params={"service": sample.name, "environment": "staging"}))["items"]
        return rows[0]["drift"]

    seen = json.dumps(await until(look, "the drift is found"))
    assert f"leads to 100 % {port}, not to 100 % {host}:{port}" in seen
    assert strangers.heard == [f"127.0.0.1:{port}/"]


async def test_the_plan_names_the_host_and_grants_no_other_one(plane: Plane, sample: Sample) -> None:
    publish(sample, "v1.0.0")
    await plane.add(sample)
    plan = await plane.plan(f"deploy {sample.name} v1.0.0 to staging")
    grants = plan["content"]["grants"]
    starts = [grant for grant in grants if grant["tool"] == "container.start"]
    assert {grant["arguments"]["host"]["value"] for grant in starts} == {HOST}
    shares = [grant["arguments"]["shares"] for grant in grants if grant["tool"] == "forwarder.point"]
    assert shares
    assert all(rule["value"] == [HOST] for rule in shares)


async def test_who_has_no_certificate_of_the_engine_s_authority_is_not_spoken_to(remote: Remote) -> None:
    known = DockerEngine(remote.url, lambda: "tests", tls=client_context(remote.certificates))
    assert (await known.ping()).version
    strange = DockerEngine(remote.url, lambda: "tests", tls=client_context(remote.others))
    with pytest.raises(Unavailable, match="certificate"):
        await strange.ping()
    with pytest.raises(Invalid, match="HTTPS"):
        await DockerEngine(remote.url, lambda: "tests").ping()
