"""Write and read the zip file of a bundle; reading treats it as hostile. See `etude.remote.bundle`."""

from __future__ import annotations

import errno
import json
import re
import zipfile
import zlib
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from replication.corpora.archives import LARGEST, MOST_BYTES, MOST_MEMBERS
from replication.midi.piece import Beats, Seconds
from replication.util.errors import UserError, error_text
from replication.util.files import atomic, read_json, write_json
from replication.util.paths import is_regular

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

    from replication.midi.piece import TimeGrid

PLAN = "plan.json"
# Required keys of plan.json and their types.
KEYS: dict[str, type] = {
    "scale": str,
    "seeds": int,
    "corpus": str,
    "grid": dict,
    "experiments": list,
    "windows": dict,
    "trials": dict,
}
STORED = {".safetensors", ".npz"}  # compression does not shrink them
METHODS = {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}
_WINDOWS = re.compile(r"windows-[0-9a-f]{32}")
# Errors of the system for names that no bundle has: a folder, a name below a file, a name that is too long.
_NAMES = {errno.EISDIR, errno.ENOTDIR, errno.EEXIST, errno.ENAMETOOLONG}
_DAMAGE = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError)  # RuntimeError: a password


def pack(path: Path, about: dict[str, Any], root: Path, files: Iterable[Path]) -> None:
    """Write a bundle of files below `root`."""
    with atomic(path) as draft, zipfile.ZipFile(draft, "w", strict_timestamps=False) as archive:
        archive.writestr(PLAN, json.dumps(about, indent=2))
        for file in files:
            method = zipfile.ZIP_STORED if file.suffix in STORED else zipfile.ZIP_DEFLATED
            archive.write(file, file.relative_to(root).as_posix(), method)


@contextmanager
def open_bundle(path: Path) -> Iterator[tuple[zipfile.ZipFile, dict[str, Any]]]:
    """Yield a bundle and its plan.json.

    Raises:
        UserError: On entry or while the block reads, if the file is not a bundle, is damaged, uses a compression that
            bundles do not use, or unpacks to more than `MOST_BYTES` or `MOST_MEMBERS`.
    """
    try:
        with _archive(path) as archive:
            _check_members(path, archive.infolist())
            if damaged := archive.testzip():
                raise UserError(f"{path} is damaged ({damaged} does not match its checksum): copy it again")
            about = json.loads(archive.read(PLAN))
            _check(about)
            yield archive, about
    except OSError as error:
        if error.errno not in _NAMES:
            raise
        raise UserError(
            f"{path} is not a bundle of trials ({error.strerror}): give a file written by `etude export`"
        ) from None
    except (LookupError, ValueError, TypeError, AttributeError, ArithmeticError) as error:
        raise UserError(
            f"{path} is not a bundle of trials ({error!r}): give a file written by `etude export`"
        ) from None
    except _DAMAGE as error:
        raise UserError(f"{path} is damaged ({error_text(error)}): copy it again") from None


def _archive(path: Path) -> zipfile.ZipFile:
    try:
        if (
            path.exists() and not path.is_dir() and not is_regular(path)
        ):  # reading a pipe or a device could block for ever
            raise UserError(f"{path} is not a regular file: give a file written by `etude export`")
        return zipfile.ZipFile(path)
    except OSError as error:
        raise UserError(f"{path} cannot be opened ({error.strerror}): give a file written by `etude export`") from None


def _check_members(path: Path, members: list[zipfile.ZipInfo]) -> None:
    if len(members) > MOST_MEMBERS or sum(member.file_size for member in members) > MOST_BYTES:
        most = f"{MOST_MEMBERS:,} files or {MOST_BYTES:,} bytes"
        raise UserError(f"{path} unpacks to more than {most}: give a file written by `etude export`")
    if any(member.compress_type not in METHODS for member in members):
        raise UserError(f"{path} uses a compression that bundles do not use: give a file written by `etude export`")
    # These members are read into memory whole.
    if any(member.file_size > LARGEST for member in members if member.filename.endswith((".json", ".jsonl"))):
        raise UserError(
            f"{path} has a JSON member of more than {LARGEST:,} bytes: give a file written by `etude export`"
        )


def _check(about: dict[str, Any]) -> None:
    """Raise an error that `open_bundle` translates if a plan.json lacks a key or names a path outside of the bundle."""
    for key, kind in KEYS.items():
        if not isinstance(about[key], kind):
            raise TypeError(f"{key} in {PLAN}")
    if "/" in about["corpus"] or about["corpus"] in {"", ".", ".."}:
        raise ValueError(f"corpus {about['corpus']!r}")
    if not all(map(_WINDOWS.fullmatch, about["windows"].values())):
        raise ValueError(f"windows {about['windows']}")
    if not all(isinstance(name, str) for name in about["experiments"]):
        raise TypeError(f"experiments {about['experiments']}")
    grid_of(about)


def unpack(path: Path, folder: Path) -> dict[str, Any]:
    """Unpack a bundle into a folder, unless it was unpacked there before; return its plan.json.

    Raises:
        UserError: As `open_bundle`, or if the folder holds another bundle.
    """
    with open_bundle(path) as (archive, about):
        done = folder / PLAN
        if done.exists():
            if read_json(done) != about:
                raise UserError(
                    f"{folder} holds the trials of another export: import these at home first, then delete the folder"
                )
            return about
        archive.extractall(
            folder, [name for name in archive.namelist() if name != PLAN]
        )  # extractall keeps every name inside the folder
        write_json(done, about)
        return about


def grid_of(about: Mapping[str, Any]) -> TimeGrid:
    """Return the time grid of the corpus of a bundle."""
    kinds = {kind.__name__: kind for kind in (Beats, Seconds)}
    values = dict(about["grid"])
    grid: TimeGrid = kinds[values.pop("type")](**values)
    return grid
