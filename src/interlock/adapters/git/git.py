"""Git repositories by the ``git`` program: a bare mirror each, and detached work trees made from it."""

import asyncio
import contextlib
import os
import re
from collections.abc import Iterator
from glob import escape
from pathlib import Path, PurePosixPath

from interlock.adapters.git.locks import clear_leftovers, exclusive
from interlock.adapters.git.program import Outcome, run
from interlock.adapters.git.urls import check_url
from interlock.adapters.git.worktrees import folder_exists, forget, publish, record_of, remove_folder
from interlock.core.errors import Invalid, LimitReached, NotFound, Unavailable
from interlock.core.ids import new_id
from interlock.sources.ports import Commit, Ref, RefKind

OUTPUT_LIMIT_BYTES = 64 * 1024 * 1024
WORK_TREE_RETRIES = 10
WORK_TREE_PAUSE_S = 0.05

_COMMIT = re.compile(r"[0-9a-f]{40}")
_SHORT_COMMIT = re.compile(r"[0-9a-f]{7,40}")
# git-check-ref-format(1), as far as a single name can break the rules.
_NOT_IN_A_NAME = re.compile(r"[\x00-\x20\x7f~^:?*\[\\]|\.\.|@\{|//|^/|/$|\.$|\.lock(/|$)|(^|/)\.")
_NO_SUCH_COMMIT = ("not a tree object", "bad object", "invalid reference", "Invalid revision range", "Not a valid object name")
_FILE_MODES = frozenset({"100644", "100755"})
_REFSPECS = ("+refs/heads/*:refs/heads/*", "+refs/tags/*:refs/tags/*")


