"""Find a published corpus in a folder of the user or in the cache, or download it."""

from __future__ import annotations

import hashlib
import os
import sys
import time
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from replication.corpora.archives import ARCHIVES
from replication.corpora.catalogue import ByHand
from replication.corpora.verification import verify
from replication.util.errors import UserError
from replication.util.files import atomic
from replication.util.locks import locked

if TYPE_CHECKING:
    from collections.abc import Collection

    from requests import Response

    from replication.corpora.catalogue import Archive, Licence, Published

CHUNK = 2**16  # bytes
PAUSES = (1.0, 5.0)  # seconds before a transfer that broke off is tried again
ELSEWHERE = "or download it in another way and put it into a folder of ETUDE_DATA"


def downloads() -> Path:
    """Return the folder of downloads, which is in `ETUDE_CACHE` if that is set, else in the user's cache folder.

    Raises:
        UserError: If the user has no home folder, as in a container, and `ETUDE_CACHE` is not set.
    """
    from pooch import os_cache

    try:
        return _folder(os.environ.get("ETUDE_CACHE") or os_cache("etude")) / "downloads"
    except RuntimeError:
        raise UserError(
            "the home folder of this user is not known: set ETUDE_CACHE to a folder for downloads"
        ) from None


def _folder(path: str | Path) -> Path:
    return Path(os.path.expanduser(path))  # noqa: PTH111 - a Path would raise for the home of an unknown user


def find(source: Published, search: str | None = None) -> Path | None:
    """Return the folder or archive that holds a corpus: the first on the search path, else the one in the downloads.

    Args:
        source: Corpus to find.
        search: Folders separated by `os.pathsep`; by default those of the environment variable `ETUDE_DATA`.

    Raises:
        UserError: If a folder of the search path does not exist.
    """
    search = os.environ.get("ETUDE_DATA", "") if search is None else search
    folders = [_folder(folder) for folder in search.split(os.pathsep) if folder]
    for folder in folders:
        if not folder.is_dir():
            raise UserError(f"{folder}, named in ETUDE_DATA, is not a folder: create it, or remove it from ETUDE_DATA.")
    names = (source.pack, *(source.pack + ending for ending in ARCHIVES), source.origin.file)
    with suppress(UserError):  # without a home folder nothing has been downloaded
        folders.append(downloads())
    paths = (folder / name for folder in folders for name in names)
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
    """Return the folder or archive that holds a corpus. Download the corpus if it is not on this machine.

    If several processes want the same file, one downloads it and the others wait. The file gets its final name when it
    is complete and verified. A download that was interrupted starts from the beginning.

    Args:
        source: Corpus to find or download.
        name: Name of the corpus in messages.
        licence: Licence, printed before the download. If it asks for consent, it must be among the accepted ones.
        citation: Citation, printed before the download.
        accepted: Names of the licences that the user accepts.
        search: Folders to search, as for `find`.

    Raises:
        UserError: If the licence is not accepted, if the download fails or gives another file, or if only a person can
            download the corpus.
    """
    found = find(source, search)
    if isinstance(source.origin, ByHand):
        return _by_hand(source, source.origin, found, name)
    if found:
        return found
    if licence.consent and licence.name not in accepted:
        raise UserError(
            f"{name} can be downloaded only after accepting its licence, {licence.name} ({licence.note}): "
            f"add --accept-licence {licence.name}."
        )
    print(f"{name}: {source.origin.url}\nlicence: {licence.name}, {licence.note}\nplease cite: {citation}", flush=True)
    try:
        return _download(source, source.origin)
    except OSError as error:
        place = error.filename or downloads()
        raise UserError(
            f"{place} cannot be written ({error.strerror}): free some space, or set ETUDE_CACHE."
        ) from error


def _by_hand(source: Published, origin: ByHand, found: Path | None, name: str) -> Path:
    if found is None:
        raise UserError(
            f"{name} cannot be downloaded by a program: at {origin.page} {origin.how}, "
            f"and put {origin.file} into {downloads()} or a folder of ETUDE_DATA."
        )
    if found.name == origin.file:
        _check(source, found, str(found))
    return found


def _download(source: Published, origin: Archive) -> Path:
    path = downloads() / origin.file
    with locked(path):
        if not path.exists():  # another process may have downloaded it
            with atomic(path) as draft:
                _transfer(origin.url, draft)
                _check(source, draft, origin.url)
    return path


def _transfer(url: str, path: Path) -> None:
    """Write what `url` serves to a file. Try again from the beginning if the transfer breaks off."""
    from requests import RequestException

    for pause in (*PAUSES, None):
        try:
            return _get(url, path)
        except RequestException as error:
            if error.response is not None:
                answer = f"{error.response.status_code} {error.response.reason}"
                raise UserError(f"{url} answers {answer}: try again later, {ELSEWHERE}.") from error
            if not (size := path.stat().st_size):
                raise UserError(f"{url} cannot be reached: check the network, {ELSEWHERE}.") from error
            if pause is None:
                raise UserError(f"{url} broke off after {size:,} bytes: try again later, {ELSEWHERE}.") from error
        time.sleep(pause)
    return None


def _get(url: str, path: Path) -> None:
    from pooch import HTTPDownloader

    with ExitStack() as responses:

        def keep(response: Response, **_: object) -> None:
            responses.callback(response.close)  # if writing fails, pooch leaves it open

        get = HTTPDownloader(
            progressbar=sys.stderr.isatty(),
            chunk_size=CHUNK,
            headers={"Accept-Encoding": "identity"},  # the bytes as they are stored, for their checksum
            hooks={"response": keep},
        )
        get(url, str(path), None)  # waits for the server no longer than the time-out of pooch


def _check(source: Published, path: Path, origin: str) -> None:
    """Raise a `UserError` unless the file at `path` is the published file."""
    if expected := source.origin.checksum:
        algorithm = expected.split(":")[0]
        found = f"{algorithm}:{_checksum(path, algorithm)}"
    else:
        expected, found = source.content, verify(source, path).content
    if expected not in {None, found}:
        raise UserError(f"{origin} is not the published file ({expected} expected, {found} found): download it again.")


def _checksum(path: Path, algorithm: str) -> str:
    if algorithm == "git":  # https://git-scm.com/book/en/v2/Git-Internals-Git-Objects
        state = hashlib.sha1(f"blob {path.stat().st_size}\0".encode(), usedforsecurity=False)
    else:
        state = hashlib.new(algorithm, usedforsecurity=False)
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: state).hexdigest()
