"""`etude corpus`: listing, verification, and the data card."""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from etude.cli.corpus import list_
from replication.corpora.catalogue import Published
from replication.corpora.corpus import CORPORA
from replication.corpora.download import downloads, find
from replication.corpora.reading import load
from replication.midi.keys import transposed
from replication.midi.piece import Piece, sorted_notes
from replication.midi.smf import write_midi
from replication.util.errors import UserError
from replication.util.text import printable
from replication.windows.data_card import LENGTH_EDGES, histograms
from reports.sections.data_card import card, file_counts, time_unit
from tests.support.program import assert_user_error, etude, music

if TYPE_CHECKING:
    from pathlib import Path

UGLY = "Unknown/\x1b[31mred\n| <b>.mid"  # a name with control characters that would break a line, a table and a page
SMALL = ("--scale", "smoke")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with 20 good files, a copy, a transposed copy, a short piece, three bad files, and others."""
    root = tmp_path_factory.mktemp("home")
    songs = music(root, 20)
    first = load(CORPORA["synthetic"], root / "cache").pieces[0]
    write_midi(first, songs / "copy.mid")
    write_midi(Piece(notes=transposed(first.notes, 3), id="", group=""), songs / "transposed.mid")
    write_midi(Piece(notes=sorted_notes([(0, 8, 60, 64)]), id="", group=""), songs / "short.mid")
    (songs / "broken.mid").write_bytes(b"MThd")
    (songs / "empty.mid").write_bytes(b"MThd\0\0\0\6\0\1\0\0\1\xe0")
    (songs / "Unknown").mkdir()
    (songs / UGLY).write_bytes(b"")
    for name in ("a.mid.gz", "b.mid.gz", "c.mp3"):
        (songs / name).write_bytes(b"")
    (songs / "linked").symlink_to(songs, target_is_directory=True)
    return songs


@pytest.fixture(scope="module")
def described(folder: Path) -> Path:
    """Return the folder in which `etude corpus describe` wrote the card."""
    done = etude("corpus", "describe", "music", *SMALL, folder=folder.parent)
    assert done.returncode == 0, done.stderr
    for text in (
        "MIDI files of music",
        "26 = 20 pieces in windows + 2 unreadable + 1 empty + 2 duplicate + 1 too short",
        "Not read  .mid.gz: 2, .mp3: 1, linked folders: 1",
    ):
        assert text in done.stdout
    return folder.parent / "reports" / "output" / "corpora" / "music"


@pytest.fixture
def facts(described: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((described / "card.json").read_text(encoding="utf-8"))
    return found


def test_the_facts_account_for_every_file(folder: Path, facts: dict[str, Any]) -> None:
    assert facts["others"] == {".mid.gz": 2, ".mp3": 1, "linked folders": 1}
    assert facts["counts"]["files"] + 3 == sum(1 for path in folder.rglob("*") if path.is_file())
    assert sum(file_counts(facts).values()) == facts["counts"]["files"]
    assert facts["dropped"]["counts"] == {"unreadable": 2, "empty": 1}
    assert sorted(facts["dropped"]["files"]) == [
        [UGLY, "unreadable"],
        ["broken.mid", "unreadable"],
        ["empty.mid", "empty"],
    ]
    assert facts["counts"]["duplicates"] == 2
    assert facts["counts"]["short"] == 1
    assert facts["read"]["pieces"] == 23
    assert facts["read"]["hours"] > 0
    assert sum(int(size) * count for size, count in facts["families"]["sizes"].items()) == 21
    assert set(facts["leaks"]) == {"pieces", "families", "cleaned"}


def test_the_card_shows_the_facts_and_escapes_names(described: Path) -> None:
    page = (described / "card.md").read_text(encoding="utf-8")
    for text in ("# music", "not-stated", "| unreadable", "| too short for a window", "broken.mid: unreadable"):
        assert text in page
    assert "- **Not read:** .mid.gz: 2, .mp3: 1, linked folders: 1\n" in page
    for name in ("notes", "left_out"):
        assert f"(figures/{name}.svg)" in page
        assert (described / "figures" / f"{name}.png").stat().st_size > 10_000
    assert "Unknown/\N{REPLACEMENT CHARACTER}[31mred\N{REPLACEMENT CHARACTER}\\| &lt;b&gt;.mid" in page


def test_the_card_tells_missing_note_offs(facts: dict[str, Any]) -> None:
    assert facts["lost"] == {"files": 0, "restruck": 0, "unended": 0}
    assert "Note-offs" not in card(facts, {})
    page = card(facts | {"lost": {"files": 46, "restruck": 1270, "unended": 45}}, {})
    text = "missing in 46 files: 1,270 notes end where their key is struck again, 45 at the end of their track"
    assert f"**Note-offs:** {text}" in page


def test_a_card_is_reproduced_to_the_byte(folder: Path, described: Path, tmp_path: Path) -> None:
    done = etude("corpus", "describe", str(folder), *SMALL, "--output", "again", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    first, second = (
        {path.relative_to(root): path.read_bytes() for path in root.rglob("*") if path.is_file()}
        for root in (described, tmp_path / "again")
    )
    assert len(first) == 6
    assert first == second


def test_histograms_equal_a_naive_count(tmp_path: Path) -> None:
    loaded = load(CORPORA["synthetic"], tmp_path)
    found = histograms(loaded)
    notes = [tuple(note) for piece in loaded.pieces for note in piece.notes.tolist()]
    for number, name, values in ((1, "duration", range(1, 57)), (2, "pitch", range(128)), (3, "velocity", range(128))):
        counts = Counter(note[number] for note in notes)
        assert found[name][: len(values)] == [counts[value] for value in values]
    chords, waits = Counter[int](), Counter[int]()
    for piece in loaded.pieces:
        onsets = Counter(piece.notes["onset"].tolist())
        chords.update(onsets.values())
        waits.update(np.diff(sorted(onsets)).tolist())
    assert found["notes_per_onset"] == [*(chords[size] for size in range(1, 21)), 0]
    assert found["inter_onset"][:-1] == [waits[steps] for steps in range(1, 57)]
    assert found["inter_onset"][-1] == sum(count for steps, count in waits.items() if steps > 56)
    assert sum(found["notes_per_piece"]["counts"]) == 40
    assert found["notes_per_piece"]["edges"] == sorted(set(LENGTH_EDGES.tolist()))


def test_the_card_describes_how_files_are_read(facts: dict[str, Any]) -> None:
    assert "all tracks as one, without drums, pedal ignored, in steps of 1/8 beat" in card(facts, {})
    reading = {
        "grid": {"type": "Seconds", "steps_per_second": 16},
        "tracks": {"type": "Named", "names": ["piano", "MIDI 01"]},
        "pedal": True,
        "drums": True,
        "programs": [0, 7],
        "shortest": 16,
        "aligned": 0.9,
    }
    assert (
        "the tracks named piano and MIDI 01, with drums, pedal applied, in steps of 62.5 ms, programs 0 to 7 only, "
        "at least 16 notes, at least 90 % of onsets on the grid of beats"
    ) in card(facts | {"reading": reading}, {})
    assert time_unit({"type": "Beats", "steps_per_beat": 24}) == "steps of 1/24 beat"


def test_synthetic_pieces_are_described_without_hours(tmp_path: Path) -> None:
    done = etude("corpus", "describe", "synthetic", *SMALL, "--encoding", "triples", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "40 = 40 pieces in windows" in done.stdout
    assert "in encoding triples" in done.stdout
    found = json.loads((tmp_path / "reports/output/corpora/synthetic/card.json").read_text(encoding="utf-8"))
    assert found["read"]["hours"] is None
    assert found["splits"]["test"]["songs"] == 8


def test_names_that_are_not_text_can_be_shown() -> None:
    assert printable("caf\udce9\t\x9b é|Ж") == "caf\N{REPLACEMENT CHARACTER}" + 2 * "\N{REPLACEMENT CHARACTER}" + " é|Ж"


def test_list_shows_where_each_corpus_is(tmp_path: Path) -> None:
    done = etude("corpus", "list", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    lines = {line.split()[0]: line for line in done.stdout.splitlines() if line[0] != " "}
    assert set(lines) == {"NAME", *CORPORA}
    assert "11,075  none-stated" in lines["adl"]
    assert lines["adl"].endswith("to download, 11,075 files")
    assert lines["giantmidi"].endswith("by hand")
    assert lines["bach"].endswith("here")
    (tmp_path / "data" / "js-fakes").mkdir(parents=True)
    (tmp_path / "cache" / "downloads").mkdir(parents=True)
    (tmp_path / "cache" / "downloads" / "adl-piano-midi.zip").touch()
    done = etude("corpus", "list", folder=tmp_path, ETUDE_DATA=str(tmp_path / "data"))
    assert f"{tmp_path}/data/js-fakes\n" in done.stdout
    assert f"{tmp_path}/cache/downloads/adl-piano-midi.zip\n" in done.stdout
    assert max(len(line.replace(str(tmp_path), "")) for line in done.stdout.splitlines()) <= 120


def pack(folder: Path, count: int) -> Path:
    """Write a pack of `count` files in the layout of js-fakes, with a manifest."""
    (folder / "js-fakes" / "midi").mkdir(parents=True)
    rows = ["path,bytes,sha256"]
    for number in range(count):
        content = b"music" * number
        (folder / "js-fakes" / "midi" / f"{number}.mid").write_bytes(content)
        rows.append(f"midi/{number}.mid,{len(content)},{hashlib.sha256(content).hexdigest()}")
    (folder / "js-fakes" / "MANIFEST.csv").write_text("\n".join(rows), encoding="utf-8")
    return folder / "js-fakes"


def test_verify_compares_a_folder_with_its_own_manifest(tmp_path: Path) -> None:
    path = pack(tmp_path, 40)
    done = etude("corpus", "verify", "js-fakes", folder=tmp_path)  # the folder is not on the search path
    assert_user_error(done, "etude corpus fetch js-fakes`.")
    done = etude("corpus", "verify", str(path), folder=tmp_path)
    assert (done.returncode, done.stdout.splitlines()[0]) == (0, "40 files, all as listed"), done.stderr
    for number in range(25):
        (path / "midi" / f"{number}.mid").unlink()
    (path / "midi" / "30.mid").write_bytes(b"noise")
    (path / "midi" / "99\x1b.mid").write_bytes(b"more")
    done = etude("corpus", "verify", str(path), folder=tmp_path)
    assert done.returncode == 1
    lines = done.stdout.splitlines()
    assert lines[0] == "16 files; 25 missing, 1 extra, 1 damaged"
    assert lines[2:4] == ["missing: 25", "  midi/0.mid"]
    assert lines[23:26] == ["  and 5 more", "extra: 1", "  midi/99\N{REPLACEMENT CHARACTER}.mid"]
    assert lines[26:] == ["damaged: 1", "  midi/30.mid"]


def test_verify_and_fetch_compare_a_corpus_with_the_published_one(tmp_path: Path) -> None:
    pack(tmp_path, 40)
    done = etude("corpus", "verify", "js-fakes", folder=tmp_path, ETUDE_DATA=str(tmp_path))
    assert done.returncode == 1
    verdict, content, published, *_ = done.stdout.splitlines()
    assert verdict == "40 files, 1,200 are published; no manifest names what differs"
    assert len(content.removeprefix("content: ")) == len(published.removeprefix("published: ")) == 64
    done = etude("corpus", "fetch", "js-fakes", folder=tmp_path, ETUDE_DATA=str(tmp_path))
    assert (done.returncode, done.stdout.splitlines()) == (0, [f"{tmp_path}/js-fakes", verdict])


@pytest.mark.parametrize("name", ["bach", "synthetic", "music"])
def test_verify_says_that_there_is_no_manifest(name: str, folder: Path) -> None:
    done = etude("corpus", "verify", name, folder=folder.parent)
    assert (done.returncode, done.stdout) == (0, f"There is no manifest to verify {name} against.\n")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("describe", "nowhere"), "unknown corpus 'nowhere'"),
        (("describe", "synthetic", "--encoding", "bert"), "unknown encoding 'bert'; choose one of paper, "),
        (("describe", "maestro"), "add --accept-licence CC-BY-NC-SA-4.0"),
        (("fetch", "adl", "--accept-licence", "MIT"), "add --accept-licence none-stated"),
        (("fetch", "giantmidi"), "giantmidi cannot be downloaded by a program: "),
    ],
)
def test_mistakes_give_a_one_line_error(words: tuple[str, ...], message: str, tmp_path: Path) -> None:
    assert_user_error(etude("corpus", *words, folder=tmp_path), message)


@pytest.mark.parametrize(
    "words",
    [
        ("corpus", "fetch", "--accept-licence", "MIT", "--accept-licence", "none-stated", "adl"),
        ("run", "--corpus", "adl", "--accept-licence", "none-stated"),
    ],
)
def test_an_accepted_licence_starts_the_download(words: tuple[str, ...], tmp_path: Path) -> None:
    nowhere = dict.fromkeys(("https_proxy", "HTTPS_PROXY"), "http://127.0.0.1:9") | {"no_proxy": "", "NO_PROXY": ""}
    assert_user_error(etude(*words, folder=tmp_path, **nowhere), "cannot be reached: check the network")


def test_a_real_pack_is_verified_and_described(tmp_path: Path) -> None:
    source = CORPORA["js-fakes"].source
    assert isinstance(source, Published)
    if find(source) is None:
        pytest.skip("ETUDE_DATA has no js-fakes")
    there = {name: os.environ[name] for name in ("ETUDE_DATA", "ETUDE_CACHE") if name in os.environ}
    done = etude("corpus", "verify", "js-fakes", folder=tmp_path, **there)
    assert (done.returncode, done.stdout.splitlines()[0]) == (0, "1,200 files, all as published"), done.stderr
    done = etude("corpus", "describe", "js-fakes", folder=tmp_path, **there)
    assert done.returncode == 0, done.stderr
    assert "1,200 = 1,200 pieces in windows" in done.stdout
    assert "7.9 hours" in done.stdout


def test_a_user_without_a_home_can_list_corpora_and_is_told_what_a_download_needs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def unknown(number: int) -> None:
        raise KeyError(f"getpwuid(): uid not found: {number}")

    monkeypatch.setattr("pwd.getpwuid", unknown)
    for name in ("HOME", "XDG_CACHE_HOME", "ETUDE_CACHE"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "js-fakes").mkdir()
    monkeypatch.setenv("ETUDE_DATA", str(tmp_path))
    list_()
    lines = capsys.readouterr().out.splitlines()
    assert any(line.startswith("js-fakes ") and line.endswith(str(tmp_path / "js-fakes")) for line in lines)
    assert any(line.startswith("pop909-cl ") and "to download" in line for line in lines)
    with pytest.raises(UserError, match="the home folder of this user is not known: set ETUDE_CACHE to a folder"):
        downloads()
