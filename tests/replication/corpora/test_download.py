from __future__ import annotations

import hashlib
import os
import re
import resource
import signal
import socket
import subprocess
import sys
import time
import zipfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from replication.corpora.catalogue import Archive, ByHand, Licence, Published
from replication.corpora.download import downloads, fetch, find
from replication.util.errors import UserError
from tests.support.http_server import ServedFile, serve

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

BODY = bytes(range(256)) * 4096  # 1 MiB
SHA256 = f"sha256:{hashlib.sha256(BODY).hexdigest()}"
FREE = Licence(name="CC-BY-4.0", note="for any use", consent=False)
NON_COMMERCIAL = Licence(name="CC-BY-NC-4.0", note="for non-commercial use", consent=True)
BY_HAND = ByHand(page="http://page", how="agree", file="by-hand.zip", checksum=SHA256)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ETUDE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.delenv("ETUDE_DATA", raising=False)
    monkeypatch.setattr("replication.corpora.download.PAUSES", (0.0, 0.0))
    return tmp_path / "cache" / "downloads"


@pytest.fixture
def served() -> Iterator[ServedFile]:
    with serve(ServedFile(body=BODY)) as server:
        yield server


def published(origin: Archive | ByHand, content: str | None = None) -> Published:
    return Published(pack="pack", origin=origin, members=r"(?:.*/)?([^/]+\.mid)", files=1, content=content)


def archive(url: str, checksum: str | None = SHA256) -> Archive:
    return Archive(url=url, file="official.zip", checksum=checksum)


def get(source: Published, licence: Licence = FREE, accepted: tuple[str, ...] = ()) -> Path:
    return fetch(source, name="songs", licence=licence, citation="A. Composer, Songs", accepted=accepted)


def sentence(act: Callable[[], object]) -> str:
    with pytest.raises(UserError) as caught:
        act()
    text = str(caught.value)
    assert "\n" not in text
    assert text.endswith(".")
    return text


def left(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir() if not path.name.endswith(".lock")}


