"""Folders that a container may write to: volumes of its own, in the hands of the one who runs in it.

A new volume belongs to root, and an engine hands over only what lies in one, not the volume itself. So a container that is
never started is made first, with the volumes and a root that may be written to; through it they get their owner, and the
container that is meant takes them over. They go when that one is removed.
"""

import io
import tarfile
from collections.abc import Iterable

from interlock.adapters.containers.connection import Data

_ENTRY = ["/interlock-never-started"]


def holder_name(name: str) -> str:
    """The container that only holds the volumes of the one called ``name``."""
    return f"{name}.folders"


def holder_configuration(image: str, folders: Iterable[str], labels: dict[str, str]) -> Data:
    return {"Image": image, "Entrypoint": _ENTRY, "Volumes": {folder: {} for folder in folders}, "Labels": labels}


def owner(user: str) -> tuple[int, int] | None:
    """The numbers of a user; None where it is a name, which means something inside the image alone."""
    uid, _, gid = user.partition(":")
    if not uid.isdigit():
        return None
    return int(uid), int(gid) if gid.isdigit() else int(uid)


def folders_archive(folders: Iterable[str], uid: int, gid: int) -> bytes:
    """An archive of the empty folders with their owner, to be unpacked at the root."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for folder in folders:
            entry = tarfile.TarInfo(folder.strip("/") + "/")
            entry.type, entry.mode, entry.uid, entry.gid = tarfile.DIRTYPE, 0o755, uid, gid
            archive.addfile(entry)
    return buffer.getvalue()
