"""What builds print is kept while they go on, up to a limit that is said."""

from pathlib import Path

from interlock.adapters.containers.build_logs import CUT, MAX_BYTES, BuildLogs
from interlock.core.scope import system_scope
from interlock.tools.model import Call

BUILD = Call(scope=system_scope("test"), run_id="run_1", task_id="image", key="build-1")


async def test_it_is_read_while_the_build_goes_on(tmp_path: Path) -> None:
    logs = BuildLogs(tmp_path / "builds", keep_s=60)
    for number in range(1000):
        logs.take(BUILD, f"{number}\n")
    first = await logs.log("build-1", 0, 4)
    assert (first.text, first.next_offset) == ("0\n1\n", 4)
    logs.take(BUILD, "end\n")
    assert (await logs.log("build-1", -4, 100)).text == "end\n"
    assert (await logs.log("another", 0, 100)).text == ""


async def test_what_is_too_long_says_that_it_was_cut(tmp_path: Path) -> None:
    logs = BuildLogs(tmp_path / "builds", keep_s=60)
    for _ in range(3):
        logs.take(BUILD, "x" * (MAX_BYTES // 2 + 1))
        await logs.log("build-1", 0, 1)
    end = await logs.log("build-1", -len(CUT) - 2, MAX_BYTES)
    assert (end.text, end.next_offset) == ("xx" + CUT, MAX_BYTES + len(CUT))


async def test_the_output_of_a_job_can_be_kept_twice(tmp_path: Path) -> None:
    logs = BuildLogs(tmp_path / "builds", keep_s=60)
    for _ in range(2):
        logs.keep("test-1", "passed\n")
    assert (await logs.log("test-1", 0, 100)).text == "passed\n"
