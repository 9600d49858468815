"""The MIDI files of a folder or an archive, read in place: nothing is extracted to disk."""

from __future__ import annotations

import hashlib
import lzma
import os
import stat
import tarfile
import zipfile
import zlib
from pathlib import Path, PurePosixPath
from typing import IO, TYPE_CHECKING

from replication.errors import UserError
from replication.files import digest
from replication.midi import Reason

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import NoReturn

ARCHIVES = (".zip", ".tar", ".tar.gz", ".tar.xz", ".tgz")

# Bytes. A piano piece takes some ten thousand: what is larger than this is no music, or a decompression bomb.
LARGEST = 64 * 2**20

_DAMAGE = (
    tarfile.TarError,
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    OSError,
    RuntimeError,  # a password, or a compression that Python lacks
)


def check_container(path: Path) -> None:
    """Raise a `UserError` unless `path` is a folder or has the name of an archive."""
    if not path.exists():
        raise UserError(f"{path} does not exist: give a folder or an archive of MIDI files.")
    if not path.is_dir() and not path.name.lower().endswith(ARCHIVES):
        raise UserError(f"{path} is neither a folder nor an archive ({', '.join(ARCHIVES)}): give one with MIDI files.")


def midi_files(path: Path) -> Iterator[tuple[str, bytes | Reason]]:
    """Yield the name and the content of every MIDI file below `path`, or why it has none.

    A MIDI file is one whose name ends in `.mid` or `.midi`, in any case, but the shadows that macOS adds to archives.
    Links in archives are skipped: what they point to is there as well, or is outside.

    Args:
        path: a folder, or an archive with one of the endings `ARCHIVES`.

    Raises:
        UserError: the path is neither, it is damaged, or it cannot be read.
    """
    check_container(path)
    if path.is_dir():
        return _in_folder(path)
    return _in_zip(path) if path.name.lower().endswith(".zip") else _in_tar(path)


def content_key(path: Path) -> str:
    """Return a hash that changes with any MIDI file below the folder `path`, or with the archive `path`."""
    check_container(path)
    if path.is_dir():
        return digest(
            *sorted(
                (name, str(content)) if isinstance(content, Reason) else (name, hashlib.sha256(content).hexdigest())
                for name, content in _in_folder(path)
            )
        )
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        _refuse(path, error)


def _in_folder(root: Path) -> Iterator[tuple[str, bytes | Reason]]:
    def fail(error: OSError) -> NoReturn:
        raise UserError(f"{error.filename} cannot be listed ({error.strerror}): make it readable.") from error

    for folder, _, names in os.walk(root, onerror=fail):
        for path in (Path(folder, name) for name in names):
            name = path.relative_to(root).as_posix()
            if _is_midi(name) and path.is_file():
                try:
                    with path.open("rb") as file:
                        yield name, _bounded(file)
                except OSError:
                    yield name, Reason.UNREADABLE


def _in_zip(path: Path) -> Iterator[tuple[str, bytes | Reason]]:
    try:
        archive = zipfile.ZipFile(path)
    except _DAMAGE as error:
        _refuse(path, error)
    with archive:
        for member in archive.infolist():
            is_link = stat.S_ISLNK(member.external_attr >> 16)  # where zip keeps the mode of Unix
            if _is_midi(member.filename) and not member.is_dir() and not is_link:
                # Members stand alone: one that is damaged costs no other.
                try:
                    with archive.open(member) as file:
                        content = _bounded(file)
                except _DAMAGE:
                    content = Reason.UNREADABLE
                yield PurePosixPath(member.filename).as_posix(), content


def _in_tar(path: Path) -> Iterator[tuple[str, bytes | Reason]]:
    try:
        with tarfile.open(path) as archive:
            for member in archive:
                file = archive.extractfile(member) if member.isreg() and _is_midi(member.name) else None
                if file:
                    yield PurePosixPath(member.name).as_posix(), _bounded(file)
            # tarfile takes a damaged header for the end. Compressed archives have checksums against that.
            if path.suffix.lower() == ".tar" and archive.fileobj:
                archive.fileobj.seek(archive.offset)
                if archive.fileobj.read(tarfile.BLOCKSIZE).strip(b"\0"):
                    raise tarfile.ReadError(f"no file header at byte {archive.offset}")
    except _DAMAGE as error:
        _refuse(path, error)


def _is_midi(name: str) -> bool:
    path = PurePosixPath(name)
    shadow = path.name.startswith("._") or "__MACOSX" in path.parts
    return name.lower().endswith((".mid", ".midi")) and not shadow


def _bounded(file: IO[bytes]) -> bytes | Reason:
    content = file.read(LARGEST + 1)
    return content if len(content) <= LARGEST else Reason.TOO_LARGE


def _refuse(path: Path, error: Exception) -> NoReturn:
    raise UserError(f"{path} cannot be read as an archive ({error}): copy or download it again.") from error
