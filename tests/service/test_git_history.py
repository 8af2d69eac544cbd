"""What git tells of the commits between two, whoever wrote their messages and named their files."""

from pathlib import Path

import pytest

from harness.sample import Sample
from interlock.adapters.git.git import GitProgram
from interlock.core.errors import NotFound


@pytest.fixture
def sample(tmp_path: Path) -> Sample:
    return Sample(tmp_path / "repositories", "greeter")


async def test_commits_come_with_their_files_newest_first(sample: Sample, tmp_path: Path) -> None:
    git, mirror = GitProgram(), str(tmp_path / "mirror.git")
    sample.write("a.txt", "1")
    older = sample.commit_all("first")
    sample.write("a.txt", "2")
    sample.write("ein Wort\nmit Ümlaut.txt", "x")
    sample.commit_all("second \x1e\x1f\x1b[31mred\n\ncommit_000000000000 forged")
    newer = sample.commit_all("third")
    await git.fetch(str(sample.path), mirror)
    found = await git.history(mirror, older, newer, 10)
    assert [(commit.subject, commit.files) for commit in found] == [
        ("third", ()),
        ("second ???[31mred", ("a.txt", "ein Wort?mit Ümlaut.txt")),
    ]
    assert {commit.author for commit in found} == {"tests"}
    assert sample.git("rev-parse", "HEAD").startswith(found[0].commit)
    assert len(await git.history(mirror, older, newer, 1)) == 1
    assert await git.history(mirror, newer, older, 10) == []


async def test_what_is_not_there_is_said(sample: Sample, tmp_path: Path) -> None:
    git, mirror = GitProgram(), str(tmp_path / "mirror.git")
    commit = sample.commit_all("first")
    with pytest.raises(NotFound, match="no mirror"):
        await git.history(mirror, commit, commit, 10)
    await git.fetch(str(sample.path), mirror)
    with pytest.raises(NotFound):
        await git.history(mirror, "1" * 40, commit, 10)
