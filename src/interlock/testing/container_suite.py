"""What every implementation of the port `ContainerEngine` does.

A subclass of `ContainerBehaviour` gives three fixtures: ``engine``; ``image``, the id of an image with a POSIX shell that would
run as root; ``port``, a number that nobody listens on. For registries `RegistryBehaviour` adds ``registry``, the part of a
reference before the repository.
"""

import asyncio
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec

from interlock.core.errors import Conflict, Invalid
from interlock.testing.hosts import FAILS, MISSING, SAYS, STAYS, STUBBORN, Script, refused
from interlock.tools.containers.ports import BuildSpec, ContainerEngine, ContainerLimits, ContainerSpec
from interlock.tools.ports import LogChunk, ProcessStatus

SECRET = "correct-horse"  # noqa: S105 - what has to be masked
TELLS = ("/bin/sh", "-c", "echo with $TOKEN and $TOKEN")
WRITES = (
    "/bin/sh",
    "-c",
    "touch /no 2>/dev/null && echo wrote; for place in /tmp /data /var/data; do touch $place/yes && echo $place; done; id -u",
)
WRITTEN = "/tmp\n/data\n/var/data\n65532\n"  # noqa: S108 - places in a container
MEETS_LIMITS = ("/bin/sh", "-c", "x=xxxxxxxxxxxxxxxx; while :; do x=$x$x$x$x; done")

LISTENS = ("/bin/sh", "-c", "mkdir /tmp/www; echo here > /tmp/www/index.html; exec httpd -f -p 127.0.0.1:8000 -h /tmp/www")
ASKS = ("/bin/sh", "-c", "for i in 1 2 3 4 5 6 7 8 9; do wget -q -O- http://127.0.0.1:8000/ && exit; sleep 1; done; exit 1")

SUITE_SCRIPTS: Mapping[tuple[str, ...], Script] = {
    SAYS: Script(output="hello\n"),
    FAILS: Script(output="no\n", exit_code=3),
    STAYS: Script(exit_code=None),
    STUBBORN: Script(output="ready\n", exit_code=None, ignores_sigterm=True),
    MISSING: Script(is_executable=False),
    TELLS: Script(output=f"with {SECRET} and {SECRET}\n"),
    LISTENS: Script(exit_code=None),
    ASKS: Script(output="here\n"),
    WRITES: Script(output=WRITTEN),
    MEETS_LIMITS: Script(exit_code=-9),
}
PATIENCE_S = 30.0


def job(image: str, command: tuple[str, ...], **fields: Any) -> ContainerSpec:
    return ContainerSpec(kind="job", image=image, command=command, **fields)


def service(image: str, command: tuple[str, ...], **fields: Any) -> ContainerSpec:
    return msgspec.structs.replace(ContainerSpec(image=image, command=command, grace_s=5.0), **fields)


@asynccontextmanager
async def started(engine: ContainerEngine, key: str, spec: ContainerSpec) -> AsyncGenerator[ProcessStatus]:
    try:
        yield await engine.start(key, spec)
    finally:
        await engine.stop(key, 0)


async def until_log(engine: ContainerEngine, key: str, text: str) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while text not in (await engine.log(key)).text:  # noqa: ASYNC110 - the port has no event for output
            await asyncio.sleep(0.05)


