"""Checksums of files, kept in lists beside them that `sha256sum --check` reads too."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from replication.util.errors import UserError
from replication.util.files import atomic, sha256

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

SUFFIX = ".sha256"
COMMENT = "# "  # begins a line that `sha256sum` passes over


def write_checksums(path: Path, files: Iterable[Path]) -> None:
    """Write the checksums of files beside or below `path`, in the form of `sha256sum`, atomically."""
    text = "".join(f"{sha256(file)}  {file.relative_to(path.parent).as_posix()}\n" for file in files)
    with atomic(path) as draft:
        draft.write_text(f"{text}{_end(text)}", encoding="utf-8")


def _end(text: str) -> str:
    """Return the last line of a list, by which it is seen whether it is whole."""
    return f"{COMMENT}{hashlib.sha256(text.encode()).hexdigest()}\n"


def missing(path: Path) -> list[str]:
    """Compare files with what `write_checksums` wrote; return the names of those that are not there.

    Raises:
        UserError: for one that is another now, or if the list itself is damaged.
    """
    text, mark, end = path.read_text(encoding="utf-8", errors="replace").rpartition(COMMENT)
    if mark + end != _end(text):
        raise UserError(f"{path} is damaged; delete it to have what it lists made again")
    absent = []
    for line in text.splitlines():
        checksum, _, name = line.partition("  ")
        file = path.parent / name
        if not file.is_file():
            absent.append(name)
        elif sha256(file) != checksum:
            raise UserError(
                f"{file} does not match its checksum in {path.name}: it was damaged or changed; delete it to make it"
                " again"
            )
    return absent


def is_whole(folder: Path) -> bool:
    """Return whether all files are there that the lists in a folder name.

    Raises:
        UserError: for one that is another now.
    """
    absent = [name for path in sorted(folder.glob(f"*{SUFFIX}")) for name in missing(path)]  # all are looked at
    return not absent
