"""Scores of MIDI files of any origin."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from etude.runner.plan import make_plan
from etude.runner.score_files import score_files
from eval.scoring.controls import CONTROLS
from replication.corpora.reading import load
from replication.midi.keys import OneKey, in_one_key, transposed
from replication.midi.smf import write_midi
from replication.util.errors import UserError

if TYPE_CHECKING:
    from pathlib import Path

    from etude.runner.plan import Plan


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    return make_plan(scale="smoke", root=tmp_path)


def music(plan: Plan, folder: Path, *, semitones: int = 0, notes: int | None = None) -> Path:
    for piece in load(plan.corpus, plan.cache).pieces:
        some = replace(piece, notes=transposed(in_one_key(piece.notes), semitones)[:notes])
        write_midi(some, folder / f"{piece.id}.mid")
    return folder


def test_every_file_is_counted(plan: Plan, tmp_path: Path) -> None:
    folder = music(plan, tmp_path / "music")
    (folder / "broken.mid").write_bytes(b"not music")
    (piece, *_) = load(plan.corpus, plan.cache).pieces
    write_midi(replace(piece, notes=piece.notes[:2]), folder / "short.mid")
    head = score_files(folder, plan).splitlines()[0]
    assert head == "42 files: 40 give a window, 1 unreadable, 1 too short for half a window"


def test_scores_do_not_depend_on_the_key_if_the_corpus_is_in_one_key(
    plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("etude.runner.score_files.CONTROLS", CONTROLS[:2])  # all of them take most of the time
    one = replace(plan, scale=replace(plan.scale, keys=OneKey()))
    first = music(plan, tmp_path / "as it is" / "music")
    second = music(plan, tmp_path / "higher" / "music", semitones=3)
    assert score_files(first, one) == score_files(second, one)
    other = replace(plan, root=tmp_path / "as written")
    assert score_files(first, other) != score_files(second, other)


def test_too_few_files_of_sufficient_length_are_refused(plan: Plan, tmp_path: Path) -> None:
    folder = music(plan, tmp_path / "music", notes=2)
    wanted = (
        "music: scoring needs 16 files that fill half a window of 34 tokens; "
        "of its 40 files, 0 give a window, 40 too short"
    )
    with pytest.raises(UserError, match=wanted):
        score_files(folder, plan)