def test_a_download_is_announced_verified_and_kept(
    served: ServedFile, cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = published(archive(served.url))
    assert get(source) == get(source) == cache / "official.zip"
    assert (cache / "official.zip").read_bytes() == BODY
    assert left(cache) == {"official.zip"}
    assert len(served.requests) == 1
    assert capsys.readouterr().out == (
        f"songs: {served.url}\nlicence: CC-BY-4.0, for any use\nplease cite: A. Composer, Songs\n"
    )


def test_redirections_are_followed(served: ServedFile, cache: Path) -> None:
    get(published(archive(served.url.replace("/file", "/moved"))))
    assert left(cache) == {"official.zip"}


@pytest.mark.parametrize("algorithm", ["md5", "git"])
def test_checksums_are_those_of_the_publisher(served: ServedFile, algorithm: str, tmp_path: Path) -> None:
    if algorithm == "git":
        (tmp_path / "body").write_bytes(BODY)
        command = ["git", "hash-object", str(tmp_path / "body")]
        checksum = subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
    else:
        checksum = hashlib.md5(BODY, usedforsecurity=False).hexdigest()
    assert get(published(archive(served.url, f"{algorithm}:{checksum}"))).read_bytes() == BODY


def test_a_file_with_another_checksum_is_deleted(served: ServedFile, cache: Path) -> None:
    expected = f"sha256:{'0' * 64}"
    text = sentence(lambda: get(published(archive(served.url, expected))))
    assert text == f"{served.url} is not the published file ({expected} expected, {SHA256} found): download it again."
    assert left(cache) == set()


def test_a_download_needs_consent_where_the_licence_asks_for_it(served: ServedFile, cache: Path) -> None:
    source = published(archive(served.url))
    for accepted in ((), ("CC-BY-4.0",)):
        text = sentence(lambda accepted=accepted: get(source, NON_COMMERCIAL, accepted))  # type: ignore[misc]
        assert text == (
            "songs can be downloaded only after accepting its licence, CC-BY-NC-4.0 (for non-commercial use): "
            "add --accept-licence CC-BY-NC-4.0."
        )
    assert not cache.exists()
    assert get(source, NON_COMMERCIAL, ("CC-BY-NC-4.0",)).exists()
    assert get(source, NON_COMMERCIAL).exists()  # it is on this machine now


def test_a_transfer_that_breaks_off_is_repeated_as_a_whole(served: ServedFile, cache: Path) -> None:
    served.cut_after, served.cuts = len(BODY) // 2, 2
    assert get(published(archive(served.url))).read_bytes() == BODY
    assert len(served.requests) == 3
    assert all("Range" not in request for request in served.requests)
    assert left(cache) == {"official.zip"}


def test_a_transfer_that_always_breaks_off_is_a_sentence(served: ServedFile, cache: Path) -> None:
    served.cut_after = len(BODY) // 2
    text = sentence(lambda: get(published(archive(served.url))))
    (size,) = re.findall(r"broke off after ([\d,]+) bytes: try again later, or", text)
    assert 0 < int(size.replace(",", "")) <= len(BODY) // 2
    assert len(served.requests) == 3
    assert left(cache) == set()
    served.cut_after = None
    assert get(published(archive(served.url))).read_bytes() == BODY


CHILD = """
import sys
from replication.corpora.catalogue import Archive, Licence, Published; from replication.corpora.download import fetch
origin = Archive(url=sys.argv[1], file="official.zip", checksum=sys.argv[2])
source = Published(pack="pack", origin=origin, members="(.*)", files=1, content=None)
fetch(source, name="songs", licence=Licence(name="MIT", note="", consent=False), citation="", accepted=())
"""


def test_a_killed_download_is_repeated_by_the_same_call(served: ServedFile, cache: Path) -> None:
    served.stop_after = len(BODY) // 2
    command = [sys.executable, "-c", CHILD, served.url, SHA256]
    with subprocess.Popen(command, cwd=Path(__file__).parents[3]) as child:
        deadline = time.monotonic() + 30
        while not any(part.stat().st_size for part in parts(cache)) and time.monotonic() < deadline:
            time.sleep(0.01)
        child.send_signal(signal.SIGKILL)
    (part,) = parts(cache)
    assert 0 < part.stat().st_size < len(BODY)
    assert left(cache) == {part.parent.name}
    served.stop_after = None
    served.go_on.set()
    assert subprocess.run(command, cwd=Path(__file__).parents[3], check=False).returncode == 0
    assert (cache / "official.zip").read_bytes() == BODY
    assert left(cache) == {"official.zip"}


def parts(folder: Path) -> list[Path]:
    """Return the files that downloads are written to."""
    return list(folder.glob(".*/official.zip"))


def test_of_two_downloads_of_the_same_file_one_waits_for_the_other(served: ServedFile) -> None:
    served.stop_after = len(BODY) // 2
    with ThreadPoolExecutor(2) as pool:
        both = [pool.submit(get, published(archive(served.url))) for _ in range(2)]
        time.sleep(0.3)
        served.go_on.set()
        assert len({future.result().read_bytes() for future in both}) == 1
    assert len(served.requests) == 1


def test_an_address_that_is_not_found_is_a_sentence(served: ServedFile, cache: Path) -> None:
    url = served.url.replace("/file", "/gone")
    assert sentence(lambda: get(published(archive(url)))).startswith(
        f"{url} answers 404 Not Found: try again later, or"
    )
    assert "official.zip" not in left(cache)


def test_a_server_that_cannot_be_reached_is_a_sentence(cache: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/file"  # nobody listens
        assert sentence(lambda: get(published(archive(url)))).startswith(f"{url} cannot be reached: check the network")
    assert sentence(lambda: get(published(archive("http://no.such.host.invalid/file"))))
    assert "official.zip" not in left(cache)


def test_a_full_disk_is_a_sentence(served: ServedFile, cache: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(BODY) // 2, hard))
    try:
        text = sentence(lambda: get(published(archive(served.url))))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert text == f"{cache / 'official.zip'} cannot be written (File too large): free some space, or set ETUDE_CACHE."
    assert get(published(archive(served.url))).read_bytes() == BODY  # with free space


def zipped(path: Path, content: bytes) -> bytes:
    with zipfile.ZipFile(path, "w") as writer:
        writer.writestr("top/a.mid", content)
    return path.read_bytes()


def test_an_archive_without_a_checksum_is_verified_by_its_content(
    served: ServedFile, tmp_path: Path, cache: Path
) -> None:
    content = hashlib.sha256(hashlib.sha256(b"music").hexdigest().encode()).hexdigest()
    source = published(archive(served.url, None), content)
    served.body = zipped(tmp_path / "a.zip", b"noise")
    assert f"is not the published file ({content} expected, " in sentence(lambda: get(source))
    served.body = b"<html>Sorry!</html>"
    assert "cannot be read as an archive" in sentence(lambda: get(source))
    assert left(cache) == set()
    served.body = zipped(tmp_path / "a.zip", b"music")
    assert get(source) == cache / "official.zip"


def test_a_corpus_that_only_a_person_can_download_is_explained_and_verified(cache: Path) -> None:
    assert sentence(lambda: get(published(BY_HAND))) == (
        f"songs cannot be downloaded by a program: at http://page agree, and put by-hand.zip into {cache} or a folder"
        " of ETUDE_DATA."
    )
    cache.mkdir(parents=True)
    (cache / "by-hand.zip").write_bytes(BODY)
    assert get(published(BY_HAND)) == cache / "by-hand.zip"
    (cache / "by-hand.zip").write_bytes(BODY[:-1])
    assert f"{SHA256} expected" in sentence(lambda: get(published(BY_HAND)))
    assert (cache / "by-hand.zip").exists()  # it is the user's


def test_the_first_folder_of_the_search_path_wins_and_the_cache_is_last(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = published(archive(""))
    first, second = tmp_path / "first", tmp_path / "second"
    monkeypatch.setenv("ETUDE_DATA", f"{first}{os.pathsep}{second}{os.pathsep}")
    assert (
        sentence(lambda: find(source))
        == f"{first}, named in ETUDE_DATA, is not a folder: create it, or remove it from ETUDE_DATA."
    )
    for folder in (first, second, cache):
        folder.mkdir(parents=True)
    assert find(source) is None
    for path in (cache / "official.zip", second / "official.zip", second / "pack.tar.xz", first / "pack.zip"):
        path.touch()
        assert find(source) == get(source) == path
    (first / "pack").mkdir()
    assert find(source) == first / "pack"
    assert find(source, str(second)) == second / "pack.tar.xz"
    assert find(source, "") == cache / "official.zip"


def test_by_default_downloads_are_kept_in_the_cache_of_the_user(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ETUDE_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", "/caches")
    assert downloads() == Path("/caches/etude/downloads")


def test_a_cache_that_cannot_be_created_is_a_sentence(served: ServedFile, cache: Path) -> None:
    cache.parent.touch()
    source = replace(published(archive(served.url)), pack="other")
    assert "cannot be written (" in sentence(lambda: get(source))