class GitProgram:
    """The `Git` port by the ``git`` program (2.32 or newer).

    Nothing of the machine's or the account's git configuration applies, no hook runs, nobody is asked for a password. A
    process of it that was killed in the middle leaves nothing that a later call takes for whole.
    """

    def __init__(self, program: str = "git", *, timeout_s: float = 60.0, fetch_timeout_s: float = 600.0) -> None:
        self._program = program
        self._timeout_s = timeout_s
        self._fetch_timeout_s = fetch_timeout_s

    async def fetch(self, url: str, mirror: str) -> None:
        url = check_url(url)
        folder = Path(mirror).absolute()
        folder.parent.mkdir(parents=True, exist_ok=True)
        async with exclusive(folder.with_name(f"{folder.name}.lock"), self._fetch_timeout_s) as lock:
            if (folder / "HEAD").exists():
                clear_leftovers(folder)
                await self._fetch_into(url, folder, lock)
                return
            for leftover in folder.parent.glob(f"{escape(folder.name)}.making_*"):
                await asyncio.to_thread(remove_folder, leftover)
            making = folder.with_name(new_id(f"{folder.name}.making"))
            try:
                await self._run(["init", "--bare", "--quiet", "--template=", "--", str(making)])
                await self._fetch_into(url, making, lock)
                making.rename(folder)
            finally:
                await asyncio.to_thread(remove_folder, making)

    async def resolve(self, mirror: str, name: str) -> Ref | None:
        if not name or _NOT_IN_A_NAME.search(name):
            return None
        found = await self._refs_of(mirror, [("tag", name), ("branch", name)])
        if not found and _SHORT_COMMIT.fullmatch(name):
            found = await self._refs_of(mirror, [("commit", name)])
        return found[0] if found else None

    async def refs(self, mirror: str) -> list[Ref]:
        outcome = await self._in_mirror(mirror, ["for-each-ref", "--format=%(refname)", "refs/heads", "refs/tags"])
        return await self._refs_of(mirror, [_named(name) for name in _lines(outcome.output)])

    async def files(self, mirror: str, commit: str) -> list[str]:
        outcome = await self._in_mirror(mirror, ["ls-tree", "-r", "-z", "--full-tree", _checked(commit)])
        return [path for mode, _, path in _entries(outcome.output) if mode in _FILE_MODES]

    async def read(self, mirror: str, commit: str, path: str, limit_bytes: int) -> bytes | None:
        if not path or "\x00" in path or not _is_plain(path):
            return None
        outcome = await self._in_mirror(mirror, ["ls-tree", "-z", "-l", "--full-tree", _checked(commit), "--", path])
        for mode, attributes, found in _entries(outcome.output):
            if found == path and mode in _FILE_MODES:
                _, identity, size = attributes
                if int(size) > limit_bytes:
                    message = f"{path} has {size} bytes, more than {limit_bytes}"
                    raise LimitReached("file_too_large", message, where=path)
                content = await self._in_mirror(mirror, ["cat-file", "blob", identity], limit_bytes=limit_bytes)
                return content.output
        return None

    async def log(self, mirror: str, older: str, newer: str, limit: int) -> list[str]:
        span = f"{_checked(older)}..{_checked(newer)}"
        outcome = await self._in_mirror(
            mirror, ["log", f"--max-count={int(limit)}", "--format=%h %s", "--end-of-options", span, "--"]
        )
        lines = outcome.output.decode(errors="replace").split("\n")
        return [_printable(line) for line in lines if line]

    async def history(self, mirror: str, older: str, newer: str, limit: int) -> list[Commit]:
        span = f"{_checked(older)}..{_checked(newer)}"
        # Drawn anew each time, so that no commit's message can look like another commit.
        mark = new_id("commit")
        form = f"--format={mark}%h{mark}%an{mark}%s{mark}"
        outcome = await self._in_mirror(
            mirror, ["log", f"--max-count={int(limit)}", "--name-only", "-z", form, "--end-of-options", span, "--"]
        )
        parts = outcome.output.decode(errors="replace").split(mark)[1:]
        found: list[Commit] = []
        for commit, author, subject, rest in zip(parts[0::4], parts[1::4], parts[2::4], parts[3::4], strict=True):
            files = tuple(_printable(name.strip("\n")) for name in rest.split("\x00") if name.strip("\n"))
            found.append(Commit(commit=commit, subject=_printable(subject), author=_printable(author), files=files))
        return found

    async def checkout(self, mirror: str, commit: str, folder: str) -> None:
        target = Path(folder).absolute()
        if os.path.lexists(target):
            raise folder_exists(target)
        target.parent.mkdir(parents=True, exist_ok=True)
        # The folder gets its name last: what has the name is whole.
        making = target.with_name(new_id(f".{target.name}.making"))
        record: Path | None = None
        try:
            arguments = ["worktree", "add", "--quiet", "--detach", "--", str(making), _checked(commit)]
            await self._in_mirror(mirror, arguments, timeout_s=self._fetch_timeout_s)
            record = record_of(making)
            publish(making, record, target)
        except BaseException:
            await asyncio.to_thread(remove_folder, making)
            if record is not None:
                await asyncio.to_thread(remove_folder, record)
            forget(Path(mirror).absolute(), making)
            raise

    async def remove_checkout(self, mirror: str, folder: str) -> None:
        target = Path(folder).absolute()
        # Renamed first: a folder that is half removed must not look whole.
        with contextlib.suppress(FileNotFoundError):
            target.rename(target.with_name(new_id(f".{target.name}.removing")))
        leftovers = [path for kind in ("making", "removing") for path in target.parent.glob(f".{escape(target.name)}.{kind}_*")]
        for leftover in leftovers:
            await asyncio.to_thread(remove_folder, leftover)
        forget(Path(mirror).absolute(), target, *leftovers)

    async def _fetch_into(self, url: str, folder: Path, lock: int) -> None:
        outcome = await self._fetched(url, folder, lock)
        for _ in range(WORK_TREE_RETRIES):
            # A work tree that is being made at this moment has a HEAD that leads nowhere yet, and git's own check fails on it.
            if not outcome.exit_code or "bad object worktrees/" not in outcome.message:
                break
            await asyncio.sleep(WORK_TREE_PAUSE_S)
            outcome = await self._fetched(url, folder, lock)
        if outcome.exit_code:
            _check_room(outcome, str(folder))
            hint = "check the address, that it can be reached from here, and that its key is known to this account"
            raise Unavailable("repository_unreachable", outcome.message or "git could not fetch it", where=url, hint=hint)

    async def _fetched(self, url: str, folder: Path, lock: int) -> Outcome:
        options = ["--prune", "--force", "--no-tags", "--no-write-fetch-head", "--update-shallow", "--quiet"]
        return await run(
            self._program,
            [f"--git-dir={folder}", "fetch", *options, "--", url, *_REFSPECS],
            timeout_s=self._fetch_timeout_s,
            limit_bytes=OUTPUT_LIMIT_BYTES,
            # Should this process die, git keeps the lock until it has ended too.
            keep_open=(lock,),
        )

    async def _refs_of(self, mirror: str, wanted: list[tuple[RefKind, str]]) -> list[Ref]:
        """Those of ``wanted`` that lead to a commit, in the same order."""
        prefixes = {"tag": "refs/tags/", "branch": "refs/heads/", "commit": ""}
        names = [f"{prefixes[kind]}{name}^{{{what}}}" for kind, name in wanted for what in ("commit", "tree")]
        given = "".join(f"{name}\n" for name in names).encode(errors="surrogateescape")
        outcome = await self._in_mirror(mirror, ["cat-file", "--batch-check=%(objectname) %(objecttype)"], given=given)
        answers = [line.split(" ") for line in _lines(outcome.output)]
        return [
            Ref(kind=kind, name=commit[0] if kind == "commit" else name, commit=commit[0], tree=tree[0])
            for (kind, name), commit, tree in zip(wanted, answers[0::2], answers[1::2], strict=True)
            if commit[-1] == "commit" and tree[-1] == "tree"
        ]

    async def _in_mirror(
        self,
        mirror: str,
        arguments: list[str],
        *,
        given: bytes = b"",
        timeout_s: float | None = None,
        limit_bytes: int = OUTPUT_LIMIT_BYTES,
    ) -> Outcome:
        folder = Path(mirror).absolute()
        if not (folder / "HEAD").exists():
            raise NotFound("no_mirror", f"there is no mirror in {mirror}", where=mirror, hint="fetch the repository first")
        return await self._run([f"--git-dir={folder}", *arguments], given=given, timeout_s=timeout_s, limit_bytes=limit_bytes)

    async def _run(
        self,
        arguments: list[str],
        *,
        given: bytes = b"",
        timeout_s: float | None = None,
        limit_bytes: int = OUTPUT_LIMIT_BYTES,
    ) -> Outcome:
        limit_s = timeout_s or self._timeout_s
        outcome = await run(self._program, arguments, given=given, timeout_s=limit_s, limit_bytes=limit_bytes)
        if outcome.exit_code == 0:
            return outcome
        if any(words in outcome.message for words in _NO_SUCH_COMMIT):
            raise NotFound("unknown_commit", outcome.message, hint="fetch the repository")
        _check_room(outcome)
        raise Unavailable("git_failed", outcome.message or f"git ended with {outcome.exit_code}")


