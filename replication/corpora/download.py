"""Where published corpora come from: a folder of the user's, the cache, or a download."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import TYPE_CHECKING

from replication.corpora.archives import ARCHIVES
from replication.corpora.catalogue import ByHand
from replication.corpora.transfer import download
from replication.corpora.verification import verify
from replication.util.errors import UserError
from replication.util.locks import locked

if TYPE_CHECKING:
    from collections.abc import Collection

    from replication.corpora.catalogue import Archive, Licence, Published


def downloads() -> Path:
    """Return the folder of downloads, in `ETUDE_CACHE` or else in the user's cache folder."""
    from pooch import os_cache

    return _folder(os.environ.get("ETUDE_CACHE") or os_cache("etude")) / "downloads"


def _folder(path: str | Path) -> Path:
    return Path(os.path.expanduser(path))  # noqa: PTH111 - a Path would raise for the home of nobody


def find(source: Published, search: str | None = None) -> Path | None:
    """Return the folder or archive that holds a corpus: the first on the search path, else that among the downloads.

    Args:
        source: the corpus.
        search: folders, separated by `os.pathsep`; by default those of the environment variable `ETUDE_DATA`.

    Raises:
        UserError: a folder of the search path does not exist.
    """
    search = os.environ.get("ETUDE_DATA", "") if search is None else search
    folders = [_folder(folder) for folder in search.split(os.pathsep) if folder]
    for folder in folders:
        if not folder.is_dir():
            raise UserError(f"{folder} is named in ETUDE_DATA and is no folder: make it, or take it out.")
    names = (source.pack, *(source.pack + ending for ending in ARCHIVES), source.origin.file)
    paths = (folder / name for folder in (*folders, downloads()) for name in names)
    return next((path for path in paths if path.exists()), None)


def fetch(
    source: Published,
    *,
    name: str,
    licence: Licence,
    citation: str,
    accepted: Collection[str],
    search: str | None = None,
) -> Path:
    """Return the folder or archive that holds a corpus, after downloading it if it is nowhere yet.

    A download that was interrupted is gone on with. Of processes that want the same one, one downloads and the others
    wait for it. Under its final name there is never anything but the whole file.

    Args:
        source: the corpus.
        name: what the user calls it.
        licence: is printed before the download, and has to be among the accepted ones if it asks for consent.
        citation: whom to thank; printed too.
        accepted: names of licences.
        search: as for `find`.

    Raises:
        UserError: the licence is not accepted, the download fails or gives another file, or only a person can download.
    """
    found = find(source, search)
    if isinstance(source.origin, ByHand):
        return _by_hand(source, source.origin, found, name)
    if found:
        return found
    if licence.consent and licence.name not in accepted:
        raise UserError(
            f"{name} is downloaded only by those who accept its licence, {licence.name} ({licence.note}): "
            f"add --accept-licence {licence.name}."
        )
    print(f"{name}: {source.origin.url}\nlicence: {licence.name}, {licence.note}\nplease cite: {citation}", flush=True)
    try:
        return _download(source, source.origin)
    except OSError as error:
        raise UserError(
            f"{error.filename or downloads()} cannot be written ({error.strerror}): make room, or set ETUDE_CACHE."
        ) from error


def _by_hand(source: Published, origin: ByHand, found: Path | None, name: str) -> Path:
    if found is None:
        raise UserError(
            f"A program cannot download {name}: at {origin.page} {origin.how}, "
            f"and put {origin.file} into {downloads()} or a folder of ETUDE_DATA."
        )
    if found.name == origin.file:
        _check(source, found)
    return found


def _download(source: Published, origin: Archive) -> Path:
    path = downloads() / origin.file
    with locked(path):
        if not path.exists():  # or another process has it by now
            part = path.with_name(f"{path.name}.part")
            download(origin.url, part)
            try:
                _check(source, part)
            except UserError:
                part.unlink()
                raise
            part.replace(path)
    return path


def _check(source: Published, path: Path) -> None:
    """Raise a `UserError` unless the file at `path` is what the publisher offers."""
    if expected := source.origin.checksum:
        algorithm = expected.split(":")[0]
        found = f"{algorithm}:{_checksum(path, algorithm)}"
    else:
        expected, found = source.content, verify(source, path).content
    if expected not in {None, found}:
        raise UserError(f"{path} is not the published file ({expected} expected, {found} found): download it again.")


def _checksum(path: Path, algorithm: str) -> str:
    if algorithm == "git":  # https://git-scm.com/book/en/v2/Git-Internals-Git-Objects
        state = hashlib.sha1(f"blob {path.stat().st_size}\0".encode(), usedforsecurity=False)
    else:
        state = hashlib.new(algorithm, usedforsecurity=False)
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: state).hexdigest()
