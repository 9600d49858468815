from __future__ import annotations

import shutil
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from replication.corpora.corpus import CORPORA, folder_corpus
from replication.corpora.reading import load
from replication.midi.keys import EveryKey, OneKey, estimate_key
from replication.midi.piece import Piece, sorted_notes
from replication.midi.smf import write_midi
from replication.midi.synthetic import compose
from replication.tokens.encodings import ENCODINGS
from replication.tokens.protocol import PAD
from replication.util.errors import UserError
from replication.windows import duplicates
from replication.windows import prepared as data
from replication.windows.cutting import Cutting
from replication.windows.prepared import open_windows, prepare
from replication.windows.splits import SPLITS

if TYPE_CHECKING:
    from pathlib import Path

    from replication.windows.prepared import Dataset

PAPER = ENCODINGS["paper"]
SYNTHETIC = CORPORA["synthetic"]
SHORT = Cutting(length=34)


def piece(name: str, *, transpose: int = 0, start: int = 0) -> Piece:
    rows = [(start + 4 * index, 4, 60 + transpose + index % 5, 64 + transpose) for index in range(40)]
    return Piece(notes=sorted_notes(rows), id=name, group=name)


def everything(dataset: Dataset) -> tuple[object, ...]:
    splits = {name: (part.tokens.tolist(), part.groups.tolist()) for name, part in dataset.splits.items()}
    return splits, dataset.counts, dataset.leaks, dataset.dropped, dataset.digest


def test_splits_share_no_song_and_contain_every_window(tmp_path: Path) -> None:
    dataset = prepare(SYNTHETIC, PAPER, SHORT, cache=tmp_path)
    assert dataset.songs == {"train": 30, "validation": 2, "test": 8}
    songs = [set(windows.groups.tolist()) for windows in dataset.splits.values()]
    assert len(set.union(*songs)) == sum(map(len, songs)) == 40
    for windows in dataset.splits.values():
        assert windows.tokens.shape == (len(windows.groups), 34)
        assert windows.tokens.dtype == np.uint16
        assert (np.count_nonzero(windows.tokens != PAD, axis=1) >= 17).all()
        assert all(PAPER.decode(row).valid for row in windows.tokens[:200].tolist())
    counts = {"files": 40, "dropped": 0, "duplicates": 0, "short": 0, "pieces": 40, "families": 40, "notes": 7162}
    assert dataset.counts == {**counts, "copied": dataset.counts["copied"]}


def test_windows_are_memory_mapped_and_their_files_do_not_change(tmp_path: Path) -> None:
    dataset = prepare(SYNTHETIC, PAPER, SHORT, cache=tmp_path)
    tokens = dataset.splits["train"].tokens
    assert isinstance(tokens, np.memmap)
    expected = tokens.copy()
    tokens[:] = 7
    np.testing.assert_array_equal(open_windows(dataset.folder).splits["train"].tokens, expected)


