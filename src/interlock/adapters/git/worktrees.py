"""The folders of work trees, and git's records of them in the mirror (gitrepository-layout(5), ``worktrees/<id>``)."""

import os
import shutil
from pathlib import Path

from interlock.core.errors import Conflict


def record_of(work_tree: Path) -> Path:
    """Git's record of a work tree that was just made: the folder that its file ``.git`` names."""
    return Path(work_tree.joinpath(".git").read_text(encoding="utf-8").removeprefix("gitdir: ").rstrip("\n"))


def publish(work_tree: Path, record: Path, target: Path) -> None:
    """Give a whole work tree its final name, in one step. Raises Conflict ``folder_exists``."""
    record.joinpath("gitdir").write_text(f"{target}/.git\n", encoding="utf-8")
    try:
        work_tree.rename(target)
    except (FileExistsError, NotADirectoryError, OSError) as error:
        if not os.path.lexists(target):
            raise
        raise folder_exists(target) from error


def folder_exists(target: Path) -> Conflict:
    """The refusal to make a work tree where something is already."""
    return Conflict("folder_exists", f"{target} exists already", where=str(target), hint="remove the checkout first")


def remove_folder(folder: Path) -> None:
    """Remove a folder with everything in it, also what a build has made read-only. Links are removed, not followed."""
    if folder.is_symlink() or folder.is_file():
        folder.unlink()
    elif folder.exists():
        try:
            shutil.rmtree(folder)
        except PermissionError:
            for parent, _, _ in os.walk(folder):
                os.chmod(parent, 0o700)
            shutil.rmtree(folder)


def forget(mirror: Path, *work_trees: Path) -> None:
    """Remove git's records of work trees that are gone."""
    gone = {f"{work_tree}/.git" for work_tree in work_trees if not os.path.lexists(work_tree)}
    for record in mirror.glob("worktrees/*/gitdir"):
        if record.read_text(encoding="utf-8", errors="replace").rstrip("\n") in gone:
            shutil.rmtree(record.parent, ignore_errors=True)
