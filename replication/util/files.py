"""Atomic files, JSON with a checksum, and hashes of content."""

from __future__ import annotations

import dataclasses
import enum
import hashlib
import json
import os
import re
import shutil
import uuid
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from replication.util.errors import UserError, error_text
from replication.util.system_errors import writing

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from contextlib import AbstractContextManager
    from pathlib import Path

    import pandas as pd
    from filelock import FileLock

CHECKSUM = "checksum"  # key of the checksum in a JSON object
LOCK = ".lock"  # name of the lock in the folder of a draft
HEX = 32  # hexadecimal digits in the name of a draft
_DRAFT = re.compile(rf"\..+-[0-9a-f]{{{HEX}}}")


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """Yield the path of a draft to write; on success the draft replaces `path`.

    A reader of `path` sees the old file or the new one, never a part: the draft is written next to it, synced and
    renamed. If the block raises, the draft is removed and `path` does not change. If the disk refuses to write, the
    `OSError` names `path`. The draft of a killed process is removed by the next process that writes `path`, or by
    `sweep`.
    """
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        _sweep(path)
        folder, lock = _draft(path)
    try:
        with lock, writing(path):
            draft = folder / path.name
            yield draft
            _fsync(draft)
            draft.replace(path)
            _fsync(path.parent)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _draft(path: Path) -> tuple[Path, AbstractContextManager[FileLock]]:
    """Return a folder for a draft of `path` and for temporary files of the writer, with its lock, which is held."""
    from filelock import FileLock

    while True:
        folder = path.with_name(f"{_prefix(path)}{uuid.uuid4().hex}")
        folder.mkdir()
        with suppress(FileNotFoundError):  # another process has swept the folder before it was locked
            return folder, FileLock(folder / LOCK).acquire()


def _sweep(path: Path) -> None:
    """Remove the drafts of `path` whose processes have ended and whose locks are therefore free."""
    prefix = _prefix(path)
    for name in os.listdir(path.parent):  # noqa: PTH208 - fast: called before each of thousands of files
        if name.startswith(prefix) and len(name) == len(prefix) + HEX:
            _remove(path.with_name(name))


def sweep(folder: Path) -> None:
    """Remove the drafts of killed processes in a folder and below it."""
    for draft in folder.rglob(".*-*"):
        if _DRAFT.fullmatch(draft.name) and draft.is_dir():
            _remove(draft)


def _remove(draft: Path) -> None:
    from filelock import FileLock

    with suppress(OSError), FileLock(draft / LOCK, blocking=False):  # an error if its process lives
        shutil.rmtree(draft)


def _prefix(path: Path) -> str:
    return f".{path.name}-"


def _fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sha256(path: Path) -> str:
    """Return the hex SHA-256 of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write an object atomically as indented JSON with a checksum of itself."""
    plain = json.loads(json.dumps({key: value for key, value in content.items() if key != CHECKSUM}))
    with atomic(path) as draft:
        sealed = {**plain, CHECKSUM: digest(plain)}
        draft.write_text(json.dumps(sealed, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def read_json(path: Path) -> dict[str, Any]:
    """Read an object from a JSON file and verify its checksum if it has one; return it without the checksum.

    Raises:
        UserError: If the file is damaged.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise _damaged(path, error_text(error)) from None
    if not isinstance(content, dict):
        raise _damaged(path, "it is not an object")
    if content.pop(CHECKSUM, None) not in (None, digest(content)):
        raise _damaged(path, "it does not match its checksum")
    return content


def _damaged(path: Path, why: str) -> UserError:
    return UserError(f"{path} is damaged ({why}); delete it or its folder to create it again")


class DamagedError(Exception):
    """The content of a file is not what was written to it."""


@contextmanager
def undamaged() -> Iterator[None]:
    """Raise a `DamagedError` for every exception of a block that reads a file: flipped bits can cause any of them.

    A `MemoryError` passes, because it says nothing about the file.
    """
    try:
        yield
    except MemoryError:
        raise
    except Exception as error:
        raise DamagedError(error_text(error)) from error


@contextmanager
def open_arrays(path: Path) -> Iterator[Any]:
    """Open an .npz file and yield its arrays by name; whatever a damaged file causes is a `DamagedError`."""
    import numpy as np

    with undamaged(), path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
        yield arrays


def describe(value: object) -> Any:  # noqa: ANN401 - plain JSON data of any shape
    """Return `value` as plain JSON data in which every dataclass keeps its class name.

    `dataclasses.asdict` drops the names, and two choices with equal fields would look the same.
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {field.name: describe(getattr(value, field.name)) for field in dataclasses.fields(value)}
        return {"type": type(value).__name__, **fields}
    if isinstance(value, dict):
        return {str(key): describe(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [describe(item) for item in value]
    return value.name if isinstance(value, enum.Enum) else value


def digest(*values: object) -> str:
    """Return the hex SHA-256 of the values' descriptions. It is equal for equal values in every process."""
    text = json.dumps([describe(value) for value in values], sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def write_parquet(path: Path, table: pd.DataFrame) -> None:
    """Write a table atomically."""
    with atomic(path) as draft:
        table.to_parquet(draft, index=False)
