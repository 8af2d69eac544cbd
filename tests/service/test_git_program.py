"""The git adapter on real repositories: names, content, work trees, and what is left when git dies in the middle."""

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import interlock.adapters.git.program
from interlock.adapters.git.git import GitProgram
from interlock.core.errors import Conflict, Invalid, LimitReached, NotFound, Unavailable

_IDENTITY = ["-c", "user.name=Author", "-c", "user.email=author@example.org", "-c", "commit.gpgsign=false"]


def git(folder: Path, *arguments: str) -> str:
    """Run git as somebody would at a keyboard."""
    environment = {
        "PATH": os.environ["PATH"],
        "GIT_CONFIG_GLOBAL": "/dev/null",
        "GIT_CONFIG_NOSYSTEM": "1",
        "HOME": str(folder),
    }
    done = subprocess.run(
        ["git", *_IDENTITY, *arguments], cwd=folder, env=environment, check=True, capture_output=True, text=True
    )
    return done.stdout.strip()


def commit(folder: Path, files: dict[str, str], message: str = "change") -> str:
    """Write files, commit them, and return the commit's id."""
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="utf-8")
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--allow-empty", "-m", message)
    return git(folder, "rev-parse", "HEAD")


@pytest.fixture
def origin(tmp_path: Path) -> Path:
    folder = tmp_path / "origin"
    folder.mkdir()
    git(folder, "init", "--quiet", "-b", "main")
    commit(folder, {"app.py": "one\n"}, "first")
    git(folder, "tag", "v1.0.0")
    return folder


@pytest.fixture
def mirror(tmp_path: Path) -> str:
    return str(tmp_path / "mirrors" / "service.git")


@pytest.fixture
def program() -> GitProgram:
    return GitProgram(timeout_s=30, fetch_timeout_s=30)


async def test_tag_comes_before_branch_before_commit(program: GitProgram, origin: Path, mirror: str) -> None:
    first = git(origin, "rev-parse", "HEAD")
    second = commit(origin, {"app.py": "two\n"})
    git(origin, "branch", "release", first)
    git(origin, "tag", "-a", "release", "-m", "an annotated tag", second)
    await program.fetch(str(origin), mirror)
    tag = await program.resolve(mirror, "release")
    assert tag is not None
    assert (tag.kind, tag.commit) == ("tag", second)
    assert tag.tree == git(origin, "rev-parse", f"{second}^{{tree}}")
    branch = await program.resolve(mirror, "main")
    assert branch is not None
    assert (branch.kind, branch.commit) == ("branch", second)
    by_id = await program.resolve(mirror, first[:7])
    assert by_id is not None
    assert (by_id.kind, by_id.name, by_id.commit) == ("commit", first, first)
    assert {(ref.kind, ref.name) for ref in await program.refs(mirror)} == {
        ("tag", "release"), ("tag", "v1.0.0"), ("branch", "main"), ("branch", "release"),
    }  # fmt: skip


@pytest.mark.parametrize(
    "name",
    [
        "nothing",
        "",
        "HEAD",
        "-x --all",
        "--all",
        "main^",
        "main~1",
        "@{-1}",
        "../main",
        "a\nb",
        "v1.0.0^{}",
        "abc123",
        "main:app.py",
        ":/first",
    ],
)
async def test_what_is_no_name_stands_for_nothing(program: GitProgram, origin: Path, mirror: str, name: str) -> None:
    await program.fetch(str(origin), mirror)
    assert await program.resolve(mirror, name) is None


async def test_names_that_look_like_options(program: GitProgram, origin: Path, mirror: str) -> None:
    head = git(origin, "rev-parse", "HEAD")
    for name in ("refs/heads/-x", "refs/tags/--upload-pack=touch", "refs/heads/größe/★"):
        git(origin, "update-ref", name, head)
    await program.fetch(str(origin), mirror)
    for name in ("-x", "--upload-pack=touch", "größe/★"):
        ref = await program.resolve(mirror, name)
        assert ref is not None
        assert ref.commit == head
    assert len(await program.refs(mirror)) == 5


