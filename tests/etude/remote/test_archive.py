"""The file of a bundle by itself; tests/etude/remote/test_bundle.py has the way there and back."""

from __future__ import annotations

import math
import os
import zipfile
from typing import TYPE_CHECKING

import pytest

from etude.remote import archive as bundle_file
from etude.remote import bundle
from etude.remote.archive import opened, pack
from etude.runner import plan as suite
from replication.util.deadline import at_most
from replication.util.errors import UserError
from tests.support.program import assert_user_error, python

if TYPE_CHECKING:
    from pathlib import Path


def test_files_from_before_zip_archives_had_dates_are_packed(tmp_path: Path) -> None:
    (tmp_path / "old").touch()
    os.utime(tmp_path / "old", (0, 0))
    pack(tmp_path / "a.zip", {}, tmp_path, [tmp_path / "old"])
    with zipfile.ZipFile(tmp_path / "a.zip") as archive:
        assert archive.namelist() == ["plan.json", "old"]


@pytest.fixture
def packed(tmp_path: Path) -> Path:
    """Return a bundle whose plan has nothing in it."""
    pack(tmp_path / "a.zip", {}, tmp_path, [])
    return tmp_path / "a.zip"


def test_a_bundle_has_no_more_members_than_an_archive(packed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bundle_file, "MOST_MEMBERS", 0)
    with pytest.raises(UserError, match="unpacks to more than 0 files"), opened(packed):
        pass


def test_a_bundle_is_compressed_as_bundles_are(packed: Path) -> None:
    with zipfile.ZipFile(packed, "a", zipfile.ZIP_LZMA) as archive:
        archive.writestr("more", "more")
    with pytest.raises(UserError, match="is compressed as no bundle is"), opened(packed):
        pass


def test_a_plan_without_what_it_must_have_is_none(packed: Path) -> None:
    with pytest.raises(UserError, match=r"is no bundle of trials \(KeyError\('scale'\)\)"), opened(packed):
        pass


def test_the_log_follows_what_training_goes_on_from(tmp_path: Path) -> None:
    (trial,) = suite.plan(scale="smoke", only=("e2e",), seeds=1, root=tmp_path).trials
    names = ("metrics.jsonl", "trial.json", "checkpoint/last.safetensors", "checkpoint/step-0.safetensors")
    for name in names:
        (trial.folder / name).parent.mkdir(parents=True, exist_ok=True)
        (trial.folder / name).touch()
    assert [file.name for file in bundle.left_by(trial)][-1] == "metrics.jsonl"


def test_a_folder_is_no_bundle(tmp_path: Path) -> None:
    assert_user_error(python("etude.remote.train", ".", folder=tmp_path), "cannot be opened (Is a directory)")


@pytest.mark.parametrize("minutes", [0, -1, math.inf, math.nan])
def test_minutes_are_a_positive_number(minutes: float) -> None:
    with pytest.raises(UserError, match="give a number above 0"), at_most(minutes):
        pass
