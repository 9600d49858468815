"""Read the files of a folder or an archive in place, without extracting them to disk.

Archives are treated as hostile. A name is an id and never a path to write to, links are skipped, and the unpacked size
of a member and of an archive is limited.

Linked folders and archives within a folder or an archive are counted (`other_files`) and not opened. A link may lead
out of what the user named, into itself, or to files that are read already, and then a piece would count twice.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import lzma
import os
import re
import stat
import tarfile
import zipfile
import zlib
from collections import Counter
from dataclasses import dataclass
from functools import partial
from operator import attrgetter, itemgetter
from pathlib import Path, PurePosixPath
from typing import IO, TYPE_CHECKING, Any

from replication.midi.smf import Reason
from replication.util.errors import UserError, error_text
from replication.util.files import digest, read_json, sha256, write_json
from replication.util.paths import is_regular

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import NoReturn

    Found = Iterator[tuple[str, bytes | Reason]]

ARCHIVES = (".zip", ".tar", ".tar.gz", ".tar.xz", ".tgz")

# .kar has the words of a song, .rmi may be wrapped in RIFF, and .smf is a rare name of the same format.
MIDI_ENDINGS = (".mid", ".midi", ".kar", ".rmi", ".smf")

# Kinds of files in `other_files`; every other kind is the ending of the name.
LINKED_FOLDERS = "linked folders"
LINKS = "links"  # in an archive, and those in a folder that lead to no file
SPECIAL_FILES = "special files"  # devices, pipes and sockets
OUTSIDE = "MIDI files outside the corpus"  # according to the names that belong to it
OTHER_FILES = "other files"

MOST_KINDS = 20  # counted individually: a hostile archive may have as many endings as files

# Bytes. A piano piece takes some ten thousand: a larger file is not music, or is a decompression bomb.
LARGEST = 64 * 2**20

# Bytes and members of an archive. Lakh MIDI, the largest collection in use, has 178,561 files in some 6 GB.
MOST_BYTES = 64 * 2**30
MOST_MEMBERS = 2_000_000

_RATION = 2 * LARGEST  # bytes of a tar file in memory at once: a member, and the header of the next

_DAMAGE = (
    tarfile.TarError,
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    OSError,
    RuntimeError,  # a password, or a compression that Python does not support
    ArithmeticError,  # this and the next two: headers with invalid numbers
    LookupError,
    ValueError,
)


def check_container(path: Path) -> None:
    """Raise a `UserError` unless `path` is a folder or has the name of an archive."""
    if not os.path.exists(path):  # noqa: PTH110 - a Path would raise for a name that is too long
        raise UserError(f"{path} does not exist: give a folder or an archive of MIDI files.")
    if not path.is_dir() and not (is_regular(path) and path.name.lower().endswith(ARCHIVES)):
        raise UserError(f"{path} is neither a folder nor an archive ({', '.join(ARCHIVES)}): give one with MIDI files.")


@dataclass(frozen=True)
class _Entry:
    """A file in a folder or an archive.

    Attributes:
        name: Name relative to the folder or archive, with `/`.
        read: Returns the content or the reason why it cannot be read; valid until the next entry is asked for.
        kind: Its kind in `other_files` if it is not a regular file.
    """

    name: str
    read: Callable[[], bytes | Reason]
    kind: str | None = None


def midi_files(path: Path, members: re.Pattern[str] | None = None) -> Found:
    """Yield the id and the content of every MIDI file below `path`, or the reason why the content cannot be read.

    The name of a MIDI file ends in one of `MIDI_ENDINGS`, in any case. The resource forks that macOS adds to archives
    are skipped. Of links, only those in a folder that lead to a file are read; see the top of this module.

    Args:
        path: Folder, or archive with one of the endings `ARCHIVES`.
        members: Pattern that matches the full names of the files of the corpus; its one group is their id. By default
            all files belong to the corpus, and the id is the name. A name is relative to `path`, with `/`.

    Yields:
        Unique relative ids (of two files with the same id the second gets ` (2)`) and contents of at most `LARGEST`
        bytes, in the order of the names, or in the order of the archive for a tar file.

    Raises:
        UserError: If the path is neither a folder nor an archive, is damaged or cannot be read, or if it unpacks to
            more than `MOST_BYTES` bytes or `MOST_MEMBERS` members.
    """

    def belongs(name: str) -> bool:
        return is_midi(name) and (members is None or members.fullmatch(name) is not None)

    return _with_ids(files(path, belongs), members)


def files(path: Path, wanted: Callable[[str], bool]) -> Found:
    """Yield the name and the content of the files whose names are wanted, as `midi_files` does with ids."""
    return ((entry.name, entry.read()) for entry in _entries(path) if entry.kind is None and wanted(entry.name))


def other_files(path: Path, memo: Path, members: re.Pattern[str] | None = None) -> dict[str, int]:
    """Count by kind what `midi_files` does not read, without the resource forks of macOS.

    A kind is the ending of a name in lower case, such as `.mp3` or `.mid.gz`, or one of the constants above. A note in
    the folder `memo` keeps the counts of an archive as long as it does not change.
    """
    check_container(path)
    if path.is_dir():
        return _count_others(path, members)
    listing = digest(_state(path), members.pattern if members else None)
    counts: dict[str, int] = _remembered(path, memo, "others", listing, lambda: _count_others(path, members))
    return counts


def _count_others(path: Path, members: re.Pattern[str] | None) -> dict[str, int]:
    counts: Counter[str] = Counter()
    for entry in _entries(path):
        if _is_resource_fork(entry.name):
            continue
        kind = entry.kind
        if kind is None and is_midi(entry.name):
            if members is None or members.fullmatch(entry.name):
                continue
            kind = OUTSIDE
        kind = kind or _ending(entry.name)
        counts[kind if kind in counts or len(counts) < MOST_KINDS else OTHER_FILES] += 1
    return dict(counts)


def is_midi(name: str) -> bool:
    """Return whether a name, with `/`, is that of a MIDI file."""
    return name.lower().endswith(MIDI_ENDINGS) and not _is_resource_fork(name)


def _is_resource_fork(name: str) -> bool:
    *folders, last = name.split("/")
    return last.startswith("._") or "__MACOSX" in folders


# With the ending before that of a compression. Longer ones are more likely the end of a title with a full stop.
_ENDING = re.compile(r"(?:\.[a-z0-9]{1,8}(?=\.(?:gz|bz2|xz|zst|z)$))?\.[a-z0-9]{1,8}$", re.ASCII)


def _ending(name: str) -> str:
    found = _ENDING.search(name.rpartition("/")[2].lower())
    return found[0] if found else OTHER_FILES


def _entries(path: Path) -> Iterator[_Entry]:
    check_container(path)
    if path.is_dir():
        return (_Entry(name, partial(_content, entry.path), kind) for name, entry, kind in _listed(path))
    return _in_zip(path) if path.name.lower().endswith(".zip") else _in_tar(path)


def _content(path: str) -> bytes | Reason:
    try:
        with open(path, "rb") as file:  # noqa: PTH123 - a Path for each of a hundred thousand files would be slow
            return _bounded(file)
    except OSError:
        return Reason.UNREADABLE


def content_key(path: Path, memo: Path) -> str:
    """Return a hash of the MIDI files below the folder `path`, or of the archive `path`.

    Hashing gigabytes at every start would be slow. A note in the folder `memo` keeps the hash as long as no file
    changes its name, size, times or inode.
    """
    check_container(path)
    if path.is_dir():
        listing = digest(*((name, *_state(entry)) for name, entry, kind in _listed(path) if not kind and is_midi(name)))
    else:
        listing = digest(*_state(path))
    key: str = _remembered(path, memo, "key", listing, lambda: _hash(path))
    return key


def _remembered(path: Path, memo: Path, name: str, listing: str, compute: Callable[[], Any]) -> Any:  # noqa: ANN401 - JSON
    """Return what was computed for the path when it had this listing; compute it if the listing is new."""
    note = memo / f"{name}-{digest(str(path.absolute()))[:32]}.json"
    try:
        known = read_json(note)
    except (OSError, UserError):  # missing or damaged
        known = {}
    if known.get("listing") != listing:
        known = {"path": str(path.absolute()), "listing": listing, name: compute()}
        write_json(note, known)
    return known[name]


def _hash(path: Path) -> str:
    if path.is_dir():
        return digest(
            *(
                (name, str(content)) if isinstance(content, Reason) else (name, hashlib.sha256(content).hexdigest())
                for name, content in files(path, is_midi)
            )
        )
    try:
        return sha256(path)
    except OSError as error:
        _refuse(path, error)


def _state(file: Path | os.DirEntry[str]) -> tuple[int, ...]:
    try:
        found = file.stat()
    except OSError:  # deleted since it was listed
        return ()
    return found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino


def _with_ids(found: Found, members: re.Pattern[str] | None) -> Found:
    copies: Counter[str] = Counter()
    for name, content in found:
        match = members.fullmatch(name) if members else None
        id_ = first = match[1] if match else name
        stem, dot, ending = first.rpartition(".")
        while copies[id_]:
            copies[first] += 1
            id_ = f"{stem} ({copies[first]}){dot}{ending}"
        copies[id_] += 1
        yield id_, content


def _listed(root: Path) -> list[tuple[str, os.DirEntry[str], str | None]]:
    """Return the name, the entry and the kind (see `_Entry`) of all files below a folder, sorted by name."""
    found, waiting = [], [(str(root), "")]
    while waiting:
        folder, above = waiting.pop()
        try:
            with os.scandir(folder) as entries:
                for entry in entries:
                    name = above + entry.name
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append((entry.path, f"{name}/"))
                    else:
                        found.append((name, entry, _kind(entry)))
        except OSError as error:
            raise UserError(f"{folder} cannot be listed ({error.strerror}): make it readable.") from error
    return sorted(found, key=itemgetter(0))


def _kind(entry: os.DirEntry[str]) -> str | None:
    if not entry.is_symlink():
        return None if entry.is_file() else SPECIAL_FILES
    try:
        mode = entry.stat().st_mode
    except OSError:  # it leads nowhere, or to itself
        return LINKS
    if stat.S_ISDIR(mode):
        return LINKED_FOLDERS
    return None if stat.S_ISREG(mode) else SPECIAL_FILES


def _in_zip(path: Path) -> Iterator[_Entry]:
    try:
        archive = zipfile.ZipFile(path)
    except _DAMAGE as error:
        _refuse(path, error)
    with archive:
        for member in archive.infolist():  # the format forbids backslashes, but some programs write them
            member.filename = member.filename.replace("\\", "/")
        members = sorted(archive.infolist(), key=attrgetter("filename"))
        # No more is read of a member than the size that it declares.
        _check_size(path, len(members), sum(min(member.file_size, LARGEST) for member in members))
        for member in members:
            if not member.is_dir():
                is_link = stat.S_ISLNK(member.external_attr >> 16)  # the Unix mode
                read = partial(_member, archive, member)
                yield _Entry(_relative(member.filename), read, LINKS if is_link else None)


def _member(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> bytes | Reason:
    if member.file_size > LARGEST:
        return Reason.TOO_LARGE
    if member.compress_type not in {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}:
        return Reason.UNREADABLE  # zipfile would unpack the other, rare methods without a limit
    try:
        return archive.read(member)
    except _DAMAGE:  # a damaged member does not affect the others
        return Reason.UNREADABLE


_UNPACKED: dict[str, Callable[[Path], Any]] = {".gz": gzip.open, ".tgz": gzip.open, ".xz": lzma.open}


class _Rationed(io.BufferedReader):
    """A stream that returns at most `left` bytes: the header of a tar file may ask for any number."""

    left = 0
    last = b""  # the bytes read last

    def read(self, size: int | None = -1, /) -> bytes:
        self.left -= LARGEST if size is None or size < 0 else size
        if self.left < 0:
            raise tarfile.ReadError("a header that asks for gigabytes")
        self.last = super().read(size)
        return self.last


def _in_tar(path: Path) -> Iterator[_Entry]:
    try:
        with _Rationed(_UNPACKED.get(path.suffix.lower(), io.FileIO)(path)) as stream:
            stream.left = _RATION
            with tarfile.open(fileobj=stream, mode="r:") as archive:
                count = 0
                while member := archive.next():
                    stream.left = _RATION
                    archive.members.clear()  # type: ignore[attr-defined]  # not in the stubs; tarfile would keep all members
                    count += 1
                    # Before the member is read or skipped, because both unpack it.
                    _check_size(path, count, archive.offset)
                    if not member.isdir():
                        kind = None if member.isreg() else LINKS if member.issym() or member.islnk() else SPECIAL_FILES
                        yield _Entry(_relative(member.name), partial(_extracted, path, archive, member), kind)
            if stream.last.strip(b"\0"):  # tarfile treats a damaged header as the end
                raise tarfile.ReadError("a damaged file header")
            while stream.read(io.DEFAULT_BUFFER_SIZE):  # to the end, where a compressed file has its checksum
                pass
    except _DAMAGE as error:
        _refuse(path, error)


def _extracted(path: Path, archive: tarfile.TarFile, member: tarfile.TarInfo) -> bytes | Reason:
    try:
        file = archive.extractfile(member)
        return _bounded(file) if file else Reason.UNREADABLE  # None for what is not a regular file
    except _DAMAGE as error:  # of the stream, so that the rest of the archive is lost
        _refuse(path, error)


def _check_size(path: Path, members: int, size: int) -> None:
    if members > MOST_MEMBERS:
        raise UserError(f"{path} has more than {MOST_MEMBERS:,} members: give an archive of MIDI files only.")
    if size > MOST_BYTES:
        raise UserError(f"{path} unpacks to more than {MOST_BYTES:,} bytes: give an archive of MIDI files only.")


def _relative(name: str) -> str:
    """Return a member's name without the parts that would lead out of a folder."""
    return "/".join(part for part in PurePosixPath(name).parts if part.strip("/") not in {"", ".."})


def _bounded(file: IO[bytes]) -> bytes | Reason:
    content = file.read(LARGEST + 1)
    return content if len(content) <= LARGEST else Reason.TOO_LARGE


def _refuse(path: Path, error: Exception) -> NoReturn:
    raise UserError(f"{path} cannot be read as an archive ({error_text(error)}): copy or download it again.") from error