async def test_moved_tag_advanced_branch_and_deleted_names_are_followed(program: GitProgram, origin: Path, mirror: str) -> None:
    git(origin, "branch", "topic")
    await program.fetch(str(origin), mirror)
    old = await program.resolve(mirror, "v1.0.0")
    new = commit(origin, {"app.py": "two\n"})
    git(origin, "tag", "--force", "v1.0.0")
    git(origin, "branch", "--delete", "topic")
    git(origin, "branch", "topic/nested")
    await program.fetch(str(origin), mirror)
    moved = await program.resolve(mirror, "v1.0.0")
    assert old is not None
    assert moved is not None
    assert moved.commit == new != old.commit
    assert await program.resolve(mirror, "topic") is None
    assert await program.resolve(mirror, "topic/nested") is not None
    assert await program.resolve(mirror, old.commit) is not None


async def test_commit_that_no_name_leads_to_any_more_can_still_be_checked_out(
    program: GitProgram, origin: Path, mirror: str, tmp_path: Path
) -> None:
    pinned = commit(origin, {"app.py": "pinned\n"})
    await program.fetch(str(origin), mirror)
    git(origin, "reset", "--quiet", "--hard", "v1.0.0")
    await program.fetch(str(origin), mirror)
    subprocess.run(
        ["git", f"--git-dir={mirror}", "gc", "--quiet"], check=True, env=os.environ | {"GIT_CONFIG_GLOBAL": _configuration()}
    )
    await program.checkout(mirror, pinned, str(tmp_path / "tree"))
    assert (tmp_path / "tree" / "app.py").read_text() == "pinned\n"


async def test_files_and_their_content(program: GitProgram, origin: Path, mirror: str) -> None:
    (origin / "outside").symlink_to("/etc/passwd")
    (origin / "inside").symlink_to("app.py")
    (origin / "folder").mkdir()
    (origin / "linked").symlink_to("folder")
    head = commit(
        origin, {"größe ☂/a b.txt": "x", "folder/*.py": "star", "folder/b.py": "b", ":(top)x": "magic", "line\nbreak": "n"}
    )
    await program.fetch(str(origin), mirror)
    files = await program.files(mirror, head)
    assert set(files) == {"app.py", "größe ☂/a b.txt", "folder/*.py", "folder/b.py", ":(top)x", "line\nbreak"}
    assert {path: await program.read(mirror, head, path, 100) for path in files} == {
        "app.py": b"one\n",
        "größe ☂/a b.txt": b"x",
        "folder/*.py": b"star",
        "folder/b.py": b"b",
        ":(top)x": b"magic",
        "line\nbreak": b"n",
    }
    for absent in (
        "outside",
        "inside",
        "linked",
        "linked/b.py",
        "folder",
        "folder/",
        "no",
        "../app.py",
        "/app.py",
        "./app.py",
        "",
        "a\0b",
    ):
        assert await program.read(mirror, head, absent, 100) is None, absent


async def test_large_file_is_refused(program: GitProgram, origin: Path, mirror: str) -> None:
    head = commit(origin, {"big": "x" * 1001})
    await program.fetch(str(origin), mirror)
    with pytest.raises(LimitReached) as caught:
        await program.read(mirror, head, "big", 1000)
    assert caught.value.code == "file_too_large"
    assert len(await program.read(mirror, head, "big", 1001) or b"") == 1001


async def test_log_between_two_commits(program: GitProgram, origin: Path, mirror: str) -> None:
    older = git(origin, "rev-parse", "HEAD")
    commit(origin, {}, "second \x1b[31mred")
    newer = commit(origin, {}, "third")
    await program.fetch(str(origin), mirror)
    lines = await program.log(mirror, older, newer, 10)
    assert [line.split(" ", 1)[1] for line in lines] == ["third", "second ?[31mred"]
    assert len(await program.log(mirror, older, newer, 1)) == 1
    assert await program.log(mirror, newer, older, 10) == []


async def test_unknown_commit_is_not_found(program: GitProgram, origin: Path, mirror: str, tmp_path: Path) -> None:
    await program.fetch(str(origin), mirror)
    unknown = "1" * 40
    with pytest.raises(NotFound):
        await program.files(mirror, unknown)
    with pytest.raises(NotFound):
        await program.read(mirror, unknown, "app.py", 100)
    with pytest.raises(NotFound):
        await program.log(mirror, unknown, unknown[::-1].replace("1", "2"), 5)
    with pytest.raises(NotFound):
        await program.checkout(mirror, unknown, str(tmp_path / "tree"))
    assert [path.name for path in tmp_path.iterdir() if "tree" in path.name] == []
    with pytest.raises(Invalid):
        await program.files(mirror, "--help")
    with pytest.raises(NotFound):
        await program.refs(str(tmp_path / "nowhere"))


