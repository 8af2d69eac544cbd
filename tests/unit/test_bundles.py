"""The files of a release, sealed: whatever is done to them is found out, and what comes beside them is not minded."""

import shutil

import pytest

from interlock.core.errors import Conflict
from interlock.delivery.bundles import check, seal


@pytest.fixture
def folder(tmp_path):
    found = tmp_path / "shop" / "v1.0"
    (found / "lib").mkdir(parents=True)
    (found / "shop.py").write_text("print('shop')\n")
    (found / "lib" / "tax.py").write_text("RATE = 0.2\n")
    (found / "run.sh").write_text("#!/bin/sh\n")
    (found / "run.sh").chmod(0o755)
    (found / "current").symlink_to("lib")
    return found


def replace_by_link(file):
    kept = file.with_name("kept")
    file.rename(kept)
    file.symlink_to(kept.name)


DAMAGES = {
    "a byte more": lambda folder: (folder / "shop.py").write_text("print('shop')\n\n"),
    "a byte else": lambda folder: (folder / "lib" / "tax.py").write_text("RATE = 0.3\n"),
    "empty": lambda folder: (folder / "shop.py").write_text(""),
    "gone": lambda folder: (folder / "lib" / "tax.py").unlink(),
    "a folder gone": lambda folder: shutil.rmtree(folder / "lib"),
    "not executable": lambda folder: (folder / "run.sh").chmod(0o644),
    "executable": lambda folder: (folder / "shop.py").chmod(0o755),
    "a link to its content": lambda folder: replace_by_link(folder / "shop.py"),
    "a folder in its place": lambda folder: ((folder / "shop.py").unlink(), (folder / "shop.py").mkdir()),
    "led elsewhere": lambda folder: ((folder / "current").unlink(), (folder / "current").symlink_to("/etc")),
}


def test_what_was_sealed_is_intact(folder):
    check(folder, seal(folder))


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_whatever_is_done_to_a_file_is_found_out(folder, damage):
    bundle = seal(folder)
    damage(folder)
    with pytest.raises(Conflict, match="is not what was built") as refusal:
        check(folder, bundle)
    assert refusal.value.code == "bundle_changed"
    assert seal(folder) != bundle


def test_what_a_service_writes_beside_its_files_does_not_matter(folder):
    bundle = seal(folder)
    (folder / "shop.log").write_text("started")
    (folder / "lib" / "__pycache__").mkdir()
    check(folder, bundle)


def test_what_git_and_python_leave_is_not_part_of_a_release(folder):
    bundle = seal(folder)
    (folder / ".git").write_text("gitdir: /mirrors/shop/worktrees/v1")
    (folder / "lib" / "__pycache__").mkdir()
    (folder / "lib" / "__pycache__" / "tax.pyc").write_bytes(b"\0")
    assert seal(folder) == bundle


def test_the_same_files_have_the_same_seal_wherever_they_are(folder, tmp_path):
    copy = tmp_path / "elsewhere"
    shutil.copytree(folder, copy, symlinks=True)
    assert seal(copy) == seal(folder)


def test_a_changed_list_does_not_hide_a_changed_file(folder):
    bundle = seal(folder)
    (folder / "shop.py").write_text("print('evil')\n")
    seal(folder)
    with pytest.raises(Conflict, match="list of the release's files was changed"):
        check(folder, bundle)


@pytest.mark.parametrize("what", ["files", "list"])
def test_a_release_whose_files_or_list_are_gone_is_missing(folder, what):
    bundle = seal(folder)
    if what == "files":
        shutil.rmtree(folder)
    else:
        folder.with_name("v1.0.manifest").unlink()
    with pytest.raises(Conflict) as refusal:
        check(folder, bundle)
    assert refusal.value.code == "bundle_missing"


def test_a_link_out_of_the_folder_is_not_followed(folder, tmp_path):
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "huge").write_text("before")
    (folder / "data").symlink_to(tmp_path / "outside")
    bundle = seal(folder)
    (tmp_path / "outside" / "huge").write_text("after")
    check(folder, bundle)
