"""What sources need from the outside: git."""

from typing import Literal, Protocol

import msgspec

RefKind = Literal["tag", "branch", "commit"]


class Ref(msgspec.Struct, frozen=True, kw_only=True):
    """A name in a repository and what it stands for now: ``commit`` (40 hex digits) and ``tree``, the id of its content."""

    kind: RefKind
    name: str
    commit: str
    tree: str


class Commit(msgspec.Struct, frozen=True, kw_only=True):
    """One commit: short id, subject on one line, author's name, and the files it touched (of a merge none)."""

    commit: str
    subject: str
    author: str
    files: tuple[str, ...] = ()


class Git(Protocol):
    """One bare mirror a repository, kept by the control plane; work trees are made from it."""

    async def fetch(self, url: str, mirror: str) -> None:
        """Bring ``mirror`` (a folder) up to date with ``url`` (a path or a URL), making it if need be; refs gone there go here.

        Raises Invalid ``repository_url`` for a URL of a kind that is not allowed, Unavailable ``repository_unreachable`` with
        git's own words.
        """
        ...

    async def resolve(self, mirror: str, name: str) -> Ref | None:
        """What ``name`` stands for: a tag before a branch before a commit (at least 7 hex digits); None where nothing."""
        ...

    async def refs(self, mirror: str) -> list[Ref]:
        """Every tag and branch."""
        ...

    async def files(self, mirror: str, commit: str) -> list[str]:
        """The paths of all files at ``commit``, as git stores them (links and submodules left out)."""
        ...

    async def read(self, mirror: str, commit: str, path: str, limit_bytes: int) -> bytes | None:
        """A file's content at ``commit``; None where there is no such file. Raises LimitReached ``file_too_large``."""
        ...

    async def log(self, mirror: str, older: str, newer: str, limit: int) -> list[str]:
        """One line per commit in ``older..newer`` (short id and subject), newest first."""
        ...

    async def history(self, mirror: str, older: str, newer: str, limit: int) -> list[Commit]:
        """The commits in ``older..newer`` with the files that each touched, newest first."""
        ...

    async def checkout(self, mirror: str, commit: str, folder: str) -> None:
        """A detached work tree of exactly ``commit`` in the new folder ``folder``. Raises Conflict ``folder_exists``."""
        ...

    async def remove_checkout(self, mirror: str, folder: str) -> None:
        """Take a work tree away, with everything in it. Idempotent."""
        ...