@pytest.mark.parametrize(
    "url",
    [
        "", "-x", "--upload-pack=touch /tmp/x", "ext::sh -c id", "fd::3", "relative/path", "ftp://example.org/x", "http:///x", "file://relative",
        "ssh://-oProxyCommand=id/x", "-oProxyCommand=id:x", "git@-host:x", "a\nb", "https://[", "javascript://x", "host:",
    ],
)  # fmt: skip
async def test_url_of_another_kind_is_refused(program: GitProgram, mirror: str, url: str) -> None:
    with pytest.raises(Invalid) as caught:
        await program.fetch(url, mirror)
    assert caught.value.code == "repository_url"
    assert not Path(mirror).exists()


@pytest.mark.parametrize("address", ["https://somebody:hunter2@", "https://hunter2@", "http://hunter2@", "ssh://git:hunter2@"])
async def test_a_secret_in_a_url_is_refused_and_not_repeated(program: GitProgram, mirror: str, address: str) -> None:
    with pytest.raises(Invalid) as caught:
        await program.fetch(f"{address}example.org/x", mirror)
    assert caught.value.code == "repository_url"
    assert "hunter2" not in str(caught.value.as_dict())
    assert "SSH key" in caught.value.hint


async def test_repository_that_is_gone(program: GitProgram, origin: Path, mirror: str, tmp_path: Path) -> None:
    with pytest.raises(Unavailable) as caught:
        await program.fetch(str(tmp_path / "gone"), mirror)
    assert caught.value.code == "repository_unreachable"
    assert "does not" in caught.value.message
    assert not Path(mirror).exists()
    await program.fetch(str(origin), mirror)
    origin.rename(tmp_path / "moved")
    with pytest.raises(Unavailable):
        await program.fetch(str(origin), mirror)
    assert await program.resolve(mirror, "main") is not None
    await program.fetch((tmp_path / "moved").as_uri(), mirror)
    assert sorted(path.name for path in Path(mirror).parent.iterdir()) == ["service.git", "service.git.lock"]


async def test_checkout_is_exact_and_detached(program: GitProgram, origin: Path, mirror: str, tmp_path: Path) -> None:
    (origin / "link").symlink_to("app.py")
    (origin / "run.sh").write_text("#!/bin/sh\n")
    (origin / "run.sh").chmod(0o755)
    head = commit(origin, {"größe/x": "x"})
    await program.fetch(str(origin), mirror)
    tree = tmp_path / "trees" / "one"
    await program.checkout(mirror, head, str(tree))
    assert git(tree, "rev-parse", "HEAD") == head
    assert git(tree, "status", "--porcelain") == ""
    assert (tree / "link").readlink() == Path("app.py")
    assert os.access(tree / "run.sh", os.X_OK)
    with pytest.raises(Conflict) as caught:
        await program.checkout(mirror, head, str(tree))
    assert caught.value.code == "folder_exists"
    (tree / "app.py").write_text("changed")
    (tree / "sub").mkdir()
    (tree / "sub" / "new").write_text("new")
    (tree / "sub").chmod(0o500)
    for _ in range(2):
        await program.remove_checkout(mirror, str(tree))
    assert list((tmp_path / "trees").iterdir()) == []
    assert git(Path(mirror), "worktree", "list").count("\n") == 0


async def test_removal_follows_no_link(program: GitProgram, origin: Path, mirror: str, tmp_path: Path) -> None:
    await program.fetch(str(origin), mirror)
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "file").write_text("keep")
    tree = tmp_path / "tree"
    await program.checkout(mirror, git(origin, "rev-parse", "HEAD"), str(tree))
    (tree / "away").symlink_to(precious)
    (tree / ".git").write_text(f"gitdir: {precious}\n")
    await program.remove_checkout(mirror, str(tree))
    tree.symlink_to(precious)
    await program.remove_checkout(mirror, str(tree))
    assert (precious / "file").read_text() == "keep"
    assert not tree.is_symlink()


