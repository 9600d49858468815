"""The file of a bundle: written, and opened as if whoever wrote it meant harm; see `etude.remote.bundle`."""

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
from replication.util.errors import UserError
from replication.util.files import atomic, read_json, write_json
from replication.util.paths import is_regular

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

    from replication.midi.piece import TimeGrid

PLAN = "plan.json"
# What must be in plan.json.
KINDS: dict[str, type] = {
    "scale": str,
    "seeds": int,
    "corpus": str,
    "grid": dict,
    "experiments": list,
    "windows": dict,
    "trials": dict,
}
STORED = {".safetensors", ".npz"}  # which do not shrink
METHODS = {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}
_WINDOWS = re.compile(r"windows-[0-9a-f]{32}")
# What a system says of names that no bundle has: of a folder, below a file, too long.
_NAMES = {errno.EISDIR, errno.ENOTDIR, errno.EEXIST, errno.ENAMETOOLONG}
_DAMAGE = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError)  # the last: a password


def pack(path: Path, about: dict[str, Any], root: Path, files: Iterable[Path]) -> None:
    """Write a bundle of files below `root`."""
    with atomic(path) as draft, zipfile.ZipFile(draft, "w", strict_timestamps=False) as archive:
        archive.writestr(PLAN, json.dumps(about, indent=2))
        for file in files:
            method = zipfile.ZIP_STORED if file.suffix in STORED else zipfile.ZIP_DEFLATED
            archive.write(file, file.relative_to(root).as_posix(), method)


@contextmanager
def opened(path: Path) -> Iterator[tuple[zipfile.ZipFile, dict[str, Any]]]:
    """Yield a bundle and its plan.json.

    Raises:
        UserError: if it is none, is damaged, is compressed in other ways than bundles are or unpacks to more than
            `MOST_BYTES` or `MOST_MEMBERS`, now or when it is read in the block.
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
        raise UserError(f"{path} is no bundle of trials ({error.strerror}): give a file of `etude export`") from None
    except (LookupError, ValueError, TypeError, AttributeError, ArithmeticError) as error:
        raise UserError(f"{path} is no bundle of trials ({error!r}): give a file of `etude export`") from None
    except _DAMAGE as error:
        raise UserError(f"{path} cannot be read as a bundle ({error}): copy it again") from None


def _archive(path: Path) -> zipfile.ZipFile:
    try:
        if path.exists() and not path.is_dir() and not is_regular(path):  # of those one would wait for the end
            raise UserError(f"{path} is no file: give a file of `etude export`")
        return zipfile.ZipFile(path)
    except OSError as error:
        raise UserError(f"{path} cannot be opened ({error.strerror}): give a file of `etude export`") from None


def _check_members(path: Path, members: list[zipfile.ZipInfo]) -> None:
    if len(members) > MOST_MEMBERS or sum(member.file_size for member in members) > MOST_BYTES:
        most = f"{MOST_MEMBERS:,} files or {MOST_BYTES:,} bytes"
        raise UserError(f"{path} unpacks to more than {most}: give a file of `etude export`")
    if any(member.compress_type not in METHODS for member in members):
        raise UserError(f"{path} is compressed as no bundle is: give a file of `etude export`")
    # What is read at once.
    if any(member.file_size > LARGEST for member in members if member.filename.endswith((".json", ".jsonl"))):
        raise UserError(f"{path} has more to say than bundles have: give a file of `etude export`")


def _check(about: dict[str, Any]) -> None:
    """Raise what `opened` translates unless a plan.json has what it must, and nothing in it leads elsewhere."""
    for key, kind in KINDS.items():
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
    """Unpack a bundle into a folder, unless it is there already with what was done since; return its plan.json.

    Raises:
        UserError: as `opened`, or if the folder holds another bundle.
    """
    with opened(path) as (archive, about):
        done = folder / PLAN
        if done.exists():
            if read_json(done) != about:
                raise UserError(f"{folder} holds the trials of another export: bring them home, then delete it")
            return about
        archive.extractall(folder, [name for name in archive.namelist() if name != PLAN])  # no name leads out of it
        write_json(done, about)
        return about


def grid_of(about: Mapping[str, Any]) -> TimeGrid:
    """Return the grid of the corpus of a bundle."""
    kinds = {kind.__name__: kind for kind in (Beats, Seconds)}
    values = dict(about["grid"])
    grid: TimeGrid = kinds[values.pop("type")](**values)
    return grid
