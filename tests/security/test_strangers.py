"""What a stranger's server, file or name could do: each once by hand, beside the laws that are tried at random."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from typing import TYPE_CHECKING

import pytest

from etude.remote import archive as bundle_file
from etude.remote.archive import opened
from etude.runner import plan as suite
from eval.results.frames import gather
from eval.results.schema import read_trial
from replication.corpora.archives import midi_files
from replication.util.errors import UserError
from replication.util.files import read_json, write_json
from replication.util.paths import folder_at, is_regular
from replication.util.text import tame
from tests.etude.remote.test_archive import packed  # noqa: F401 - a fixture
from tests.support.program import PATHS

if TYPE_CHECKING:
    from pathlib import Path

    from etude.runner.plan import Plan


def test_a_folder_that_holds_another_trial_is_named(shown: Plan, tmp_path: Path) -> None:
    copy = shutil.copytree(shown.comparison, tmp_path / "copy")
    shutil.copytree(copy / "ngram" / "0", copy / "ngram" / "7")
    with pytest.raises(UserError, match=r"ngram/7 holds another trial, 'ngram' seed 0"):
        gather(copy)


@pytest.mark.parametrize(
    ("key", "value"),
    [("seed", "0"), ("config", None), ("colour", "red;}</style>"), ("started", {}), ("experiment", "../ngram")],
)
def test_a_trial_json_of_another_shape_is_named(shown: Plan, tmp_path: Path, key: str, value: object) -> None:
    about = read_json(shown.comparison / "ngram" / "0" / "trial.json")
    write_json(tmp_path / "ngram" / "0" / "trial.json", about | {key: value})
    with pytest.raises(UserError, match=rf"{key} is|holds another trial"):
        read_trial(tmp_path / "ngram" / "0")


def test_devices_and_pipes_are_no_archives(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.zip")
    (tmp_path / "endless.tar.gz").symlink_to("/dev/zero")
    for name in ("pipe.zip", "endless.tar.gz"):
        assert not is_regular(tmp_path / name)
        with pytest.raises(UserError, match="is neither a folder nor an archive"):
            list(midi_files(tmp_path / name))
        with pytest.raises(UserError, match="is no file"), opened(tmp_path / name):
            pass


@pytest.mark.parametrize("name", ["file", "file/below", "loop", "x" * 300, "x/" * 3000])
def test_a_root_that_can_be_no_folder_is_named(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(UserError, match="can be no folder"):
        folder_at(tmp_path / name)
    assert folder_at(tmp_path / "new" / "folder") == tmp_path.resolve() / "new" / "folder"


def test_a_bundle_that_says_too_much_is_refused_unread(
    packed: Path,  # noqa: F811 - the fixture
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with zipfile.ZipFile(packed, "a") as archive:
        archive.writestr("runs/metrics.jsonl", bytes(100))
    monkeypatch.setattr(bundle_file, "LARGEST", 99)
    with pytest.raises(UserError, match="has more to say than bundles have"), opened(packed):
        pass


def test_seeds_without_number_are_refused_before_they_are_counted(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="give a number from 1 to 1,000"):
        suite.plan(scale="smoke", seeds=10**9, root=tmp_path)


def test_what_is_told_commands_no_terminal() -> None:
    assert tame("a\x1b[2J\r\u202e\x9b\nb") == "a\ufffd[2J\ufffd\ufffd\ufffd\nb"


def test_what_a_process_connects_to_is_observed(tmp_path: Path) -> None:
    code = "import socket; socket.socket(socket.AF_INET, socket.SOCK_DGRAM).connect(('127.0.0.9', 9))"
    observed = {"PYTHONPATH": PATHS, "CONNECTIONS": str(tmp_path / "observed")}
    subprocess.run([sys.executable, "-c", code], env=os.environ | observed, check=True)
    assert (tmp_path / "observed").read_text(encoding="utf-8") == "127.0.0.9\n"
