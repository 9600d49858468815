from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from replication.corpora import CORPORA, folder_corpus, load
from replication.data import SHARES, deduplicate, prepare, split
from replication.errors import UserError
from replication.midi import write_midi
from replication.piece import Piece, sorted_notes
from replication.tokens import ENCODINGS, PAD

if TYPE_CHECKING:
    from pathlib import Path

PAPER = ENCODINGS["paper"]
SYNTHETIC = CORPORA["synthetic"]


def piece(name: str, *, transpose: int = 0, start: int = 0) -> Piece:
    rows = [(start + 4 * index, 4, 60 + transpose + index % 5, 64 + transpose) for index in range(40)]
    return Piece(notes=sorted_notes(rows), id=name, group=name)


def test_splits_share_no_song_and_hold_every_window(tmp_path: Path) -> None:
    data = prepare(SYNTHETIC, PAPER, length=34, cache=tmp_path)
    songs = [set(windows.groups.tolist()) for windows in data.splits.values()]
    assert [len(part) for part in songs] == [30, 2, 8]
    assert len(set.union(*songs)) == 40
    for windows in data.splits.values():
        assert windows.tokens.shape == (len(windows.groups), 34)
        assert windows.tokens.dtype == np.uint16
        assert (np.count_nonzero(windows.tokens != PAD, axis=1) >= 17).all()
        assert all(PAPER.decode(row).valid for row in windows.tokens)
    assert data.counts == {"files": 40, "dropped": 0, "duplicates": 0, "short": 0, "pieces": 40, "notes": 7162}


def test_the_cache_gives_the_same_and_a_damaged_one_is_made_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = prepare(SYNTHETIC, PAPER, length=34, cache=tmp_path)
    (file,) = tmp_path.glob("windows-*.npz")
    for damage in (False, True):
        if damage:
            content = bytearray(file.read_bytes())
            content[len(content) // 2] ^= 0xFF
            file.write_bytes(content)
        again = prepare(SYNTHETIC, PAPER, length=34, cache=tmp_path)
        assert again.digest == first.digest
        assert again.counts == first.counts
        for name in SHARES:
            np.testing.assert_array_equal(again.splits[name].tokens, first.splits[name].tokens)
            np.testing.assert_array_equal(again.splits[name].groups, first.splits[name].groups)
        assert ("is damaged" in capsys.readouterr().err) == damage


def test_a_file_that_comes_to_the_corpus_is_counted(tmp_path: Path) -> None:
    for index, one in enumerate(load(SYNTHETIC, tmp_path).pieces):
        write_midi(one, tmp_path / "music" / f"{index}.mid")
    before = prepare(folder_corpus(tmp_path / "music"), PAPER, length=34, cache=tmp_path)
    (tmp_path / "music" / "broken.mid").write_bytes(b"not music")
    after = prepare(folder_corpus(tmp_path / "music"), PAPER, length=34, cache=tmp_path)
    assert (before.counts["files"], before.dropped) == (40, {})
    assert (after.counts["files"], after.dropped) == (41, {"broken.mid": "unreadable"})
    assert after.digest == before.digest


def test_copies_in_another_key_or_later_are_dropped() -> None:
    pieces = [
        piece("a"),
        piece("b", transpose=3),
        piece("c", start=16),
        Piece(notes=sorted_notes([]), id="d", group="d"),
    ]
    changed = piece("e")
    changed.notes["pitch"][7] += 1
    assert [kept.id for kept in deduplicate([*pieces, changed])] == ["a", "e"]


def test_a_song_keeps_its_split_when_others_come() -> None:
    names = [f"song {index}" for index in range(100)]
    few, many = split(names[:60]), split(names)
    assert {name: len(part) for name, part in many.items()} == {"train": 75, "validation": 5, "test": 20}
    moved = sum(name in few["train"] and name not in many["train"] for name in names)
    assert moved < 10


def test_a_corpus_too_small_for_a_window_is_refused(tmp_path: Path) -> None:
    for index in range(2):
        write_midi(piece(str(index), transpose=index), tmp_path / "music" / f"{index}.mid")
    with pytest.raises(UserError, match="corpus music is too small: only 1 of its 1 different pieces"):
        prepare(folder_corpus(tmp_path / "music"), PAPER, length=34, cache=tmp_path)
    with pytest.raises(UserError, match="only 0 of its 1 different pieces fill a window of 512 tokens"):
        prepare(folder_corpus(tmp_path / "music"), PAPER, length=512, cache=tmp_path)
