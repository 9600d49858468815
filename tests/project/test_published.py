from __future__ import annotations

import csv
import hashlib
import io
import os
import re
import tarfile
import zipfile
from typing import TYPE_CHECKING

import pytest

from replication.corpora.archives import midi_files
from replication.corpora.catalogue import PUBLISHED, Archive, ByHand, Published
from replication.corpora.download import find
from replication.corpora.verification import Verification, verify
from replication.util.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

FILES = {f"top/{number}.mid": b"music %d" % number for number in range(4)}
CONTENT = hashlib.sha256(
    "\n".join(sorted(hashlib.sha256(content).hexdigest() for content in FILES.values())).encode()
).hexdigest()
SOURCE = Published(
    pack="pack",
    origin=Archive(url="", file="official.zip", checksum=None),
    members=r"(?:.*/)?(top/\d\.mid)",
    files=len(FILES),
    content=CONTENT,
)
SHARED = ("adl", "asap-scores", "js-fakes", "piano-midi-de", "pop909-cl")


def manifest(files: dict[str, bytes]) -> bytes:
    text = io.StringIO(newline="")
    rows = csv.writer(text)
    rows.writerow(("path", "bytes", "sha256"))
    rows.writerows((name, len(content), hashlib.sha256(content).hexdigest()) for name, content in files.items())
    return text.getvalue().encode()


def as_folder(root: Path, files: dict[str, bytes]) -> Path:
    for name, content in files.items():
        (root / "pack" / name).parent.mkdir(parents=True, exist_ok=True)
        (root / "pack" / name).write_bytes(content)
    return root / "pack"


