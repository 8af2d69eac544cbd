"""What is sent to a build: packed and read beside the event loop, and without what no image needs."""

import io
import tarfile
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from interlock.adapters.containers import context as packing
from interlock.adapters.containers.connection import Connection
from interlock.adapters.containers.images import Images
from interlock.tools.containers.ports import BuildSpec


class Answer:
    """What an engine says of a build: nothing but the image."""

    class content:  # noqa: N801 - as aiohttp has it
        @staticmethod
        async def iter_any() -> AsyncIterator[bytes]:
            yield b'{"aux": {"ID": "sha256:built"}}'


class Engine(Connection):
    """Takes what is sent to it, as far as it comes in pieces."""

    def __init__(self) -> None:
        super().__init__("")
        self.taken = b""

    @asynccontextmanager
    async def _request(self, _method: str, _path: str, _params: Any, data: Any, _headers: Any, **_limits: Any):  # type: ignore[override]
        async for piece in data:
            self.taken += piece
        yield Answer()


def names(archive: bytes) -> list[str]:
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        return tar.getnames()


async def test_a_folder_is_packed_and_its_archive_read_outside_of_the_event_loop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "Dockerfile").write_text("FROM scratch\n")
    (tmp_path / "large").write_bytes(bytes(packing._IN_MEMORY_BYTES + 1))
    threads: set[str] = set()

    class Spool(packing.tempfile.SpooledTemporaryFile[bytes]):
        def write(self, *arguments: Any) -> int:
            threads.add(threading.current_thread().name)
            return super().write(*arguments)

        def read(self, *arguments: Any) -> bytes:
            threads.add(threading.current_thread().name)
            return super().read(*arguments)

    monkeypatch.setattr(packing.tempfile, "SpooledTemporaryFile", Spool)
    engine = Engine()
    built = await Images(engine, lambda: "plane").build(BuildSpec(folder=str(tmp_path), tag="x:1"), lambda _: None)
    assert built == "sha256:built"
    assert names(engine.taken) == ["Dockerfile", "large"]
    assert threads
    assert threading.main_thread().name not in threads


@pytest.mark.parametrize("ignore", [None, "", "!.git\n"])
@pytest.mark.parametrize("is_worktree", [True, False])
def test_the_history_at_the_root_is_never_sent(tmp_path: Path, ignore: str | None, is_worktree: bool) -> None:
    (tmp_path / "Dockerfile").write_text("FROM scratch\n")
    if is_worktree:
        (tmp_path / ".git").write_text("gitdir: elsewhere\n")
    else:
        (tmp_path / ".git").mkdir()
        (tmp_path / ".git" / "HEAD").write_text("ref: refs/heads/main\n")
    (tmp_path / "vendor" / ".git").mkdir(parents=True)
    (tmp_path / ".github").mkdir()
    archive, _ = packing.pack_context(BuildSpec(folder=str(tmp_path), tag="x:1", ignore_text=ignore))
    with archive:
        assert names(archive.read()) == [".github", "Dockerfile", "vendor", "vendor/.git"]