async def test_many_checkouts_at_once(program: GitProgram, origin: Path, mirror: str, tmp_path: Path) -> None:
    first = git(origin, "rev-parse", "HEAD")
    second = commit(origin, {"app.py": "two\n"})
    await program.fetch(str(origin), mirror)
    trees = [tmp_path / side / "tree" for side in "abcd"]
    await asyncio.gather(*(program.checkout(mirror, [first, second][i % 2], str(tree)) for i, tree in enumerate(trees)))
    assert [(tree / "app.py").read_text() for tree in trees] == ["one\n", "two\n"] * 2
    same = await asyncio.gather(
        *(program.checkout(mirror, first, str(tmp_path / "one")) for _ in range(2)), return_exceptions=True
    )
    assert sorted(type(outcome).__name__ for outcome in same) == ["Conflict", "NoneType"]
    assert git(tmp_path / "one", "status", "--porcelain") == ""
    assert git(Path(mirror), "worktree", "list").count("\n") == 5
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


async def test_fetches_of_one_mirror_take_turns(program: GitProgram, origin: Path, mirror: str) -> None:
    await asyncio.gather(
        *(program.fetch(str(origin), mirror) for _ in range(3)), *(GitProgram().fetch(str(origin), mirror) for _ in range(2))
    )
    assert await program.resolve(mirror, "v1.0.0") is not None


async def test_a_fetch_stands_a_checkout_that_begins_meanwhile(
    program: GitProgram, origin: Path, mirror: str, tmp_path: Path
) -> None:
    head = git(origin, "rev-parse", "HEAD")
    await program.fetch(str(origin), mirror)
    tree = tmp_path / "tree"
    await program.checkout(mirror, head, str(tree))
    # As git leaves it for a moment while it makes a work tree.
    record = next(Path(mirror).glob("worktrees/*/HEAD"))
    whole = record.read_text()
    record.write_text(f"{'0' * 40}\n")
    commit(origin, {"app.py": "two\n"})

    async def finish() -> None:
        await asyncio.sleep(0.1)
        record.write_text(whole)

    await asyncio.gather(program.fetch(str(origin), mirror), finish())
    assert len(await program.log(mirror, head, git(origin, "rev-parse", "HEAD"), 5)) == 1


async def test_no_hook_runs_and_no_configuration_of_others_applies(
    program: GitProgram, origin: Path, mirror: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    marker = tmp_path / "ran"
    home = tmp_path / "home"
    (home / "hooks").mkdir(parents=True)
    for hook in ("post-checkout", "reference-transaction"):
        (home / "hooks" / hook).write_text(f"#!/bin/sh\ntouch {marker}\n")
        (home / "hooks" / hook).chmod(0o755)
    (home / ".gitconfig").write_text(f'[core]\n\thooksPath = {home}/hooks\n[filter "evil"]\n\tsmudge = touch {marker}\n')
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("GIT_DIR", str(home))
    monkeypatch.setenv("GIT_EXTERNAL_DIFF", f"touch {marker}")
    head = commit(origin, {".gitattributes": "* filter=evil\n", ".git-hooks/post-checkout": "#!/bin/sh\n"})
    await program.fetch(str(origin), mirror)
    await program.checkout(mirror, head, str(tmp_path / "tree"))
    assert not marker.exists()


async def test_repository_of_another_account_can_be_fetched(program: GitProgram, origin: Path, mirror: str) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can give a folder away")
    for path in [origin, *origin.rglob("*")]:
        os.chown(path, 12345, 12345)
    await program.fetch(str(origin), mirror)
    assert await program.resolve(mirror, "main") is not None


async def test_locks_left_by_a_killed_git_do_not_stop_the_next_fetch(program: GitProgram, origin: Path, mirror: str) -> None:
    await program.fetch(str(origin), mirror)
    for name in ("packed-refs.lock", "refs/heads/main.lock", "refs/tags/v1.0.0.lock", "config.lock", "shallow.lock"):
        (Path(mirror) / name).parent.mkdir(exist_ok=True, parents=True)
        (Path(mirror) / name).touch()
    new = commit(origin, {"app.py": "two\n"})
    git(origin, "tag", "--force", "v1.0.0")
    await program.fetch(str(origin), mirror)
    ref = await program.resolve(mirror, "v1.0.0")
    assert ref is not None
    assert ref.commit == new


def _configuration() -> str:
    return str(Path(interlock.adapters.git.program.__file__).with_name("gitconfig"))


def _stand_in(tmp_path: Path, moment: str) -> tuple[str, Path]:
    """A program that works as git does until its arguments hold ``moment``; then it says so and hangs, with a child."""
    pids = tmp_path / "pids"
    script = tmp_path / "git-that-hangs"
    script.write_text(
        f'#!/bin/sh\nfor word in "$@"; do\n  if [ "$word" = "{moment}" ]; then\n    git "$@"\n    sleep 600 &\n'
        f'    echo "$$ $!" > {pids}.new && mv {pids}.new {pids}\n    wait\n  fi\ndone\nexec git "$@"\n'
    )
    script.chmod(0o755)
    return str(script), pids


async def _appears(path: Path) -> list[int]:
    async with asyncio.timeout(20):
        while not path.exists():
            await asyncio.sleep(0.01)
    return [int(word) for word in path.read_text().split()]


def _is_gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] in ("Z", "X")
    except (FileNotFoundError, ProcessLookupError):
        return True


