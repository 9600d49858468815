from __future__ import annotations

import gzip
import io
import os
import re
import stat
import tarfile
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import pytest

from replication.corpora import archives
from replication.corpora.archives import content_key, midi_files, other_files
from replication.midi.smf import Reason
from replication.util.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Callable

Contents = list[tuple[str, bytes]]  # names may come twice

MODES: dict[str, Literal["w", "w:gz", "w:xz"]] = {
    "music.tar": "w",
    "music.tar.gz": "w:gz",
    "music.tgz": "w:gz",
    "music.tar.xz": "w:xz",
}


def as_folder(root: Path, contents: Contents) -> Path:
    for name, content in contents:
        (root / "music" / name).parent.mkdir(parents=True, exist_ok=True)
        (root / "music" / name).write_bytes(content)
    return root / "music"


def as_zip(root: Path, contents: Contents) -> Path:
    with zipfile.ZipFile(root / "music.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in contents:
            archive.writestr(name, content)
    return root / "music.zip"


def as_tar(name: str) -> Callable[[Path, Contents], Path]:
    def write(root: Path, contents: Contents) -> Path:
        with tarfile.open(root / name, MODES[name]) as archive:
            for member, content in contents:
                info = tarfile.TarInfo(member)
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
        return root / name

    return write


PACKED = {"zip": as_zip} | {name: as_tar(name) for name in MODES}
CONTAINERS = {"folder": as_folder} | PACKED


def message(act: Callable[[], object]) -> str:
    with pytest.raises(UserError) as caught:
        act()
    return str(caught.value)


@pytest.mark.parametrize("container", CONTAINERS)
def test_a_pattern_selects_members_and_gives_their_ids(tmp_path: Path, container: str) -> None:
    contents = [("top/b/2.mid", b"b"), ("top/a/1.mid", b"a"), ("top/a/versions/1-v1.mid", b"v"), ("top/a/1.txt", b"t")]
    path = CONTAINERS[container](tmp_path, contents)
    found = list(midi_files(path, re.compile(r"(?:.*/)?(\w/\d\.mid)")))
    assert sorted(found) == [("a/1.mid", b"a"), ("b/2.mid", b"b")]
    if not container.startswith("music"):  # tar files are streamed
        assert found == sorted(found)


@pytest.mark.parametrize("container", PACKED)
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_members_with_the_same_name_get_different_ids(tmp_path: Path, container: str) -> None:
    contents = [
        ("a.mid", b"1"),
        ("a.mid", b"2"),
        ("a (2).mid", b"3"),
        ("a.mid", b"4"),
        ("b/.mid", b"5"),
        ("b/.mid", b"6"),
    ]
    found = dict(midi_files(PACKED[container](tmp_path, contents)))
    assert sorted(content for content in found.values() if isinstance(content, bytes)) == [
        b"%d" % n for n in range(1, 7)
    ]
    assert found["a.mid"] == b"1"
    assert {"a (2).mid", "a (3).mid", "b/.mid", "b/ (2).mid"} < set(found)


def test_names_with_the_same_id_get_different_ids(tmp_path: Path) -> None:
    path = as_folder(tmp_path, [("a/1.mid", b"a"), ("b/1.mid", b"b")])
    assert dict(midi_files(path, re.compile(r".*/(.*)"))) == {"1.mid": b"a", "1 (2).mid": b"b"}


@pytest.mark.parametrize("container", PACKED)
def test_ids_do_not_lead_out_of_a_folder(tmp_path: Path, container: str) -> None:
    names = ["../../up.mid", "/etc/absolute.mid", "a/../../b.mid", "//double.mid", "./here.mid"]
    found = dict(midi_files(PACKED[container](tmp_path, [(name, name.encode()) for name in names])))
    assert set(found) == {"up.mid", "etc/absolute.mid", "a/b.mid", "double.mid", "here.mid"}
    assert [path.name for path in tmp_path.iterdir()] == [PACKED[container](tmp_path, []).name]


@pytest.mark.parametrize("container", CONTAINERS)
def test_all_endings_of_midi_files_are_read_in_any_case(tmp_path: Path, container: str) -> None:
    names = ["a.mid", "b.MIDI", "c/d.kar", "c/E.Rmi", "f.SMF", ".mid"]
    path = CONTAINERS[container](tmp_path, [(name, name.encode()) for name in names])
    assert dict(midi_files(path)) == {name: name.encode() for name in names}
    assert other_files(path, tmp_path / "memo") == {}


@pytest.mark.parametrize("container", CONTAINERS)
def test_what_is_not_read_is_counted_by_kind(tmp_path: Path, container: str) -> None:
    names = ["a.mid.gz", "b.Mid.GZ", "inner.zip", "c/inner.tar.xz", "c/song.mp3", "No. 5", "README", "a.mid", "b/1.mid"]
    shadows = ["._a.mid.gz", "__MACOSX/c/song.mp3"]
    path = CONTAINERS[container](tmp_path, [(name, b"") for name in names + shadows])
    expected = {".mid.gz": 2, "other files": 2, ".mp3": 1, ".tar.xz": 1, ".zip": 1}
    assert other_files(path, tmp_path / "memo") == expected
    assert other_files(path, tmp_path / "memo", re.compile(r"b/(.*)")) == expected | {
        "MIDI files outside the corpus": 1
    }


def test_the_counts_of_an_archive_are_kept_until_it_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = as_zip(tmp_path, [("a.mp3", b""), ("b.mid", b"")])
    first = other_files(path, tmp_path / "memo")
    assert first == {".mp3": 1}
    with monkeypatch.context() as context:
        context.setattr(archives, "_entries", None)
        assert other_files(path, tmp_path / "memo") == first
    everything = other_files(path, tmp_path / "memo", re.compile("(c.mid)"))
    assert everything == {".mp3": 1, "MIDI files outside the corpus": 1}
    as_zip(tmp_path, [("a.mp3", b""), ("b.mp3", b"")])
    assert other_files(path, tmp_path / "memo") == {".mp3": 2}


def test_endings_without_number_are_counted_together(tmp_path: Path) -> None:
    path = as_zip(tmp_path, [(f"a.{number:02d}", b"") for number in range(100)])
    assert other_files(path, tmp_path / "memo") == {"other files": 80} | {f".{number:02d}": 1 for number in range(20)}


def test_linked_folders_are_counted_and_not_opened(tmp_path: Path) -> None:
    path = as_folder(tmp_path, [("a.mid", b"a"), ("b/c.mid", b"c")])
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "d.mid").write_bytes(b"d")
    for name, target in {"up": path, "b/twice": path / "b", "away.mid": outside}.items():
        (path / name).symlink_to(target, target_is_directory=True)
    (path / "lost.mid").symlink_to(path / "nowhere")
    (path / "self.mid").symlink_to(path / "self.mid")
    (path / "file.mid").symlink_to(outside / "d.mid")  # as data tools lay out their stores
    assert dict(midi_files(path)) == {"a.mid": b"a", "b/c.mid": b"c", "file.mid": b"d"}
    assert other_files(path, tmp_path / "memo") == {"linked folders": 3, "links": 2}
    (tmp_path / "named").symlink_to(path, target_is_directory=True)  # what the user names may be a link itself
    assert len(dict(midi_files(tmp_path / "named"))) == 3


