"""Files that are whole or absent, and hashes that name their content."""

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

from replication.util.errors import UserError
from replication.util.system_errors import writing

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from contextlib import AbstractContextManager
    from pathlib import Path

    import pandas as pd
    from filelock import FileLock

CHECKSUM = "checksum"  # the key of an object's own
LOCK = ".lock"  # of a draft, in its folder
HEX = 32  # digits of the number of a draft
_DRAFT = re.compile(rf"\..+-[0-9a-f]{{{HEX}}}")


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """Yield a fresh path to write a file to; on success it takes the place of `path`.

    Whoever looks at `path` sees the old file or the new, never a part: written beside, fsynced, renamed. If the block
    raises, what was written is removed and `path` stays as it was; what the disk refuses is an `OSError` that names it.
    What a killed process leaves of its draft is removed by the next one that writes to `path`, or by `sweep`.
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
    """Return a folder for a draft of `path`, and for what writers put beside it, with its lock, which is held."""
    from filelock import FileLock

    while True:
        folder = path.with_name(f"{_prefix(path)}{uuid.uuid4().hex}")
        folder.mkdir()
        with suppress(FileNotFoundError):  # another process has swept the folder before it was locked
            return folder, FileLock(folder / LOCK).acquire()


def _sweep(path: Path) -> None:
    """Remove drafts of `path` whose processes have ended, so that their locks are free."""
    prefix = _prefix(path)
    for name in os.listdir(path.parent):  # noqa: PTH208 - of thousands of files, before each of them is written
        if name.startswith(prefix) and len(name) == len(prefix) + HEX:
            _remove(path.with_name(name))


def sweep(folder: Path) -> None:
    """Remove what killed processes have left of the drafts of all files in a folder and below it."""
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
    """Write an object as indented JSON that carries a checksum of itself, atomically."""
    plain = json.loads(json.dumps({key: value for key, value in content.items() if key != CHECKSUM}))
    with atomic(path) as draft:
        sealed = {**plain, CHECKSUM: digest(plain)}
        draft.write_text(json.dumps(sealed, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def read_json(path: Path) -> dict[str, Any]:
    """Read an object from a JSON file; its checksum, which one that people have written need not have, is left out.

    Raises:
        UserError: if it is damaged.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise _damaged(path, str(error)) from None
    if not isinstance(content, dict):
        raise _damaged(path, "it holds no object")
    if content.pop(CHECKSUM, None) not in (None, digest(content)):
        raise _damaged(path, "it does not match its checksum")
    return content


def _damaged(path: Path, why: str) -> UserError:
    return UserError(f"{path} is damaged ({why}); delete it or its folder to make it again")


class DamagedError(Exception):
    """A file does not hold what was written to it."""


@contextmanager
def undamaged() -> Iterator[None]:
    """Have whatever a block trips over in what it reads be a `DamagedError`: flipped bits surface anywhere.

    Memory that runs out says nothing of the file.
    """
    try:
        yield
    except MemoryError:
        raise
    except Exception as error:
        raise DamagedError(str(error)) from error


def describe(value: object) -> Any:  # noqa: ANN401 - plain JSON data of any shape
    """Return `value` as plain JSON data in which every dataclass keeps its class name.

    `dataclasses.asdict` drops the names, so that two choices with equal fields would look the same.
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
    """Return the hex SHA-256 of the values' description: equal for equal choices, in any process."""
    text = json.dumps([describe(value) for value in values], sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def write_parquet(path: Path, table: pd.DataFrame) -> None:
    """Write a table atomically."""
    with atomic(path) as draft:
        table.to_parquet(draft, index=False)