class ContainerBehaviour:
    """What the port `ContainerEngine` promises of containers and of images on the engine itself."""

    async def test_it_says_who_it_is(self, engine: ContainerEngine) -> None:
        assert (await engine.ping()).version

    async def test_a_job_runs_to_its_end(self, engine: ContainerEngine, image: str) -> None:
        begun = await engine.start("job", job(image, SAYS))
        assert begun.state in {"running", "exited"}
        ended = await engine.wait("job", PATIENCE_S)
        assert (ended.state, ended.reason, ended.exit_code, ended.restarts) == ("exited", "completed", 0, 0)
        assert ended.started_at.endswith("Z")
        assert ended.ended_at >= ended.started_at
        assert await engine.log("job") == LogChunk(text="hello\n", begin=0, next_offset=6)

    async def test_a_job_that_fails_is_not_started_again(self, engine: ContainerEngine, image: str) -> None:
        await engine.start("fails", job(image, FAILS))
        ended = await engine.wait("fails", PATIENCE_S)
        assert (ended.state, ended.reason, ended.exit_code, ended.restarts) == ("exited", "failed", 3, 0)

    async def test_a_key_is_used_once(self, engine: ContainerEngine, image: str) -> None:
        async with started(engine, "once", service(image, STAYS)):
            with refused(Conflict, "process_exists"):
                await engine.start("once", service(image, STAYS))
        with refused(Conflict, "process_exists"):
            await engine.start("once", job(image, SAYS))

    async def test_of_many_starts_under_one_key_one_wins(self, engine: ContainerEngine, image: str) -> None:
        starts = (engine.start("race", service(image, STAYS)) for _ in range(4))
        outcomes = await asyncio.gather(*starts, return_exceptions=True)
        try:
            assert sum(isinstance(outcome, ProcessStatus) for outcome in outcomes) == 1
            assert sum(isinstance(outcome, Conflict) for outcome in outcomes) == 3
        finally:
            await engine.stop("race", 0)

    async def test_a_key_nobody_used_is_absent(self, engine: ContainerEngine) -> None:
        assert (await engine.status("nobody")).state == "absent"
        assert (await engine.wait("nobody", 1)).state == "absent"
        assert (await engine.stop("nobody")).state == "absent"
        assert await engine.log("nobody") == LogChunk(text="", begin=0, next_offset=0)
        await engine.remove("nobody")

    async def test_what_is_not_a_key_is_refused(self, engine: ContainerEngine, image: str) -> None:
        for key in ("", "..", "../up", "a/b", "-a", "A", "a b", "a\n", "a.b", "a" * 102):
            with refused(Invalid, "process_key"):
                await engine.start(key, job(image, SAYS))
            with refused(Invalid, "process_key"):
                await engine.status(key)

    async def test_an_image_that_is_not_there_is_named(self, engine: ContainerEngine) -> None:
        with refused(Conflict, "image_missing"):
            await engine.start("imageless", job("interlock-tests/nothing:here", SAYS))
        assert (await engine.status("imageless")).state == "absent"
        assert await engine.image("interlock-tests/nothing:here") is None

    async def test_a_program_that_is_not_there_is_named(self, engine: ContainerEngine, image: str) -> None:
        await engine.start("missing", job(image, MISSING))
        ended = await engine.wait("missing", PATIENCE_S)
        assert (ended.state, ended.reason) == ("exited", "not_executable")
        assert MISSING[0] in ended.message

    async def test_waiting_can_end_before_the_container_does(self, engine: ContainerEngine, image: str) -> None:
        async with started(engine, "long", service(image, STAYS)) as status:
            assert status.state == "running"
            assert await engine.wait("long", 0.05) == await engine.status("long")
            assert (await engine.status("long")).pid == status.pid

    async def test_a_status_tells_one_container_from_another_under_the_same_key(
        self, engine: ContainerEngine, image: str
    ) -> None:
        assert (await engine.status("same")).identity == ""
        async with started(engine, "same", service(image, STAYS)) as first:
            assert len(first.identity) == 64
            assert [each.identity for each in (await engine.list()).values()] == [first.identity]
        assert (await engine.stop("same")).identity == first.identity
        await engine.remove("same")
        async with started(engine, "same", service(image, STAYS)) as second:
            assert second.identity not in {"", first.identity}

    async def test_stopping_a_service_twice_is_stopping_it(self, engine: ContainerEngine, image: str) -> None:
        await engine.start("service", service(image, STAYS))
        first = await engine.stop("service")
        assert (first.state, first.reason, first.exit_code, first.pid) == ("exited", "stopped", -15, None)
        assert await engine.stop("service") == first == await engine.status("service")

    async def test_a_service_that_ignores_the_request_is_killed_after_the_grace(
        self, engine: ContainerEngine, image: str
    ) -> None:
        await engine.start("stubborn", service(image, STUBBORN))
        await until_log(engine, "stubborn", "ready")
        ended = await engine.stop("stubborn", 0.1)
        assert (ended.state, ended.reason, ended.exit_code) == ("exited", "stopped", -9)

    async def test_a_service_that_keeps_failing_is_given_up(self, engine: ContainerEngine, image: str) -> None:
        await engine.start("loop", service(image, FAILS, max_restarts=0))
        assert (await engine.wait("loop", PATIENCE_S)).reason == "gave_up"
        await engine.start("crash", service(image, FAILS, max_restarts=2))
        ended = await engine.wait("crash", PATIENCE_S)
        assert (ended.state, ended.reason, ended.exit_code, ended.restarts) == ("exited", "gave_up", 3, 2)
        assert (await engine.log("crash")).text == "no\n" * 3

    async def test_a_service_that_ends_well_has_completed(self, engine: ContainerEngine, image: str) -> None:
        await engine.start("done", service(image, SAYS))
        ended = await engine.wait("done", PATIENCE_S)
        assert (ended.state, ended.reason, ended.exit_code, ended.restarts) == ("exited", "completed", 0, 0)

    async def test_a_port_has_one_container(self, engine: ContainerEngine, image: str, port: int) -> None:
        async with started(engine, "first", service(image, STAYS, port=port)):
            second = await engine.start("second", service(image, STAYS, port=port, container_port=8080))
            assert (second.state, second.reason) == ("exited", "port_taken")
            assert (await engine.status("second")).reason == "port_taken"

    async def test_one_that_joins_another_has_its_network(self, engine: ContainerEngine, image: str) -> None:
        async with started(engine, "server", service(image, LISTENS)):
            await engine.start("asks", job(image, ASKS, joins="server"))
            assert (await engine.wait("asks", PATIENCE_S)).reason == "completed"
            assert (await engine.log("asks")).text == "here\n"
        for key in ("server", "nobody"):
            with refused(Conflict, "not_running"):
                await engine.start("late", job(image, ASKS, joins=key))

    async def test_the_same_port_of_another_address_is_another_place(
        self, engine: ContainerEngine, image: str, port: int
    ) -> None:
        elsewhere = service(image, STAYS, port=port, host="127.0.0.2")
        async with started(engine, "first", service(image, STAYS, port=port)), started(engine, "second", elsewhere):
            assert [(await engine.status(key)).state for key in ("first", "second")] == ["running", "running"]
            third = await engine.start("third", elsewhere)
            assert (third.state, third.reason) == ("exited", "port_taken")

    async def test_secrets_are_masked_across_the_borders_of_chunks(self, engine: ContainerEngine, image: str) -> None:
        spec = job(image, TELLS, environment={"TOKEN": SECRET}, secret_variables=("TOKEN",))
        await engine.start("secret", spec)
        await engine.wait("secret", PATIENCE_S)
        assert (await engine.log("secret")).text == "with *** and ***\n"
        for size in (1, 4, 7):
            shown, offset = "", 0
            while (chunk := await engine.log("secret", offset, size)).next_offset > offset:
                shown, offset = shown + chunk.text, chunk.next_offset
            assert shown == "with *** and ***\n"

    async def test_it_writes_where_it_may_and_is_not_root(self, engine: ContainerEngine, image: str) -> None:
        await engine.start("writes", job(image, WRITES, writable=("/data", "/var/data")))
        assert (await engine.wait("writes", PATIENCE_S)).exit_code == 0
        assert (await engine.log("writes")).text == WRITTEN

    async def test_what_needs_too_much_memory_is_killed(self, engine: ContainerEngine, image: str) -> None:
        limits = ContainerLimits(cpus=0.5, memory_mb=16, pids=20)
        await engine.start("large", job(image, MEETS_LIMITS, limits=limits))
        ended = await engine.wait("large", PATIENCE_S)
        assert (ended.state, ended.reason, ended.exit_code) == ("exited", "failed", -9)

    async def test_output_is_read_from_an_offset_on(self, engine: ContainerEngine, image: str) -> None:
        await engine.start("log", job(image, SAYS))
        await engine.wait("log", PATIENCE_S)
        assert await engine.log("log", 2, 3) == LogChunk(text="llo", begin=2, next_offset=5)
        assert await engine.log("log", -3) == LogChunk(text="lo\n", begin=3, next_offset=6)
        assert await engine.log("log", -100, 5) == LogChunk(text="hello", begin=0, next_offset=5)
        assert await engine.log("log", 6) == LogChunk(text="", begin=6, next_offset=6)
        assert await engine.log("log", 500) == LogChunk(text="", begin=6, next_offset=6)

    async def test_every_key_is_listed_with_its_status(self, engine: ContainerEngine, image: str) -> None:
        await engine.start("b", job(image, SAYS))
        await engine.wait("b", PATIENCE_S)
        async with started(engine, "a", service(image, STAYS)):
            assert {key: status.state for key, status in (await engine.list()).items()} == {"a": "running", "b": "exited"}

    async def test_a_survey_has_what_runs_with_its_image_and_its_labels(self, engine: ContainerEngine, image: str) -> None:
        await engine.start("b", job(image, SAYS))
        await engine.wait("b", PATIENCE_S)
        async with started(engine, "a", service(image, STAYS, labels={"about": "surveys"})):
            first = await engine.survey()
            assert list(first) == ["a"]
            assert (first["a"].image, first["a"].labels["about"]) == (image, "surveys")
        assert await engine.survey() == {}
        await engine.remove("a")
        async with started(engine, "a", service(image, STAYS)):
            assert (await engine.survey())["a"].identity != first["a"].identity

    async def test_the_jobs_of_an_image_are_told_by_their_labels_once_they_have_ended(
        self, engine: ContainerEngine, image: str
    ) -> None:
        labels = {"about": "jobs", "of": "one"}
        await engine.start("ended", job(image, SAYS, labels=labels))
        await engine.wait("ended", PATIENCE_S)
        await engine.start("others", job(image, SAYS, labels={"about": "jobs", "of": "another"}))
        await engine.wait("others", PATIENCE_S)
        await engine.start("served", service(image, SAYS, labels=labels))
        await engine.wait("served", PATIENCE_S)
        async with started(engine, "goes-on", job(image, STAYS, labels=labels)):
            assert list(await engine.ended_jobs(image, labels)) == ["ended"]
        assert list(await engine.ended_jobs(image, labels)) == ["ended", "goes-on"]
        assert list(await engine.ended_jobs("sha256:" + 64 * "0", labels)) == []

    async def test_only_what_has_ended_can_be_removed(self, engine: ContainerEngine, image: str) -> None:
        async with started(engine, "gone", service(image, STAYS)):
            with refused(Conflict, "process_running"):
                await engine.remove("gone")
        await engine.remove("gone")
        await engine.remove("gone")
        assert (await engine.status("gone")).state == "absent"
        assert "gone" not in await engine.list()
        await engine.start("gone", job(image, SAYS))
        assert (await engine.wait("gone", PATIENCE_S)).reason == "completed"

    async def test_an_image_is_built_found_by_its_labels_and_removed(
        self, engine: ContainerEngine, image: str, tmp_path: Path
    ) -> None:
        shown: list[str] = []
        text = f'FROM {image}\nRUN ["/bin/sh", "-c", "echo hello"]\n'
        spec = BuildSpec(folder=str(tmp_path), tag="interlock-tests/built:1", dockerfile_text=text, labels={"of": "test"})
        image_id = await engine.build(spec, shown.append)
        assert "hello\n" in "".join(shown)
        found = await engine.image("interlock-tests/built:1")
        assert found is not None
        assert (found.image_id, found.labels["of"], found.references) == (image_id, "test", ("interlock-tests/built:1",))
        (listed,) = [each for each in await engine.images() if each.image_id == image_id]
        assert (listed.labels["of"], listed.references) == ("test", ("interlock-tests/built:1",))
        assert listed.created_at[:19] == found.created_at[:19]
        await engine.tag(image_id, "interlock-tests/built:2")
        await engine.start("user", job(image_id, SAYS))
        await engine.wait("user", PATIENCE_S)
        with refused(Conflict, "image_in_use"):
            await engine.remove_image(image_id)
        await engine.remove("user")
        await engine.remove_image("interlock-tests/built:1")
        assert await engine.image("interlock-tests/built:2") is not None
        await engine.remove_image(image_id)
        await engine.remove_image(image_id)
        assert await engine.image(image_id) is None

    async def test_a_step_that_fails_ends_the_build_with_its_output(
        self, engine: ContainerEngine, image: str, tmp_path: Path
    ) -> None:
        text = f'FROM {image}\nRUN ["/bin/sh", "-c", "echo no; exit 3"]\n'
        spec = BuildSpec(folder=str(tmp_path), tag="interlock-tests/failed:1", dockerfile_text=text)
        with refused(Conflict, "build_failed") as error:
            await engine.build(spec, lambda _: None)
        assert "no\n" in error[0].details["tail"]
        assert await engine.image("interlock-tests/failed:1") is None