async def _all_gone(pids: list[int]) -> None:
    async with asyncio.timeout(10):
        while not all(_is_gone(pid) for pid in pids):
            await asyncio.sleep(0.01)


async def test_timeout_kills_every_process(origin: Path, mirror: str, tmp_path: Path) -> None:
    script, pids = _stand_in(tmp_path, "fetch")
    with pytest.raises(Unavailable) as caught:
        await GitProgram(script, timeout_s=20, fetch_timeout_s=1).fetch(str(origin), mirror)
    assert caught.value.code == "git_timeout"
    await _all_gone(await _appears(pids))
    assert not Path(mirror).exists()
    assert [path.name for path in Path(mirror).parent.iterdir()] == ["service.git.lock"]


async def test_cancelled_checkout_leaves_nothing(program: GitProgram, origin: Path, mirror: str, tmp_path: Path) -> None:
    await program.fetch(str(origin), mirror)
    script, pids = _stand_in(tmp_path, "worktree")
    tree = tmp_path / "trees" / "one"
    head = git(origin, "rev-parse", "HEAD")
    under_way = asyncio.create_task(GitProgram(script).checkout(mirror, head, str(tree)))
    running = await _appears(pids)
    under_way.cancel()
    with pytest.raises(asyncio.CancelledError):
        await under_way
    await _all_gone(running)
    assert list((tmp_path / "trees").iterdir()) == []
    await program.checkout(mirror, head, str(tree))
    assert git(Path(mirror), "worktree", "list").count("\n") == 1


@pytest.mark.parametrize("moment", ["fetch", "worktree"])
async def test_death_in_the_middle_leaves_nothing_that_looks_whole(
    program: GitProgram, origin: Path, mirror: str, tmp_path: Path, moment: str
) -> None:
    """The control plane itself is killed; the next one finds its way."""
    script, pids = _stand_in(tmp_path, moment)
    head = git(origin, "rev-parse", "HEAD")
    tree = tmp_path / "trees" / "one"
    code = (
        "import asyncio, sys\nfrom interlock.adapters.git.git import GitProgram\n"
        "script, origin, mirror, head, tree = sys.argv[1:]\n"
        "async def main():\n    git = GitProgram(script)\n    await git.fetch(origin, mirror)\n"
        "    await git.checkout(mirror, head, tree)\n"
        "asyncio.run(main())\n"
    )
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", code, script, str(origin), mirror, head, str(tree))
    shell, sleeper = await _appears(pids)
    process.kill()
    await process.wait()
    assert not tree.exists()
    if moment == "fetch":
        with pytest.raises(Unavailable):
            await GitProgram(fetch_timeout_s=0.2).fetch(str(origin), mirror)
    os.killpg(shell, signal.SIGKILL)
    await _all_gone([shell, sleeper])
    await program.fetch(str(origin), mirror)
    await program.checkout(mirror, head, str(tree))
    assert git(tree, "status", "--porcelain") == ""
    assert [path.name for path in Path(mirror).parent.glob("*making*")] == []
    await program.remove_checkout(mirror, str(tree))
    assert list((tmp_path / "trees").iterdir()) == []
    assert git(Path(mirror), "worktree", "list").count("\n") == 0


async def test_missing_program_is_said(mirror: str, tmp_path: Path) -> None:
    with pytest.raises(Unavailable) as caught:
        await GitProgram(str(tmp_path / "no-git")).fetch(str(tmp_path), mirror)
    assert caught.value.code == "git_missing"
