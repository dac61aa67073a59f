"""Folders in which nobody but this user and root can swap a file: compiled code is run from such a one only."""

from __future__ import annotations

import os
import stat
from pathlib import Path


def _of_this_user_alone(group: int) -> bool:
    """Return whether a group is one that the system made for this user: it has their name and no other member."""
    try:
        import grp
        import pwd

        mine, entry = pwd.getpwuid(os.getuid()), grp.getgrgid(group)
    except (ImportError, KeyError):
        return False
    return mine.pw_gid == group and entry.gr_name == mine.pw_name and set(entry.gr_mem) <= {mine.pw_name}


def _safe(found: os.stat_result, *, last: bool) -> bool:
    mine = found.st_uid == os.getuid()
    if not mine and (last or found.st_uid != 0):
        return False
    if not found.st_mode & stat.S_IWOTH and (not found.st_mode & stat.S_IWGRP or _of_this_user_alone(found.st_gid)):
        return True
    # In a shared folder such as /tmp nobody renames what belongs to another; the next folder must belong to us.
    return not last and bool(found.st_mode & stat.S_ISVTX) and found.st_uid == 0


def private(folder: Path) -> bool:
    """Return whether a folder is this user's, and no other user can put anything in its place.

    It and all folders above it, symbolic links followed, must belong to this user or to root, and be writable by
    nobody else. A shared folder of root's with the sticky bit may be above it.
    """
    try:
        whole = folder.resolve(strict=True)
        # A link itself may lie where somebody else can point it elsewhere.
        above = {p for link in (folder.absolute(), whole) for p in link.parents}
        return _safe(whole.stat(), last=True) and all(_safe(p.stat(), last=False) for p in above)
    except OSError:
        return False