class RegistryBehaviour:
    """What the port promises of an engine with a registry."""

    async def test_an_image_comes_back_from_the_registry_by_its_digest(
        self, engine: ContainerEngine, image: str, registry: str, tmp_path: Path
    ) -> None:
        repository = f"{registry}/tests/travels"
        text = f'FROM {image}\nRUN ["/bin/sh", "-c", "echo hello"]\n'
        image_id = await engine.build(
            BuildSpec(folder=str(tmp_path), tag=f"{repository}:1", dockerfile_text=text), lambda _: None
        )
        digest = await engine.push(f"{repository}:1")
        assert digest.startswith("sha256:")
        assert await engine.push(f"{repository}:1") == digest
        await engine.remove_image(image_id)
        assert await engine.image(image_id) is None
        assert await engine.pull(f"{repository}@{digest}") == image_id
        found = await engine.image(f"{repository}@{digest}")
        assert found is not None
        assert f"{repository}@{digest}" in found.digests
        await engine.remove_image(image_id)

    async def test_what_the_registry_does_not_have_is_missing(self, engine: ContainerEngine, registry: str) -> None:
        with refused(Conflict, "image_missing"):
            await engine.pull(f"{registry}/tests/nothing@sha256:{'0' * 64}")
        with refused(Conflict, "image_missing"):
            await engine.push(f"{registry}/tests/nothing:1")

    async def test_a_tag_alone_says_too_little_to_be_pulled(self, engine: ContainerEngine, registry: str) -> None:
        with refused(Invalid, "image_reference"):
            await engine.pull(f"{registry}/tests/travels:1")
