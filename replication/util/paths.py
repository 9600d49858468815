"""Checks of the paths that users give."""

from __future__ import annotations

import errno
import os
import stat
from typing import TYPE_CHECKING

from replication.util.errors import UserError
from replication.util.text import printable

if TYPE_CHECKING:
    from pathlib import Path


def folder_at(path: Path) -> Path:
    """Return the absolute path of a folder that exists or can be created.

    Raises:
        UserError: If the path, or a part of it, is not a folder, or if the name is not valid.
    """
    try:
        found = path.resolve()
        str(found).encode()  # SQLite and the pages take paths in UTF-8 only
        nearest = next(mode for mode in map(_mode, (found, *found.parents)) if mode)
    except (OSError, RuntimeError) as error:  # RuntimeError for links that form a loop
        raise UserError(f"{path} cannot be a folder ({getattr(error, 'strerror', error)}): give another path") from None
    except UnicodeEncodeError:
        raise UserError(
            f"{printable(str(path))} is not a name in UTF-8: rename the folder, or give another path"
        ) from None
    if not stat.S_ISDIR(nearest):
        raise UserError(f"{path} cannot be a folder ({os.strerror(errno.ENOTDIR)}): give another path")
    return found


def is_regular(path: Path) -> bool:
    """Return whether a path is a regular file. Reading from a pipe or a device may never end."""
    try:
        return stat.S_ISREG(_mode(path))
    except OSError:
        return False


def _mode(path: Path) -> int:
    """Return the mode of the file at a path; 0 if it does not exist."""
    try:
        return path.stat().st_mode
    except FileNotFoundError:
        return 0
