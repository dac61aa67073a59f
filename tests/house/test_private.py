"""Compiled kernels are run: nobody else may be able to put others in their place."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from ale_dask.numerics.trust import private

OTHER, VICTIM = 12345, 12346
as_root = pytest.mark.skipif(os.getuid() != 0, reason="only root can act as two other users")
AS_VICTIM = f"""
import os, sys, tempfile
import ale_dask.numerics as n
# Python itself may be root's alone: all is imported before this process becomes the other user's.
os.setgroups([]); os.setgid({VICTIM}); os.setuid({VICTIM})
os.environ.update(HOME=sys.argv[1], TMPDIR=sys.argv[2])
for name in ("NUMBA_CACHE_DIR", "XDG_CACHE_HOME"):
    os.environ.pop(name, None)
tempfile.tempdir = None
print(*n._cache_directory())
"""


def folder(path: Path, mode: int, *, owner: int | None = None) -> Path:
    path.mkdir(parents=True)
    path.chmod(mode)
    if owner is not None:
        os.chown(path, owner, owner)
    return path


@pytest.fixture
def shared() -> Iterator[Path]:
    """Return a folder like /tmp: everybody may write, and only the owner of a file may rename it."""
    path = Path(tempfile.mkdtemp(prefix="shared-", dir="/tmp"))
    path.chmod(0o1777)
    yield path
    shutil.rmtree(path)


def test_a_folder_of_this_user_alone(tmp_path: Path) -> None:
    assert private(folder(tmp_path / "mine", 0o700))
    assert not private(tmp_path / "not there")
    assert not private(folder(tmp_path / "open", 0o777))
    assert not private(folder(tmp_path / "open" / "mine", 0o700))
    assert not private(folder(tmp_path / "sticky" / "x", 0o1777))
    (tmp_path / "link").symlink_to(tmp_path / "open" / "mine")
    assert not private(tmp_path / "link")


@as_root
def test_a_group_of_others_may_not_write(tmp_path: Path) -> None:
    mine = folder(tmp_path / "group", 0o770)
    os.chown(mine, 0, OTHER)
    assert not private(mine)
    # That of root's own name, which nobody else is in.
    os.chown(mine, 0, 0)
    assert private(mine)


def seen_by_the_victim(shared: Path, *, home: Path) -> tuple[Path, bool]:
    """Return where another real user keeps compiled kernels, and whether they stay."""
    done = subprocess.run([sys.executable, "-B", "-c", AS_VICTIM, home, shared], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    where, kept = done.stdout.split()
    return Path(where), kept == "True"


@as_root
def test_a_folder_that_another_user_made_first_is_not_used(shared: Path) -> None:
    home = folder(shared / "home", 0o555, owner=OTHER)
    theirs = folder(shared / f"ale_dask-{VICTIM}", 0o777, owner=OTHER)
    where, kept = seen_by_the_victim(shared, home=home)
    assert not kept
    assert theirs not in where.parents
    # It is gone with the process that it was made for.
    assert not where.exists()


@as_root
def test_the_predictable_name_is_used_where_it_is_our_own(shared: Path) -> None:
    home = folder(shared / "home", 0o555, owner=OTHER)
    where, kept = seen_by_the_victim(shared, home=home)
    assert kept
    assert where.parent == shared / f"ale_dask-{VICTIM}"
    assert where.stat().st_uid == VICTIM


@as_root
def test_a_temporary_folder_of_another_user_is_not_used(shared: Path) -> None:
    home = folder(shared / "home", 0o555, owner=OTHER)
    theirs = folder(shared / "tmp", 0o1777, owner=OTHER)
    where, kept = seen_by_the_victim(theirs, home=home)
    assert not kept
    assert theirs not in where.parents
