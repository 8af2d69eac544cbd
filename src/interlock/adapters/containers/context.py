"""What is sent to build an image: the folder without what is ignored, as an archive that depends on contents alone."""

import os
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from io import BytesIO
from pathlib import Path, PurePosixPath
from typing import IO

from interlock.adapters.containers.ignoring import Ignored
from interlock.core.errors import Invalid, Unavailable
from interlock.tools.containers.ports import BuildSpec

IGNORE_FILE = ".dockerignore"
_HISTORY = ".git"
_GIVEN = ".interlock.Dockerfile"
_IN_MEMORY_BYTES = 8 * 1024 * 1024


def pack_context(spec: BuildSpec) -> tuple[IO[bytes], str]:
    """The archive, read from its beginning and closed by whoever asked, and the path of the Dockerfile in it.

    Takes as long as the folder is large. Raises Invalid ``build_context``.
    """
    folder = Path(spec.folder)
    dockerfile = _GIVEN if spec.dockerfile_text else _inside(spec.dockerfile)
    if not folder.is_dir():
        raise Invalid("build_context", f"{spec.folder} is not a folder", where=spec.tag)
    if not spec.dockerfile_text and not (folder / dockerfile).is_file():
        raise Invalid("build_context", f"there is no {dockerfile} in the folder", where=spec.tag)
    ignored = Ignored(_ignore_text(folder) if spec.ignore_text is None else spec.ignore_text)
    with ExitStack() as unless_packed:
        buffer = unless_packed.enter_context(tempfile.SpooledTemporaryFile(_IN_MEMORY_BYTES))
        try:
            with tarfile.open(fileobj=buffer, mode="w") as archive:
                for path in _files(folder, ignored, dockerfile):
                    _add(archive, folder, path)
                if spec.dockerfile_text:
                    _add_text(archive, dockerfile, spec.dockerfile_text)
            buffer.seek(0)
        except OSError as error:
            raise Unavailable("storage", f"the folder cannot be packed: {error}", where=spec.folder) from error
        unless_packed.pop_all()
        return buffer, dockerfile


def _inside(path: str) -> str:
    pure = PurePosixPath(path)
    if pure.is_absolute() or ".." in pure.parts or not pure.parts:
        raise Invalid("build_context", f"the Dockerfile lies outside the folder: {path!r}")
    return str(pure)


def _ignore_text(folder: Path) -> str:
    file = folder / IGNORE_FILE
    # A link could lead anywhere.
    return file.read_text(errors="replace") if file.is_file() and not file.is_symlink() else ""


def _files(folder: Path, ignored: Ignored, dockerfile: str) -> Iterator[str]:
    """Paths below the folder in a fixed order, folders before what is in them. Links are named, never followed."""
    for place, folders, names in os.walk(folder):
        base = PurePosixPath(os.path.relpath(place, folder))
        if place == str(folder):
            # The history, or the way to it: of no use in an image, and it may hold what was taken out of the files since.
            folders[:] = [name for name in folders if name != _HISTORY]
        folders.sort()
        for name in sorted([*names, *folders]):
            path = str(base / name)
            if path == _HISTORY:
                continue
            if path == dockerfile or not ignored.covers(path):
                yield path
        if not ignored.has_exceptions:
            folders[:] = [
                name for name in folders if not ignored.covers(str(base / name)) or dockerfile.startswith(f"{base / name}/")
            ]


def _add(archive: tarfile.TarFile, folder: Path, path: str) -> None:
    entry = archive.gettarinfo(folder / path, path)
    # Sockets and pipes are no sources.
    if not (entry.isreg() or entry.isdir() or entry.issym() or entry.islnk()):
        return
    # A second name for a file is sent as a file: what it leads to may be left out.
    entry.type = tarfile.REGTYPE if entry.islnk() else entry.type
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = ""
    entry.mtime = 0
    # What only its owner may read here is read by another user there.
    entry.mode = 0o755 if entry.isdir() or entry.mode & 0o111 else 0o644
    if not entry.isreg():
        archive.addfile(entry)
        return
    with (folder / path).open("rb") as file:
        entry.size = os.fstat(file.fileno()).st_size
        archive.addfile(entry, file)


def _add_text(archive: tarfile.TarFile, path: str, text: str) -> None:
    data = text.encode()
    entry = tarfile.TarInfo(path)
    entry.size, entry.mode = len(data), 0o644
    archive.addfile(entry, BytesIO(data))
