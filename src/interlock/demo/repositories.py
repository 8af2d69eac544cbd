"""The sample services as real git repositories: a commit and a tag for each version folder of the examples."""

import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

TIMEOUT_S = 60
_BESIDE = Path(__file__).with_name("examples")
_CHECKOUT = Path(__file__).parents[3] / "examples"


def examples_folder() -> Path:
    """Where the examples are: in an installed package beside this file, in a checkout at its root."""
    return _BESIDE if _BESIDE.is_dir() else _CHECKOUT


class SampleRepository:
    """A repository at ``path``. Raises subprocess.CalledProcessError or FileNotFoundError where there is no working git."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def create(self, service: str, versions: Sequence[str]) -> None:
        """Commit and tag the example's ``versions``, in this order."""
        self.path.mkdir(parents=True)
        self._git("init", "--quiet", "--initial-branch=main")
        for version in versions:
            self._replace_files(examples_folder() / service / version)
            self._git("add", "--all")
            self._git("commit", "--quiet", "-m", f"{service} {version}")
            self._git("tag", version)

    def tag_same_files(self, version: str, new_version: str) -> str:
        """Tag a new commit that holds exactly the files of ``version``; returns the commit."""
        commit = self._git("commit-tree", f"{version}^{{tree}}", "-p", "main", "-m", f"{new_version}, once more")
        self._git("tag", new_version, commit)
        return commit

    def _replace_files(self, source: Path) -> None:
        for entry in self.path.iterdir():
            if entry.name != ".git":
                shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
        # Without the times of the files: git takes a file of the same size and time for the one that it knows.
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(source, self.path, copy_function=shutil.copyfile, dirs_exist_ok=True, ignore=ignored)

    def _git(self, *arguments: str) -> str:
        identity = ("-c", "user.name=Interlock demo", "-c", "user.email=demo@example.invalid", "-c", "commit.gpgsign=false")
        environment = {"PATH": os.environ.get("PATH", os.defpath), "HOME": str(self.path), "GIT_CONFIG_NOSYSTEM": "1"}
        done = subprocess.run(  # noqa: S603
            ["git", *identity, *arguments],  # noqa: S607
            cwd=self.path,
            env=environment,
            capture_output=True,
            text=True,
            check=True,
            timeout=TIMEOUT_S,
        )
        return done.stdout.strip()
