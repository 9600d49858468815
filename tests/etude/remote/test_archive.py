"""The zip file of a bundle; tests/etude/remote/test_bundle.py covers export and import."""

from __future__ import annotations

import math
import os
import zipfile
from typing import TYPE_CHECKING

import pytest

from etude.remote import archive, bundle
from etude.remote.archive import open_bundle, pack
from etude.runner.plan import make_plan
from replication.util.deadline import time_limit
from replication.util.errors import UserError
from tests.support.program import assert_user_error, python

if TYPE_CHECKING:
    from pathlib import Path


def test_files_older_than_zip_dates_are_packed(tmp_path: Path) -> None:
    (tmp_path / "old").touch()
    os.utime(tmp_path / "old", (0, 0))
    pack(tmp_path / "a.zip", {}, tmp_path, [tmp_path / "old"])
    with zipfile.ZipFile(tmp_path / "a.zip") as archive:
        assert archive.namelist() == ["plan.json", "old"]


@pytest.fixture
def packed(tmp_path: Path) -> Path:
    """Return a bundle with an empty plan."""
    pack(tmp_path / "a.zip", {}, tmp_path, [])
    return tmp_path / "a.zip"


def test_a_bundle_with_too_many_members_is_refused(packed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "MOST_MEMBERS", 0)
    with pytest.raises(UserError, match="unpacks to more than 0 files"), open_bundle(packed):
        pass


def test_a_bundle_with_another_compression_is_refused(packed: Path) -> None:
    with zipfile.ZipFile(packed, "a", zipfile.ZIP_LZMA) as archive:
        archive.writestr("more", "more")
    with pytest.raises(UserError, match="uses a compression that bundles do not use"), open_bundle(packed):
        pass


def test_a_plan_with_missing_keys_is_refused(packed: Path) -> None:
    with pytest.raises(UserError, match=r"is not a bundle of trials \(KeyError\('scale'\)\)"), open_bundle(packed):
        pass


def test_the_log_comes_after_the_checkpoint(tmp_path: Path) -> None:
    (trial,) = make_plan(scale="smoke", only=("e2e",), seeds=1, root=tmp_path).trials
    names = ("metrics.jsonl", "trial.json", "checkpoint/last.safetensors", "checkpoint/step-0.safetensors")
    for name in names:
        (trial.folder / name).parent.mkdir(parents=True, exist_ok=True)
        (trial.folder / name).touch()
    assert [file.name for file in bundle.files_to_move(trial)][-1] == "metrics.jsonl"


def test_a_folder_is_not_a_bundle(tmp_path: Path) -> None:
    assert_user_error(python("etude.remote.train", ".", folder=tmp_path), "cannot be opened (Is a directory)")


@pytest.mark.parametrize("minutes", [0, -1, math.inf, math.nan])
def test_minutes_must_be_positive(minutes: float) -> None:
    with pytest.raises(UserError, match="give a number above 0"), time_limit(minutes):
        pass