def test_the_cache_gives_equal_windows_and_is_rebuilt_if_damaged(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = prepare(SYNTHETIC, PAPER, SHORT, cache=tmp_path)
    expected = everything(first)
    for name in ("train.npy", "test-groups.npy", "about.json"):
        content = bytearray((first.folder / name).read_bytes())
        for damaged in (b"", bytes(content[:200]), bytes(content[:-1]) + bytes([content[-1] ^ 1])):
            (first.folder / name).write_bytes(damaged)
            assert everything(prepare(SYNTHETIC, PAPER, SHORT, cache=tmp_path)) == expected
            assert f"{first.folder} is damaged (" in capsys.readouterr().err
    assert everything(prepare(SYNTHETIC, PAPER, SHORT, cache=tmp_path)) == expected
    assert capsys.readouterr().err == ""


def test_an_interrupted_preparation_is_resumed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = everything(prepare(SYNTHETIC, PAPER, SHORT, cache=tmp_path / "whole"))
    monkeypatch.setattr("replication.corpora.reading.BLOCK", 1000)
    cut: list[int] = []
    windows = data._windows

    def killed(*rest: object) -> object:
        if len(cut) == 3:
            raise KeyboardInterrupt
        cut.append(len(cut))
        return windows(*rest)  # type: ignore[arg-type]  # passed through

    monkeypatch.setattr(data, "_windows", killed)
    with pytest.raises(KeyboardInterrupt):
        prepare(SYNTHETIC, PAPER, SHORT, cache=tmp_path / "cache")
    cut.append(3)
    assert everything(prepare(SYNTHETIC, PAPER, SHORT, cache=tmp_path / "cache")) == expected
    assert 7 <= len(cut) <= 9  # three of eight blocks existed
    assert not list((tmp_path / "cache").glob("*/parts"))


def test_dropped_files_are_reported_and_change_no_window(tmp_path: Path) -> None:
    for item in load(SYNTHETIC, tmp_path).pieces:
        write_midi(item, tmp_path / "music" / f"{item.id}.mid")
    before = prepare(folder_corpus(tmp_path / "music"), PAPER, SHORT, cache=tmp_path)
    (tmp_path / "music" / "broken.mid").write_bytes(b"not music")
    after = prepare(folder_corpus(tmp_path / "music"), PAPER, SHORT, cache=tmp_path)
    assert (before.counts["files"], before.dropped) == (40, {})
    assert (after.counts["files"], after.dropped) == (41, {"broken.mid": "unreadable"})
    assert after.digest == before.digest


def test_copies_are_dropped_and_near_copies_stay_together(tmp_path: Path) -> None:
    originals = [compose(np.random.default_rng([9, number])) for number in range(24)]
    for number, notes in enumerate(originals):
        higher, near = notes.copy(), notes.copy()
        higher["pitch"] += 2
        near["pitch"] += 1
        near["pitch"][len(near) // 2] += 1
        for kind, version in (("a", notes), ("b", higher), ("c", near)):
            rows = np.stack([version[name] for name in ("onset", "duration", "pitch", "velocity")], axis=1)
            kept = Piece(notes=sorted_notes([tuple(row) for row in rows.tolist()]), id="", group="")
            write_midi(kept, tmp_path / "music" / f"{number:02d}{kind}.mid")
    dataset = prepare(folder_corpus(tmp_path / "music"), PAPER, SHORT, cache=tmp_path)
    assert dataset.counts["duplicates"] == 24
    assert dataset.counts["pieces"] == 48
    assert dataset.counts["families"] <= 24
    assert dataset.leaks["pieces"].onsets > 0.3
    assert dataset.leaks["cleaned"].onsets == dataset.leaks["cleaned"].windows == 0


def test_training_windows_with_runs_of_the_test_split_are_omitted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("FAMILY_SHARE", "TUNE_SHARE"):  # no families, so that the last step has to remove all copies
        monkeypatch.setattr(duplicates, name, 2.0)
    base = [compose(np.random.default_rng([8, number])) for number in range(30)]
    for number, notes in enumerate(base):
        part = base[(number + 1) % 30][:60].copy()
        part["onset"] += notes["onset"][-1] + 64 - part["onset"][0]
        rows = np.concatenate((notes, part))
        write_midi(Piece(notes=rows.astype(notes.dtype), id="", group=""), tmp_path / "music" / f"{number}.mid")
    dataset = prepare(folder_corpus(tmp_path / "music"), PAPER, SHORT, cache=tmp_path)
    assert dataset.leaks["families"].windows > 0
    assert dataset.counts["copied"] > 0
    assert dataset.leaks["cleaned"].windows == dataset.leaks["cleaned"].onsets == 0


def test_first_only_keeps_the_first_window_of_each_piece(tmp_path: Path) -> None:
    dataset = prepare(SYNTHETIC, PAPER, replace(SHORT, first_only=True), cache=tmp_path)
    whole = prepare(SYNTHETIC, PAPER, SHORT, cache=tmp_path)
    for name in SPLITS:
        part, every = dataset.splits[name], whole.splits[name]
        assert len(part.groups) == len(set(part.groups.tolist()))
        firsts = {int(group): every.tokens[every.groups == group][0].tolist() for group in part.groups}
        same = [firsts[int(group)] == row for group, row in zip(part.groups, part.tokens.tolist(), strict=True)]
        assert np.mean(same) > 0.9  # except first windows that were omitted as copies


def test_one_key_and_every_key(tmp_path: Path) -> None:
    plain, one, every = (
        prepare(SYNTHETIC, PAPER, replace(SHORT, keys=keys), cache=tmp_path)
        for keys in (SHORT.keys, OneKey(), EveryKey(semitones=(-1, 0, 1)))
    )
    pieces = [PAPER.decode(row).notes for row in one.splits["test"].tokens.tolist()]
    assert np.mean([estimate_key(notes)[0] in {0, 9} for notes in pieces]) > 0.5
    assert len({one.digest, plain.digest, every.digest}) == 3
    assert every.splits["test"].tokens.tolist() == plain.splits["test"].tokens.tolist()
    assert len(every.splits["train"].tokens) == pytest.approx(3 * len(plain.splits["train"].tokens), rel=0.02)


@pytest.mark.parametrize("name", ENCODINGS)
def test_every_encoding_has_the_same_test_songs(tmp_path: Path, name: str) -> None:
    songs = set(prepare(SYNTHETIC, PAPER, SHORT, cache=tmp_path).splits["test"].groups.tolist())
    dataset = prepare(SYNTHETIC, ENCODINGS[name], SHORT, cache=tmp_path)
    assert set(dataset.splits["test"].groups.tolist()) == songs


def test_a_corpus_too_small_for_a_window_is_an_error(tmp_path: Path) -> None:
    for index in range(2):
        write_midi(piece(str(index), transpose=index), tmp_path / "music" / f"{index}.mid")
    corpus = folder_corpus(tmp_path / "music")
    with pytest.raises(UserError, match="corpus music is too small: only 1 of its 1 different pieces"):
        prepare(corpus, PAPER, SHORT, cache=tmp_path)
    with pytest.raises(UserError, match="only 0 of its 1 different pieces fill a window of 512 tokens"):
        prepare(corpus, PAPER, Cutting(length=512), cache=tmp_path)
    assert not [path for path in tmp_path.glob("windows-*") if path.is_dir()]
    shutil.rmtree(tmp_path / "music")
    with pytest.raises(UserError, match="does not exist"):
        prepare(corpus, PAPER, SHORT, cache=tmp_path)


def test_copies_are_omitted_exactly_even_if_ngrams_are_sampled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("FAMILY_SHARE", "TUNE_SHARE"):
        monkeypatch.setattr(duplicates, name, 2.0)
    whole = prepare(SYNTHETIC, PAPER, SHORT, cache=tmp_path / "whole")
    monkeypatch.setattr(duplicates, "MAX_NGRAMS", 1000)
    sampled = prepare(SYNTHETIC, PAPER, SHORT, cache=tmp_path / "sampled")
    assert sampled.counts["copied"] == whole.counts["copied"]
    assert sampled.digest == whole.digest
