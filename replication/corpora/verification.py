"""Compare the files of a corpus with those that were published."""

from __future__ import annotations

import csv
import hashlib
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from replication.corpora.archives import files, is_midi
from replication.midi.smf import Reason
from replication.util.errors import UserError, error_text

if TYPE_CHECKING:
    from pathlib import Path

    from replication.corpora.catalogue import Published

MANIFEST = "MANIFEST.csv"


@dataclass(frozen=True, kw_only=True)
class Verification:
    """The result of comparing the files of a folder or an archive with the published files.

    Attributes:
        files: Number of files.
        content: Hash of all files, as in `Published`.
        missing: Names in the manifest without a file; empty without a manifest.
        extra: Names of files that are not in the manifest, or occur again; empty without a manifest.
        damaged: Names of files that cannot be read or differ from the manifest.
        ok: Whether all files are those that were published.
    """

    files: int
    content: str
    missing: tuple[str, ...]
    extra: tuple[str, ...]
    damaged: tuple[str, ...]
    ok: bool


def verify(source: Published, path: Path) -> Verification:
    """Compare the files of a folder or an archive with the published files, and with its manifest if it has one.

    A manifest is a file `MANIFEST.csv` at the top of a pack, with the columns `path`, relative to it, and `sha256`.
    Only its rows about the music count.

    Args:
        source: Published files.
        path: Folder or archive, as for `replication.corpora.archives.midi_files`.

    Raises:
        UserError: If the folder, the archive or its manifest cannot be read.
    """
    members = re.compile(source.members)

    def belongs(name: str) -> bool:
        return is_midi(name) and members.fullmatch(name) is not None

    hashes: list[tuple[str, str]] = []
    listed: dict[str, str] | None = None
    for name, content in files(path, lambda name: belongs(name) or _is_manifest(name)):
        if not _is_manifest(name):
            hashes.append((name, content if isinstance(content, Reason) else hashlib.sha256(content).hexdigest()))
        elif isinstance(content, Reason):
            raise UserError(f"{name} of {path} cannot be read ({content}): copy or download {path.name} again.")
        else:
            listed = {file: hash_ for file, hash_ in _manifest(path, name, content).items() if belongs(file)}

    names = Counter(name for name, _ in hashes)
    expected = names if listed is None else Counter(listed.keys())
    missing, extra = (tuple(sorted((a - b).elements())) for a, b in ((expected, names), (names, expected)))
    right = listed or {}
    damaged = {name for name, hash_ in hashes if isinstance(hash_, Reason) or right.get(name, hash_) != hash_}
    total = hashlib.sha256("\n".join(sorted(hash_ for _, hash_ in hashes)).encode()).hexdigest()
    whole = len(hashes) == source.files and source.content in {None, total}
    return Verification(
        files=len(hashes),
        content=total,
        missing=missing,
        extra=extra,
        damaged=tuple(sorted(damaged)),
        ok=whole and not (missing or extra or damaged),
    )


def _is_manifest(name: str) -> bool:
    folder, _, file = name.rpartition("/")
    return file == MANIFEST and "/" not in folder


def _manifest(path: Path, name: str, content: bytes) -> dict[str, str]:
    """Return the hashes that the manifest `name` lists, by the names of the files in the container."""
    try:
        rows = csv.DictReader(content.decode().splitlines(keepends=True), strict=True)
        return {str(PurePosixPath(name).parent / row["path"]): row["sha256"] for row in rows}
    except (ValueError, KeyError, TypeError, csv.Error) as error:
        raise UserError(
            f"{name} of {path} is damaged ({error_text(error)}): copy or download {path.name} again."
        ) from error