def test_backslashes_in_a_zip_file_separate_folders(tmp_path: Path) -> None:
    names = [
        "pack\\a\\1.mid",
        "pack/a/2.mid",
        "__MACOSX\\pack\\._1.mid",
        "pack\\._2.mid",
        "..\\up.mid",
        "C:\\drive.mid",
    ]
    path = as_zip(tmp_path, [("pack\\folder.mid\\", b""), ("pack\\notes.txt", b""), *((name, b"") for name in names)])
    assert {name for name, _ in midi_files(path)} == {"pack/a/1.mid", "pack/a/2.mid", "up.mid", "C:/drive.mid"}
    assert other_files(path, tmp_path / "memo") == {".txt": 1}
    selected = midi_files(path, re.compile(r"pack/(a/\d\.mid)"))
    assert [name for name, _ in selected] == ["a/1.mid", "a/2.mid"]


def test_members_that_are_not_regular_files_are_skipped(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        for kind in (
            tarfile.SYMTYPE,
            tarfile.LNKTYPE,
            tarfile.CHRTYPE,
            tarfile.BLKTYPE,
            tarfile.FIFOTYPE,
            tarfile.DIRTYPE,
        ):
            info = tarfile.TarInfo(f"{kind.decode()}.mid")
            info.type, info.linkname = kind, "/etc/hostname"
            tar.addfile(info)
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        link = zipfile.ZipInfo("link.mid")
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(link, "/etc/hostname")
        archive.mkdir("folder.mid")
    os.mkfifo(tmp_path / "pipe.mid")
    kinds = {
        tmp_path / "a.tar": {"special files": 3, "links": 2},
        tmp_path / "a.zip": {"links": 1},
        tmp_path: {".tar": 1, ".zip": 1, ".json": 2, "special files": 1},  # with the notes of the two counts
    }
    for path, expected in kinds.items():
        assert list(midi_files(path)) == []
        assert other_files(path, tmp_path / "memo") == expected


@pytest.mark.parametrize("container", PACKED)
def test_an_archive_with_too_many_members_is_refused(
    tmp_path: Path, container: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = PACKED[container](tmp_path, [(f"{number}.txt", b"") for number in range(10)])
    assert list(midi_files(path)) == []
    monkeypatch.setattr(archives, "MOST_MEMBERS", 9)
    assert (
        message(lambda: list(midi_files(path)))
        == f"{path} has more than 9 members: give an archive of MIDI files only."
    )


@pytest.mark.parametrize("name", ["bomb.mid", "bomb.txt"])
@pytest.mark.parametrize("container", PACKED)
def test_an_archive_that_unpacks_to_too_many_bytes_is_refused(
    tmp_path: Path, container: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = PACKED[container](tmp_path, [(f"{number}{name}", bytes(2**20)) for number in range(4)])
    assert len(list(midi_files(path))) == (4 if name == "bomb.mid" else 0)
    monkeypatch.setattr(archives, "MOST_BYTES", 3 * 2**20)
    assert message(lambda: list(midi_files(path))) == (
        f"{path} unpacks to more than 3,145,728 bytes: give an archive of MIDI files only."
    )


@pytest.mark.parametrize("container", CONTAINERS)
def test_a_file_that_is_too_large_does_not_affect_the_others(
    tmp_path: Path, container: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = CONTAINERS[container](tmp_path, [("a.mid", bytes(2001)), ("b.mid", b"b")])
    monkeypatch.setattr(archives, "LARGEST", 2000)
    assert dict(midi_files(path)) == {"a.mid": Reason.TOO_LARGE, "b.mid": b"b"}


@pytest.mark.parametrize("kind", [tarfile.GNUTYPE_LONGNAME, tarfile.XHDTYPE], ids=["GNU", "pax"])
def test_a_header_that_asks_for_gigabytes_is_refused_without_reading_them(tmp_path: Path, kind: bytes) -> None:
    header = tarfile.TarInfo("long")
    header.type, header.size = kind, 2**33 - 1
    with gzip.open(tmp_path / "a.tar.gz", "wb") as file:
        file.write(header.tobuf(tarfile.GNU_FORMAT) + bytes(2**20))
    text = message(lambda: list(midi_files(tmp_path / "a.tar.gz")))
    assert "(a header that asks for gigabytes)" in text


def test_members_that_zipfile_would_unpack_without_a_limit_are_not_unpacked(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for method in (zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA, zipfile.ZIP_STORED):
            archive.writestr(f"{method}.mid", b"content", compress_type=method)
    assert dict(midi_files(tmp_path / "a.zip")) == {
        f"{zipfile.ZIP_BZIP2}.mid": Reason.UNREADABLE,
        f"{zipfile.ZIP_LZMA}.mid": Reason.UNREADABLE,
        f"{zipfile.ZIP_STORED}.mid": b"content",
    }


def test_a_member_is_read_only_to_the_size_that_it_declares(tmp_path: Path) -> None:
    path = as_zip(tmp_path, [("a.mid", bytes(2**20))])
    content = bytearray(path.read_bytes())
    for place in (content.find(b"PK\3\4") + 22, content.find(b"PK\1\2") + 24):  # where the size is
        content[place : place + 4] = (100).to_bytes(4, "little")
    path.write_bytes(content)
    assert dict(midi_files(path)) == {"a.mid": Reason.UNREADABLE}


@pytest.mark.parametrize("container", ["music.tgz", "music.tar.xz"])
def test_damage_of_a_compressed_tar_file_is_always_reported(tmp_path: Path, container: str) -> None:
    path = PACKED[container](tmp_path, [(f"{number}.mid", os.urandom(2000)) for number in range(5)])
    whole = path.read_bytes()
    for place in range(100, len(whole), 97):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 255]) + whole[place + 1 :])
        assert "cannot be read as an archive" in message(lambda: list(midi_files(path)))


def test_a_damaged_header_in_a_compressed_tar_file_is_reported(tmp_path: Path) -> None:
    plain = bytearray(as_tar("music.tar")(tmp_path, [("a.mid", b"a"), ("b.mid", b"b")]).read_bytes())
    plain[2 * tarfile.BLOCKSIZE] ^= 255
    (tmp_path / "a.tar.gz").write_bytes(gzip.compress(plain))
    assert "(a damaged file header)" in message(lambda: list(midi_files(tmp_path / "a.tar.gz")))


@pytest.mark.parametrize("container", ["folder", "zip"])
def test_the_key_of_the_content_is_kept_until_a_file_changes(
    tmp_path: Path, container: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    memo = tmp_path / "memo"
    path = CONTAINERS[container](tmp_path, [("a.mid", b"a"), ("b.mid", b"b")])
    hashed = []
    hash_ = archives._hash

    def count(path: Path) -> str:
        hashed.append(path)
        return hash_(path)

    monkeypatch.setattr(archives, "_hash", count)
    first = content_key(path, memo)
    assert content_key(path, memo) == first
    monkeypatch.chdir(tmp_path)
    assert content_key(Path(path.name), memo) == first
    assert len(hashed) == 1

    changed = path / "a.mid" if path.is_dir() else path
    content, times = changed.read_bytes(), changed.stat()
    changed.write_bytes(content[:-1] + b"!")  # as many bytes, and the old times
    os.utime(changed, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert content_key(path, memo) != first
    changed.write_bytes(content)
    assert content_key(path, memo) == first
    assert len(hashed) == 3

    (note,) = memo.iterdir()
    note.write_text("{")
    assert content_key(path, memo) == first
    assert len(hashed) == 4


def test_the_key_of_a_folder_depends_on_its_midi_files_only(tmp_path: Path) -> None:
    path = as_folder(tmp_path, [("a.mid", b"a"), ("b.mid", b"b")])
    first = content_key(path, tmp_path / "memo")
    (path / "readme.txt").touch()
    assert content_key(path, tmp_path / "memo") == first
    (path / "c.mid").symlink_to(path / "nowhere")
    assert content_key(path, tmp_path / "memo") == first
    (path / "a.mid").rename(path / "c.mid")
    assert content_key(path, tmp_path / "memo") != first
