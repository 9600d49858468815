"""What users name: folders that can be made, and files that can be read to an end."""

from __future__ import annotations

import errno
import os
import stat
from typing import TYPE_CHECKING

from replication.util.errors import UserError

if TYPE_CHECKING:
    from pathlib import Path


def folder_at(path: Path) -> Path:
    """Return the absolute path of a folder that is there or can be made.

    Raises:
        UserError: if something else is there or on the way there, or if no folder can have the name.
    """
    try:
        found = path.resolve()
        nearest = next(mode for mode in map(_mode, (found, *found.parents)) if mode)
    except (OSError, RuntimeError) as error:  # the latter for links that lead to themselves
        raise UserError(f"{path} can be no folder ({getattr(error, 'strerror', error)}): give another") from None
    if not stat.S_ISDIR(nearest):
        raise UserError(f"{path} can be no folder ({os.strerror(errno.ENOTDIR)}): give another")
    return found


def is_regular(path: Path) -> bool:
    """Return whether there is a file with an end: pipes and devices may give bytes for ever, or none and wait."""
    try:
        return stat.S_ISREG(_mode(path))
    except OSError:
        return False


def _mode(path: Path) -> int:
    """Return the mode of what is there; 0 for nothing."""
    try:
        return path.stat().st_mode
    except FileNotFoundError:
        return 0