def _check_room(outcome: Outcome, where: str = "") -> None:
    if "No space left on device" in outcome.message:
        hint = "free disk space or mend the disk, then ask for it again"
        raise Unavailable("storage", outcome.message, where=where, hint=hint)


def _printable(text: str) -> str:
    return "".join(letter if letter.isprintable() else "?" for letter in text)


def _checked(commit: str) -> str:
    if not _COMMIT.fullmatch(commit):
        raise Invalid("commit_id", f"{commit[:80]!r} is no commit's full id", hint="resolve the name first")
    return commit


def _named(name: str) -> tuple[RefKind, str]:
    if name.startswith("refs/tags/"):
        return "tag", name.removeprefix("refs/tags/")
    return "branch", name.removeprefix("refs/heads/")


def _entries(listing: bytes) -> Iterator[tuple[str, list[str], str]]:
    """Mode, further attributes and path of each entry that ``git ls-tree -z`` lists."""
    for entry in _text(listing).split("\x00"):
        if entry:
            attributes, _, path = entry.partition("\t")
            mode, *others = attributes.split()
            yield mode, others, path


def _is_plain(path: str) -> bool:
    """Whether ``path`` is written as git stores it."""
    return not path.startswith("/") and ".." not in path.split("/") and str(PurePosixPath(path)) == path


def _lines(output: bytes) -> list[str]:
    return [line for line in _text(output).split("\n") if line]


def _text(output: bytes) -> str:
    """Names of files and refs need not be valid Unicode; what is not survives the way back."""
    return output.decode(errors="surrogateescape")
