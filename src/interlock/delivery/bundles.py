"""Bundles: the files of a release, and the list of their hashes that proves them intact."""

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from interlock.core.canonical import digest_bytes
from interlock.core.errors import Conflict

SKIPPED = {".git", "__pycache__"}
"""Not part of what was built: git's link to the mirror, and what Python writes by itself when it runs."""


def seal(folder: Path) -> str:
    """List every file below ``folder`` beside it, in ``<folder>.manifest``; returns the list's digest. Blocking."""
    lines = "".join(f"{json.dumps(entry)}\n" for entry in _entries(folder)).encode()
    manifest = _manifest(folder)
    aside = manifest.with_suffix(".new")
    with aside.open("wb") as stream:
        stream.write(lines)
        stream.flush()
        os.fsync(stream.fileno())
    aside.rename(manifest)
    return digest_bytes(lines)


def check(folder: Path, bundle: str) -> None:
    """Raises Conflict ``bundle_missing`` or ``bundle_changed``, naming the first file, unless all that was sealed is there.

    Files that came later, such as what a service writes for itself, do not matter. Blocking.
    """
    manifest = _manifest(folder)
    if folder.is_symlink() or not folder.is_dir() or not manifest.is_file():
        raise Conflict(
            "bundle_missing", f"the files of the release are gone: {folder}", hint="deploy it again to build it anew"
        )
    lines = manifest.read_bytes()
    if digest_bytes(lines) != bundle:
        raise Conflict("bundle_changed", "the list of the release's files was changed", where=str(manifest))
    for line in lines.splitlines():
        path, kind, value = json.loads(line)
        if _describe(folder / path) != (kind, value):
            raise Conflict("bundle_changed", f"{path} is not what was built", where=str(folder))


def remove(folder: Path) -> bool:
    """Take a release's files away; whether there were any. Blocking."""
    if not folder.exists():
        return False
    shutil.rmtree(folder, ignore_errors=True)
    _manifest(folder).unlink(missing_ok=True)
    return True


def _manifest(folder: Path) -> Path:
    return folder.with_name(folder.name + ".manifest")


def _entries(folder: Path) -> Iterator[tuple[str, str, str]]:
    for current, folders, files in os.walk(folder):
        linked = [name for name in folders if Path(current, name).is_symlink()]
        folders[:] = sorted(name for name in folders if name not in SKIPPED and name not in linked)
        for name in sorted([*files, *linked]):
            if name not in SKIPPED:
                path = Path(current, name)
                yield str(path.relative_to(folder)), *_describe(path)


def _describe(path: Path) -> tuple[str, str]:
    """What a file is: its kind (with the right to execute) and its content's hash, or where a link leads."""
    if path.is_symlink():
        return "link", os.readlink(path)
    if not path.is_file():
        return "absent" if not path.exists() else "special", ""
    with path.open("rb") as stream:
        content = hashlib.file_digest(stream, "sha256").hexdigest()
    return ("executable" if path.stat().st_mode & 0o100 else "file"), content