def as_zip(root: Path, files: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(root / "pack.zip", "w") as archive:
        for name, content in files.items():
            archive.writestr(f"pack/{name}", content)
    return root / "pack.zip"


def as_tar(root: Path, files: dict[str, bytes]) -> Path:
    with tarfile.open(root / "pack.tar.xz", "w:xz") as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(f"pack/{name}")
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return root / "pack.tar.xz"


CONTAINERS: list[Callable[[Path, dict[str, bytes]], Path]] = [as_folder, as_zip, as_tar]


@pytest.mark.parametrize("pack", CONTAINERS)
@pytest.mark.parametrize("listed", [True, False])
def test_a_complete_pack_is_valid_with_and_without_a_manifest(
    tmp_path: Path, pack: Callable[[Path, dict[str, bytes]], Path], listed: bool
) -> None:
    texts = {"README.md": b"not music", "other.mid": b"not a member"}
    files = texts | FILES | ({"MANIFEST.csv": manifest(FILES | texts)} if listed else {})
    assert verify(SOURCE, pack(tmp_path, files)) == Verification(
        files=4, content=CONTENT, missing=(), extra=(), damaged=(), ok=True
    )


@pytest.mark.parametrize("pack", CONTAINERS)
def test_the_manifest_shows_which_files_are_wrong(
    tmp_path: Path, pack: Callable[[Path, dict[str, bytes]], Path]
) -> None:
    files = FILES | {"MANIFEST.csv": manifest(FILES), "top/1.mid": b"noise", "top/9.mid": b"more"}
    del files["top/2.mid"]
    top = "" if pack is as_folder else "pack/"
    found = verify(SOURCE, pack(tmp_path, files))
    assert (found.files, found.ok) == (4, False)
    assert found.damaged == (f"{top}top/1.mid",)
    assert found.missing == (f"{top}top/2.mid",)
    assert found.extra == (f"{top}top/9.mid",)
    assert found.content != CONTENT


def test_without_a_manifest_the_content_shows_that_something_is_wrong(tmp_path: Path) -> None:
    found = verify(SOURCE, as_folder(tmp_path, FILES | {"top/1.mid": b"noise"}))
    assert (found.files, found.missing, found.extra, found.damaged, found.ok) == (4, (), (), (), False)


def test_a_manifest_that_was_changed_with_its_files_does_not_help(tmp_path: Path) -> None:
    files = FILES | {"top/1.mid": b"noise"}
    found = verify(SOURCE, as_folder(tmp_path, files | {"MANIFEST.csv": manifest(files)}))
    assert (found.damaged, found.ok) == ((), False)


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_file_that_is_there_twice_is_extra(tmp_path: Path) -> None:
    path = as_zip(tmp_path, FILES | {"MANIFEST.csv": manifest(FILES)})
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("pack/top/1.mid", FILES["top/1.mid"])
    found = verify(SOURCE, path)
    assert (found.files, found.extra, found.ok) == (5, ("pack/top/1.mid",), False)


@pytest.mark.parametrize("content", [b"\xff", b"a,b\n1,2\n", b'path,sha256\n"x', b"path\nx\n"])
def test_a_damaged_manifest_gives_a_message(tmp_path: Path, content: bytes) -> None:
    path = as_folder(tmp_path, FILES | {"MANIFEST.csv": content})
    with pytest.raises(UserError, match=r"MANIFEST\.csv of .*pack is damaged \(.*\): copy or download pack again\.$"):
        verify(SOURCE, path)


def test_every_row_is_complete() -> None:
    packs = [row.source.pack for row in PUBLISHED.values()]
    assert len(set(packs)) == len(packs)
    for name, row in PUBLISHED.items():
        origin = row.source.origin
        assert row.title, name
        assert row.citation, name
        assert re.compile(row.source.members).groups == 1, name
        assert row.source.files > 0, name
        assert re.fullmatch("[0-9a-f]{64}", row.source.content or "0" * 64), name
        assert re.fullmatch(
            r"sha256:[0-9a-f]{64}|md5:[0-9a-f]{32}|git:[0-9a-f]{40}", origin.checksum or f"git:{'0' * 40}"
        )
        # Every download can be checked in at least one way.
        assert origin.checksum or row.source.content, name
        assert isinstance(origin, ByHand) or origin.url.startswith("http"), name


def test_music_without_a_licence_or_with_a_non_commercial_one_needs_consent() -> None:
    asked = {name for name, row in PUBLISHED.items() if row.licence.consent}
    strict = {name for name, row in PUBLISHED.items() if "NC" in row.licence.name or row.licence.name == "none-stated"}
    assert asked == strict == {"adl", "maestro", "asap-scores"}


@pytest.mark.parametrize(
    ("corpus", "name", "id_"),
    [
        ("adl", "adl-piano-midi/Rock/Alternative Rock/Joke/.mid", "Rock/Alternative Rock/Joke/.mid"),
        ("adl", "Rock/Alternative Rock/Joke/.mid", "Rock/Alternative Rock/Joke/.mid"),
        ("lakh-piano", f"lmd_full/0/{'0' * 32}.mid", f"{'0' * 32}.mid"),
        ("lakh-matched-piano", f"lmd_matched/A/B/C/TRABC1/{'0' * 32}.mid", f"TRABC1/{'0' * 32}.mid"),
        ("maestro", "maestro-v3.0.0/2004/x.midi", "2004/x.midi"),
        ("giantmidi", "midis_v1.2/midis/Bach, x, y.mid", "Bach, x, y.mid"),
        ("pop909", "POP909-Dataset-d83e6ed/POP909/001/001.mid", "001.mid"),
        ("pop909", "POP909/001/versions/001-v1.mid", None),
        ("pop909-cl", "pop909-cl/POP909_processed/043 .mid", "043 .mid"),
        ("pop909-cl", "POP909-CL-Dataset-be90/POP909_chord_annotated/001.mid", None),
        ("piano-midi-de", "ClassicalPianoMIDI-dataset-505a/midis/Haydn/h.mid", "Haydn/h.mid"),
        ("asap-scores", "asap-dataset-4097/Bach/Fugue/bwv_846/midi_score.mid", "Bach/Fugue/bwv_846/midi_score.mid"),
        ("asap-scores", "asap-scores/Glinka/The_Lark/midi_score.mid", "Glinka/The_Lark/midi_score.mid"),
        ("asap-scores", "Glinka/The_Lark/midi_score.mid", "Glinka/The_Lark/midi_score.mid"),
        ("asap-scores", "asap-dataset-4097/Bach/Fugue/bwv_846/Shi05M.mid", None),
        ("js-fakes", "js-fakes/jsf-extended/12.mid", "jsf-extended/12.mid"),
    ],
)
def test_a_file_has_one_id_in_every_container(corpus: str, name: str, id_: str | None) -> None:
    match = re.fullmatch(PUBLISHED[corpus].source.members, name)
    assert (match and match[1]) == id_


@pytest.mark.slow
@pytest.mark.parametrize("corpus", SHARED)
def test_a_pack_on_the_search_path_is_the_published_one(corpus: str) -> None:
    source = PUBLISHED[corpus].source
    path = find(source) if os.environ.get("ETUDE_DATA") else None
    if path is None:
        pytest.skip(f"no {source.pack} in ETUDE_DATA")
    found = verify(source, path)
    assert found.ok, found
    assert found.files == source.files
    ids = [id_ for id_, _ in midi_files(path, re.compile(source.members))]
    assert len(set(ids)) == source.files
