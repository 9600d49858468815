from __future__ import annotations

import io
import os
import subprocess
import sys
import tarfile
import zipfile
from typing import TYPE_CHECKING, Literal

import numpy as np
import pytest

from replication.corpora import archives
from replication.corpora import reading as reading_module
from replication.corpora.catalogue import Licence
from replication.corpora.corpus import CORPORA, Corpus, folder_corpus
from replication.corpora.reading import Dropped, Loaded, load
from replication.corpora.sources import Music21Bach, Synthetic
from replication.midi.piece import PAPER_GRID, Beats, Piece, Seconds, sorted_notes
from replication.midi.smf import Reading, Reason, write_midi
from replication.util.errors import UserError
from tests.support.midi_bytes import after, midi, track

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

FREE = Licence(name="free", note="", consent=False)
NAMES = ("a.mid", "b/UPPER.MID", "b/.mid", "b/deep/er.midi")
ADVICE = ".mid, .midi, .kar, .rmi, .smf files; inner archives and linked folders are not opened."
JUNK = ("notes.txt", "__MACOSX/a.mid", "b/._er.midi", "midi")


@pytest.fixture
def contents(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """Return good files by name, each with one note whose pitch is 60 and its number, and junk."""
    file = tmp_path_factory.mktemp("notes") / "a.mid"
    good = {}
    for number, name in enumerate(NAMES):
        write_midi(Piece(notes=sorted_notes([(number, 8, 60 + number, 64)]), id="", group=""), file)
        good[name] = file.read_bytes()
    return good | dict.fromkeys(JUNK, b"junk")


def as_folder(root: Path, contents: dict[str, bytes]) -> Path:
    for name, content in contents.items():
        (root / "music" / name).parent.mkdir(parents=True, exist_ok=True)
        (root / "music" / name).write_bytes(content)
    return root / "music"


def as_zip(root: Path, contents: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(root / "music.ZIP", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.mkdir("folder.mid")
        link = zipfile.ZipInfo("link.mid")
        link.external_attr = 0o120777 << 16
        archive.writestr(link, "a.mid")
        for name, content in contents.items():
            archive.writestr(name, content)
    return root / "music.ZIP"


MODES: dict[str, Literal["w", "w:gz", "w:xz"]] = {
    "music.tar": "w",
    "music.tar.gz": "w:gz",
    "music.tgz": "w:gz",
    "music.tar.xz": "w:xz",
}


def as_tar(name: str) -> Callable[[Path, dict[str, bytes]], Path]:
    def write(root: Path, contents: dict[str, bytes]) -> Path:
        with tarfile.open(root / name, MODES[name]) as archive:
            for kind in (tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.FIFOTYPE):
                info = tarfile.TarInfo(f"{kind.decode()}.mid")
                info.type, info.linkname = kind, "a.mid"
                archive.addfile(info)
            for member, content in contents.items():
                info = tarfile.TarInfo(f"./{member}")
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
        return root / name

    return write


CONTAINERS = {"folder": as_folder, "zip": as_zip} | {name: as_tar(name) for name in MODES}


def everything(loaded: Loaded) -> tuple[object, ...]:
    pieces = [(piece.id, piece.group, piece.grid, piece.notes.dtype, piece.notes.tolist()) for piece in loaded.pieces]
    return pieces, loaded.dropped, loaded.digest


def message(act: Callable[[], object]) -> str:
    with pytest.raises(UserError) as caught:
        act()
    return str(caught.value)


@pytest.mark.parametrize("container", CONTAINERS)
def test_every_container_gives_the_same_pieces(tmp_path: Path, contents: dict[str, bytes], container: str) -> None:
    loaded = load(folder_corpus(CONTAINERS[container](tmp_path, contents)), tmp_path / "cache")
    assert [piece.id for piece in loaded.pieces] == sorted(NAMES)
    assert {piece.id: piece.notes.tolist() for piece in loaded.pieces} == {
        name: [(number, 8, 60 + number, 64)] for number, name in enumerate(NAMES)
    }
    assert loaded.dropped == ()
    again = load(folder_corpus(as_folder(tmp_path / "other", contents)), tmp_path / "cache")
    assert loaded.digest == again.digest


@pytest.mark.parametrize("container", CONTAINERS)
def test_every_file_gives_a_piece_or_a_reason(
    tmp_path: Path, contents: dict[str, bytes], container: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archives, "LARGEST", 1000)
    no_notes = b"MThd\0\0\0\6\0\1\0\0\1\xe0"
    bad = {"bad/0.mid": b"", "bad/1.mid": b"junk", "bad/2.mid": no_notes, "bad/3.mid": bytes(1001)}
    corpus = folder_corpus(CONTAINERS[container](tmp_path, contents | bad))
    reasons = (Reason.UNREADABLE, Reason.UNREADABLE, Reason.EMPTY, Reason.TOO_LARGE)
    first, second = (load(corpus, tmp_path / "cache") for _ in range(2))
    assert first.dropped == tuple(Dropped(id=name, reason=reason) for name, reason in zip(bad, reasons, strict=True))
    assert len(first.pieces) == len(NAMES)
    assert everything(first) == everything(second)


def test_missing_note_offs_are_counted_by_piece(tmp_path: Path, contents: dict[str, bytes]) -> None:
    strikes = [after(wait, 0x90, 60, 64) for wait in (0, 240, 240)]
    loaded = load(folder_corpus(as_folder(tmp_path, contents | {"aa.mid": midi(track(*strikes))})), tmp_path / "cache")
    assert loaded.ids[1] == "aa.mid"
    assert [piece.lost for piece in loaded.pieces] == [(0, 0), (2, 1), (0, 0), (0, 0), (0, 0)]
    assert loaded.lost.tolist() == [list(piece.lost) for piece in loaded.pieces]


def test_a_damaged_member_of_a_zip_does_not_affect_the_others(tmp_path: Path, contents: dict[str, bytes]) -> None:
    path = as_zip(tmp_path, contents)
    with zipfile.ZipFile(path) as archive:
        start = archive.getinfo("b/.mid").header_offset + 30 + len("b/.mid")
    content = bytearray(path.read_bytes())
    content[start + 5] ^= 255
    path.write_bytes(content)
    loaded = load(folder_corpus(path), tmp_path / "cache")
    assert loaded.dropped == (Dropped(id="b/.mid", reason=Reason.UNREADABLE),)
    assert len(loaded.pieces) == len(NAMES) - 1


def test_an_edited_file_is_read_again(tmp_path: Path, contents: dict[str, bytes]) -> None:
    path = as_folder(tmp_path, contents)
    first = load(folder_corpus(path), tmp_path / "cache")
    os.replace(path / "a.mid", path / "b" / "UPPER.MID")  # noqa: PTH105 - one move changes two files
    second = load(folder_corpus(path), tmp_path / "cache")
    assert len(second.pieces) == len(first.pieces) - 1
    assert second.digest != first.digest


def test_file_names_need_not_be_unicode(tmp_path: Path, contents: dict[str, bytes]) -> None:
    path = as_folder(tmp_path, {"a.mid": contents["a.mid"]})
    try:
        (path / "a.mid").rename(path / "caf\udce9.mid")
    except OSError:
        pytest.skip("this file system has Unicode names only")
    first, second = (load(folder_corpus(path), tmp_path / "cache") for _ in range(2))
    assert [piece.id for piece in second.pieces] == ["caf\udce9.mid"]
    assert everything(first) == everything(second)


def test_a_path_that_is_missing_or_not_a_container_is_refused_at_once(tmp_path: Path) -> None:
    (tmp_path / "a.mid").touch()
    assert message(lambda: folder_corpus(tmp_path / "gone")) == (
        f"{tmp_path}/gone does not exist: give a folder or an archive of MIDI files."
    )
    assert message(lambda: folder_corpus(tmp_path / "a.mid")) == (
        f"{tmp_path}/a.mid is neither a folder nor an archive (.zip, .tar, .tar.gz, .tar.xz, .tgz): "
        "give one with MIDI files."
    )


@pytest.mark.parametrize("container", CONTAINERS)
def test_containers_without_music_are_refused(tmp_path: Path, container: str) -> None:
    kinds = ".txt: 2, .mid.gz: 1, .zip: 1"
    kinds += {"folder": "", "zip": ", links: 1"}.get(container, ", links: 1, special files: 1")
    for number, (contents, text) in enumerate(
        (
            (
                {"a.txt": b"junk", "b.mid.gz": b"junk", "c/d.zip": b"PK", "d.TXT": b"", "__MACOSX/._a.mid": b""},
                f"holds no MIDI files ({kinds}): give one with {ADVICE}",
            ),
            (
                {"a.mid": b"", "b.mid": b"junk", "c.mid": b"MThd\0\0\0\6\0\1\0\0\1\xe0"},
                "holds no MIDI file that gives a piece (2 unreadable, 1 empty): give one with music.",
            ),
        )
    ):
        (tmp_path / str(number)).mkdir()
        path = CONTAINERS[container](tmp_path / str(number), contents)
        corpus = folder_corpus(path)
        assert message(lambda corpus=corpus: load(corpus, tmp_path / "cache")) == f"{path} {text}"  # type: ignore[misc]
    assert not list((tmp_path / "cache").glob("pieces-*"))


def test_an_empty_folder_is_refused_without_counts(tmp_path: Path) -> None:
    (tmp_path / "music").mkdir()
    text = message(lambda: load(folder_corpus(tmp_path / "music"), tmp_path / "cache"))
    assert text == f"{tmp_path}/music holds no MIDI files: give one with {ADVICE}"


@pytest.mark.parametrize("container", ["zip", *MODES])
def test_a_damaged_archive_is_refused(tmp_path: Path, contents: dict[str, bytes], container: str) -> None:
    path = CONTAINERS[container](tmp_path, contents)
    whole = path.read_bytes()
    for part in (b"", b"junk" * 300, whole[: len(whole) // 3]):
        path.write_bytes(part)
        text = message(lambda: load(folder_corpus(path), tmp_path / "cache"))
        assert text.startswith(f"{path} cannot be read as an archive (")
        assert text.endswith("): copy or download it again.")


def test_a_damaged_header_is_not_the_end_of_a_tar_file(tmp_path: Path, contents: dict[str, bytes]) -> None:
    path = as_tar("music.tar")(tmp_path, contents)
    with tarfile.open(path) as archive:
        start = archive.getmember("./b/.mid").offset
    content = bytearray(path.read_bytes())
    content[start] ^= 255
    path.write_bytes(content)
    text = message(lambda: load(folder_corpus(path), tmp_path / "cache"))
    assert "(a damaged file header)" in text


def test_the_synthetic_pieces_have_the_documented_ranges(tmp_path: Path) -> None:
    loaded = load(CORPORA["synthetic"], tmp_path)
    assert len(loaded.pieces) == 40
    assert len({piece.notes.tobytes() for piece in loaded.pieces}) == 40
    notes = np.concatenate([piece.notes for piece in loaded.pieces])
    assert notes["pitch"].min() >= 30
    assert notes["pitch"].max() <= 95
    assert set(notes["velocity"]) <= set(range(32, 125, 4))
    assert set(notes["duration"]) <= set(range(1, 57))
    bars = [np.ceil((piece.notes["onset"] + piece.notes["duration"]).max() / 32) for piece in loaded.pieces]
    assert min(bars) == 13
    assert max(bars) == 21
    for piece in loaded.pieces:
        assert piece.notes.tolist() == sorted_notes(piece.notes).tolist()


def test_a_synthetic_piece_depends_on_the_seed_and_its_number_only(tmp_path: Path) -> None:
    def notes(count: int, seed: int) -> list[list[object]]:
        corpus = Corpus(name="s", title="", licence=FREE, citation="", source=Synthetic(count=count, seed=seed))
        return [piece.notes.tolist() for piece in load(corpus, tmp_path).pieces]

    assert notes(3, 0) == notes(40, 0)[:3]
    assert notes(3, 0) != notes(3, 1)
    assert notes(0, 0) == notes(0, 0) == []


def test_a_finer_grid_moves_no_note(tmp_path: Path) -> None:
    def pieces(grid: Beats) -> Sequence[Piece]:
        source = Synthetic(count=3, seed=0)
        corpus = Corpus(name="s", title="", licence=FREE, citation="", source=source, reading=Reading(grid=grid))
        return load(corpus, tmp_path).pieces

    for coarse, fine in zip(pieces(PAPER_GRID), pieces(Beats(steps_per_beat=24)), strict=True):
        assert (coarse.notes["onset"] * 3).tolist() == fine.notes["onset"].tolist()
        assert (coarse.notes["duration"] * 3).tolist() == fine.notes["duration"].tolist()


@pytest.mark.parametrize("source", [Music21Bach(), Synthetic(count=1, seed=0)])
def test_scores_have_no_seconds(source: Music21Bach | Synthetic) -> None:
    text = message(lambda: list(source.items(Seconds(steps_per_second=16))))
    assert text.startswith("Scores have beats and no seconds: read them on a grid of Beats, not Seconds(")


def test_a_damaged_cache_is_reported_and_rebuilt(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = load(CORPORA["synthetic"], tmp_path)
    expected = everything(first)
    for name in ("notes", "about.json"):
        file = first.folder / name
        whole = file.read_bytes()
        flipped = bytearray(whole)
        flipped[len(whole) // 2] ^= 255
        for damaged in (b"", b"junk", whole[: len(whole) // 2], bytes(flipped)):
            file.write_bytes(damaged)
            assert everything(load(CORPORA["synthetic"], tmp_path)) == expected
            lines = capsys.readouterr().err.splitlines()
            assert len(lines) == 1
            assert lines[0].startswith(f"warning: {first.folder} is damaged (")
            assert everything(load(CORPORA["synthetic"], tmp_path)) == expected
            assert capsys.readouterr().err == ""


def test_bach_without_music21_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    text = message(lambda: Music21Bach().key(tmp_path))
    assert text.endswith("music21, which is missing: pip install 'etude[suite]'.")


@pytest.mark.slow
def test_bach_is_read_completely_and_cached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = load(CORPORA["bach"], tmp_path)
    assert len(first.pieces) == 410
    assert first.dropped == ()
    assert len({piece.id for piece in first.pieces}) == 410
    # muspy reads 124,557 notes; of 7,073 pairs in unison, two voices on one key at once, the longer note stays.
    assert sum(len(piece.notes) for piece in first.pieces) == 117_484

    def unwanted(*_: object) -> None:
        raise AssertionError("the cache was not used")

    monkeypatch.setattr(Music21Bach, "items", unwanted)
    assert everything(load(CORPORA["bach"], tmp_path)) == everything(first)


def test_reading_resumes_after_an_interruption(
    tmp_path: Path, contents: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading_module, "BATCH", 2)
    path = as_folder(tmp_path, contents)
    expected = everything(load(folder_corpus(path), tmp_path / "whole"))
    written: list[str] = []
    write_shard = reading_module._write_shard

    def killed(shard: Path, *rest: object) -> None:
        if len(written) == 1:
            raise KeyboardInterrupt
        written.append(shard.name)
        write_shard(shard, *rest)  # type: ignore[arg-type]  # passed through

    monkeypatch.setattr(reading_module, "_write_shard", killed)
    with pytest.raises(KeyboardInterrupt):
        load(folder_corpus(path), tmp_path / "cache")
    assert written == ["000000.npz"]

    def noted(shard: Path, *rest: object) -> None:
        written.append(shard.name)
        write_shard(shard, *rest)  # type: ignore[arg-type]  # passed through

    monkeypatch.setattr(reading_module, "_write_shard", noted)
    assert everything(load(folder_corpus(path), tmp_path / "cache")) == expected
    assert written == ["000000.npz", "000001.npz"]
    assert not list((tmp_path / "cache").glob("*/shards"))


def test_blocks_hold_every_note_once_and_whole_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = load(CORPORA["synthetic"], tmp_path)
    expected = np.concatenate([piece.notes for piece in loaded.pieces])
    for block in (1, 500, 10**6):
        monkeypatch.setattr(reading_module, "BLOCK", block)
        blocks = list(loaded.blocks())
        np.testing.assert_array_equal(np.concatenate([notes for notes, _ in blocks]), expected)
        numbers = [set(pieces.tolist()) for _, pieces in blocks]
        assert sum(map(len, numbers)) == len(set.union(*numbers)) == 40
        assert all(len(notes) <= max(block, 400) for notes, _ in blocks)
    assert loaded.pieces[-1].notes.tolist() == loaded.pieces[39].notes.tolist() == loaded.pieces[30:][9].notes.tolist()


def test_another_process_reads_a_corpus_the_same(tmp_path: Path, contents: dict[str, bytes]) -> None:
    path = as_folder(tmp_path, contents)
    code = (
        "import sys; from pathlib import Path; from replication.corpora.corpus import folder_corpus;"
        " from replication.corpora.reading"
        " import load; print(load(folder_corpus(Path(sys.argv[1])), Path(sys.argv[2])).digest)"
    )
    words = [sys.executable, "-c", code, str(path), str(tmp_path / "there")]
    there = subprocess.run(words, check=True, capture_output=True, text=True, env=os.environ | {"PYTHONHASHSEED": "1"})
    assert there.stdout.strip() == load(folder_corpus(path), tmp_path / "here").digest
