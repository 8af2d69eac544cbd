"""The example services behave as examples/README.md says. Each runs as a real process, started by its own module file."""

import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import pytest

from interlock.sources.dockerfile import BaseImages, generate_dockerfile
from interlock.sources.model import Recipe
from interlock.sources.module_file import check_module, parse_module

EXAMPLES = Path(__file__).parents[2] / "examples"
VERSIONS = ("v1.0.0", "v1.1.0", "v1.2.0")
WEATHER = ("v1.0.0", "v1.1.0", "v1.1.1", "v1.2.0")
DEADLINE_S = 20.0


@dataclass
class Service:
    """A running example. `get` returns status and decoded JSON."""

    process: subprocess.Popen[bytes]
    port: int
    log: Path

    def get(self, path: str) -> tuple[int, dict[str, Any]]:
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=DEADLINE_S)) as connection:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read())

    def send_part(self) -> socket.socket:
        """A connection that has sent only a part of its request."""
        connection = socket.create_connection(("127.0.0.1", self.port), timeout=DEADLINE_S)
        connection.sendall(b"GET / HTTP/1.1\r\n")
        return connection

    def is_listening(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self.port), timeout=DEADLINE_S).close()
        except OSError:
            return False
        return True


class Start(Protocol):
    def __call__(self, version: str, service: str = "greeter") -> Service: ...


def until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline, f"in vain: {what}"
        time.sleep(0.01)


def module_file(version: str, service: str = "greeter") -> bytes:
    return (EXAMPLES / service / version / "ai-module.yaml").read_bytes()


def recipe_of(version: str, service: str = "greeter") -> Recipe:
    return parse_module(module_file(version, service))


@pytest.fixture
def start(tmp_path: Path) -> Generator[Start]:
    """Starts a version of an example on a port that the system chooses; whatever still runs at the end is killed."""
    running: list[subprocess.Popen[bytes]] = []

    def start_version(version: str, service: str = "greeter") -> Service:
        log = tmp_path / f"{version}.log"
        start = recipe_of(version, service).start
        assert start is not None
        (command,) = start.on_port(0)
        with log.open("wb") as output:
            process = subprocess.Popen(
                command, cwd=EXAMPLES / service / version, env=environment(), stdout=output, stderr=output
            )
        running.append(process)
        until(lambda: b"\n" in log.read_bytes(), f"{version} says that it started")
        return Service(process, int(log.read_text().splitlines()[0].rpartition("port=")[2]), log)

    yield start_version
    for process in running:
        process.kill()
        process.wait()


def environment() -> dict[str, str]:
    return {"PATH": os.environ["PATH"], "PYTHONDONTWRITEBYTECODE": "1"}


@pytest.mark.parametrize("version", VERSIONS)
def test_the_module_file_is_accepted_and_lets_the_watch_decide(version: str) -> None:
    assert check_module(module_file(version)) == []
    recipe = recipe_of(version)
    assert (recipe.name, recipe.version, recipe.takes_port, recipe.strategy) == ("greeter", version, True, "blue-green")
    assert (recipe.watch.window_s, recipe.watch.error_rate, recipe.rollback) == (6.0, 0.05, "automatic")


@pytest.mark.parametrize("version", VERSIONS)
def test_every_version_passes_its_own_smoke_tests(start: Start, version: str) -> None:
    service = start(version)
    for smoke in recipe_of(version).smoke:
        status, answer = service.get(smoke.path or "")
        assert status == smoke.expect_status
        assert (smoke.expect_text or "") in json.dumps(answer)


@pytest.mark.parametrize("version", VERSIONS)
def test_every_version_starts_healthy_and_names_itself(start: Start, version: str) -> None:
    service = start(version)
    assert service.get("/health") == (200, {"status": "ok", "version": version})
    status, answer = service.get("/?name=moon")
    assert (status, answer["message"], answer["version"]) == (200, "Hello, moon!", version)
    assert service.get("/nowhere")[0] == 404
    assert service.log.read_text().splitlines() == [
        f"greeter {version} started pid={service.process.pid} port={service.port}",
        '"GET /health HTTP/1.1" 200 -',
        '"GET /?name=moon HTTP/1.1" 200 -',
        '"GET /nowhere HTTP/1.1" 404 -',
    ]


