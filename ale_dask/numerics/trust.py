"""Folders in which only this user and root can replace a file: compiled code is run from no other folder."""

from __future__ import annotations

import os
import stat
from pathlib import Path


def _of_this_user_alone(group: int) -> bool:
    """Return whether a group is this user's own: it has their name and no other member."""
    try:
        import grp
        import pwd

        mine, entry = pwd.getpwuid(os.getuid()), grp.getgrgid(group)
    except (ImportError, KeyError):
        return False
    return mine.pw_gid == group and entry.gr_name == mine.pw_name and set(entry.gr_mem) <= {mine.pw_name}


def _safe(folder: os.stat_result, *, last: bool) -> bool:
    """Return whether nobody else can write to a folder; the `last` of a path must belong to this user."""
    mine = folder.st_uid == os.getuid()
    if not mine and (last or folder.st_uid != 0):
        return False
    if not folder.st_mode & stat.S_IWOTH and (not folder.st_mode & stat.S_IWGRP or _of_this_user_alone(folder.st_gid)):
        return True
    # In a shared folder with the sticky bit, such as /tmp, nobody can rename a folder of another user.
    return not last and bool(folder.st_mode & stat.S_ISVTX) and folder.st_uid == 0


def private(folder: Path) -> bool:
    """Return whether a folder is this user's, and no other user can put anything in its place.

    It and all folders above it, symbolic links followed, must belong to this user or to root, and be writable by nobody
    else. A shared folder of root with the sticky bit may be above it.
    """
    try:
        resolved = folder.resolve(strict=True)
        # A link may lie in a folder where somebody else can replace it.
        above = {p for link in (folder.absolute(), resolved) for p in link.parents}
        return _safe(resolved.stat(), last=True) and all(_safe(p.stat(), last=False) for p in above)
    except OSError:
        return False
