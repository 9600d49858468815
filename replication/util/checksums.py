"""Write and check lists of checksums next to finished files, in the format of `sha256sum --check`.

Every file of a trial has a checksum in one of three places, by the way it is written:

- Files that do not change once a stage is done (weights, the log, samples, tables) are in the list of that stage.
- JSON files carry a checksum of their own (see `replication.util.files.write_json`), because some of them change while
  a trial runs, as trial.json and timing.json do, and others stand outside of trial folders.
- The checkpoint that training resumes from is replaced while a trial runs, so it carries its checksum in its metadata
  (see `replication.util.checkpoint`).

There is a list for each stage instead of one for the trial: a stage is done exactly when its list exists, which one
rename decides; a lost or damaged list costs one stage; and the files of a trial in the order of its stages, as a bundle
brings them, are at every moment a trial that is less advanced.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from replication.util.errors import UserError
from replication.util.files import atomic, sha256

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

SUFFIX = ".sha256"
COMMENT = "# "  # starts a line that `sha256sum` ignores


def write_checksums(path: Path, files: Iterable[Path]) -> None:
    """Write the checksums of files in or below the folder of `path` atomically, in the format of `sha256sum`."""
    text = "".join(f"{sha256(file)}  {file.relative_to(path.parent).as_posix()}\n" for file in files)
    with atomic(path) as draft:
        draft.write_text(f"{text}{_end(text)}", encoding="utf-8")


def _end(text: str) -> str:
    """Return the last line of a list: a checksum of the lines before it, which shows whether the list is complete."""
    return f"{COMMENT}{hashlib.sha256(text.encode()).hexdigest()}\n"


def missing(path: Path) -> list[str]:
    """Compare files with a list of `write_checksums`; return the names of missing files.

    Raises:
        UserError: If a file has changed, or if the list itself is damaged.
    """
    absent = []
    for name, checksum in _listed(path).items():
        file = path.parent / name
        if not file.is_file():
            absent.append(name)
        elif sha256(file) != checksum:
            raise UserError(
                f"{file} does not match its checksum in {path.name}: it was damaged or changed; delete it to create"
                " it again"
            )
    return absent


def check_all(folder: Path) -> None:
    """Compare the files in a folder with the lists there. Missing files are allowed.

    Raises:
        UserError: If a file has changed, or if a list is damaged.
    """
    for path in _lists(folder):
        missing(path)


def absent_files(folder: Path) -> list[str]:
    """Return the names of the files that the lists in a folder name and that are missing; read nothing but the lists.

    Raises:
        UserError: If a list is damaged.
    """
    return [name for path in _lists(folder) for name in _listed(path) if not (folder / name).is_file()]


def _lists(folder: Path) -> list[Path]:
    return sorted(folder.glob(f"*{SUFFIX}"))


def _listed(path: Path) -> dict[str, str]:
    """Return the checksums in a list by the names of the files."""
    text, mark, end = path.read_text(encoding="utf-8", errors="replace").rpartition(COMMENT)
    if mark + end != _end(text):
        raise UserError(f"{path} is damaged; delete it to create the files that it lists again")
    lines = (line.partition("  ") for line in text.splitlines())
    return {name: checksum for checksum, _, name in lines}