@pytest.mark.parametrize("version", VERSIONS)
def test_its_own_tests_pass(version: str) -> None:
    (command,) = recipe_of(version).test[0].argv
    done = subprocess.run(command, cwd=EXAMPLES / "greeter" / version, env=environment(), capture_output=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("version", ["v1.0.0", "v1.2.0"])
def test_a_good_version_holds_under_traffic(start: Start, version: str) -> None:
    service = start(version)
    assert {service.get("/")[0] for _ in range(150)} == {200}


def test_the_defect_shows_only_after_the_first_requests_and_not_on_health(start: Start) -> None:
    service = start("v1.1.0")
    statuses = [service.get("/")[0] for _ in range(128)]
    assert statuses[:38] == [200] * 38
    assert statuses[38:] == [500, 200, 200] * 30
    assert service.get("/health")[0] == 200
    assert "error: no free slot to greet in 'fr'" in service.log.read_text()


def test_requests_are_served_in_parallel(start: Start) -> None:
    service = start("v1.0.0")
    with service.send_part(), service.send_part():
        assert service.get("/")[0] == 200


@pytest.mark.parametrize("version", VERSIONS)
def test_sigterm_lets_a_request_under_way_finish(start: Start, version: str) -> None:
    service = start(version)
    with service.send_part() as under_way:
        service.get("/health")  # connections are taken in order, so the one under way has been taken when this is answered
        service.process.send_signal(signal.SIGTERM)
        until(lambda: not service.is_listening(), "no new connections are taken")
        assert service.process.poll() is None
        under_way.sendall(b"\r\n")
        with under_way.makefile("rb") as answer:
            assert answer.readline() == b"HTTP/1.0 200 OK\r\n"
            answer.read()
    assert service.process.wait(DEADLINE_S) == 0
    assert service.log.read_text().splitlines()[-1] == f"greeter {version} stopped pid={service.process.pid}"


@pytest.mark.parametrize("version", WEATHER)
def test_the_weather_runs_in_a_container_as_a_canary(version: str) -> None:
    assert check_module(module_file(version, "weather")) == []
    recipe = recipe_of(version, "weather")
    assert (recipe.version, recipe.target, recipe.strategy) == (version, "container", "canary")
    assert [step.percent for step in recipe.steps] == [25, 50]
    made = generate_dockerfile(recipe, BaseImages(python="python", node="node"), {})
    assert '"--host", "0.0.0.0"' in made.text


@pytest.mark.parametrize("version", WEATHER)
def test_the_tests_of_the_weather_pass_and_it_starts_healthy(start: Start, version: str) -> None:
    (command,) = recipe_of(version, "weather").test[0].argv
    done = subprocess.run(command, cwd=EXAMPLES / "weather" / version, env=environment(), capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    service = start(version, "weather")
    assert service.get("/health") == (200, {"status": "ok", "version": version})
    status, answer = service.get("/")
    assert (status, answer["station"], answer["version"]) == (200, "harbour", version)


@pytest.mark.parametrize("version", WEATHER[:-1])
def test_the_good_weather_releases_answer_every_request(start: Start, version: str) -> None:
    service = start(version, "weather")
    assert {service.get("/")[0] for _ in range(60)} == {200}


def test_the_defect_of_the_weather_fails_every_fifth_request_and_names_its_version(start: Start) -> None:
    service = start("v1.2.0", "weather")
    answers = [service.get("/") for _ in range(20)]
    assert [status for status, _ in answers] == [200, 200, 200, 200, 500] * 4
    assert {answer["version"] for _, answer in answers} == {"v1.2.0"}
    assert "error: KeyError: 'wind'" in service.log.read_text()
