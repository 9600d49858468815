"""Checks of the paths that users give."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from replication.util.errors import UserError
from replication.util.paths import folder_at

if TYPE_CHECKING:
    from pathlib import Path


def test_a_folder_whose_name_is_not_utf_8_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / os.fsdecode(b"caf\xe9")
    folder.mkdir()
    with pytest.raises(
        UserError, match="/caf\N{REPLACEMENT CHARACTER}/runs is not a name in UTF-8: rename the folder, or"
    ):
        folder_at(folder / "runs")
