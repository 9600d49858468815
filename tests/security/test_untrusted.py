"""Attacks by a server, a file or a name, one by one, in addition to the laws that are tried at random."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import zipfile
from typing import TYPE_CHECKING

import pytest

from etude.remote import archive as bundle_file
from etude.remote.archive import open_bundle, pack
from etude.runner.plan import make_plan
from eval.results.frames import gather
from eval.results.schema import read_trial
from eval.tracking.store import Store, StoreError
from replication.corpora.archives import midi_files
from replication.util.errors import UserError
from replication.util.files import read_json, write_json
from replication.util.paths import folder_at, is_regular
from replication.util.text import printable_lines
from tests.security.malicious_server import MaliciousServer, malicious_server
from tests.support.program import PATHS
from tests.support.tracking_stores import finish_trial
from tests.support.trial_folders import make_trial

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from etude.runner.plan import Plan


def test_a_folder_that_holds_another_trial_is_named(finished_comparison: Plan, tmp_path: Path) -> None:
    copy = shutil.copytree(finished_comparison.comparison, tmp_path / "copy")
    shutil.copytree(copy / "ngram" / "0", copy / "ngram" / "7")
    with pytest.raises(UserError, match=r"ngram/7 holds another trial, 'ngram' seed 0"):
        gather(copy)


@pytest.mark.parametrize(
    ("key", "value"),
    [("seed", "0"), ("config", None), ("colour", "red;}</style>"), ("started", {}), ("experiment", "../ngram")],
)
def test_a_trial_json_of_another_shape_is_named(
    finished_comparison: Plan, tmp_path: Path, key: str, value: object
) -> None:
    about = read_json(finished_comparison.comparison / "ngram" / "0" / "trial.json")
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
        with pytest.raises(UserError, match="is not a regular file"), open_bundle(tmp_path / name):
            pass


@pytest.mark.parametrize("name", ["file", "file/below", "loop", "x" * 300, "x/" * 3000])
def test_a_root_that_can_be_no_folder_is_named(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(UserError, match="cannot be a folder"):
        folder_at(tmp_path / name)
    assert folder_at(tmp_path / "new" / "folder") == tmp_path.resolve() / "new" / "folder"


def test_a_bundle_that_unpacks_to_too_much_is_refused_unread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = tmp_path / "a.zip"
    pack(bundle, {}, tmp_path, [])
    with zipfile.ZipFile(bundle, "a") as archive:
        archive.writestr("runs/metrics.jsonl", bytes(100))
    monkeypatch.setattr(bundle_file, "LARGEST", 99)
    with pytest.raises(UserError, match="has a JSON member of more than 99 bytes"), open_bundle(bundle):
        pass


def test_too_many_seeds_are_refused_before_they_are_counted(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="give a number from 1 to 1,000"):
        make_plan(scale="smoke", seeds=10**9, root=tmp_path)


def test_messages_contain_no_control_characters() -> None:
    assert printable_lines("a\x1b[2J\r\u202e\x9b\nb") == "a\ufffd[2J\ufffd\ufffd\ufffd\nb"


def test_connections_of_a_process_are_logged(tmp_path: Path) -> None:
    code = "import socket; socket.socket(socket.AF_INET, socket.SOCK_DGRAM).connect(('127.0.0.9', 9))"
    settings = {"PYTHONPATH": PATHS, "CONNECTIONS": str(tmp_path / "hosts")}
    subprocess.run([sys.executable, "-c", code], env=os.environ | settings, check=True)
    assert (tmp_path / "hosts").read_text(encoding="utf-8") == "127.0.0.9\n"


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[MaliciousServer]:
    """A malicious tracking server that MLFLOW_TRACKING_URI names."""
    with malicious_server() as running:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", running.uri)
        yield running


# Places on this machine; {root} is a folder next to the project's.
LOCAL = {
    "a file URI": "file://{root}/target",
    "a file URI with one slash": "file:{root}/target",
    "a file URI in capitals": "FILE://{root}/target",
    "a file URI with a host": "file://localhost{root}/target",
    "an absolute path": "{root}/target",
    "a path with dots": "{root}/project/../target",
    "a relative path": "target",
    "a path that begins with a dot": "./target",
    "the home folder": "~/target",
    "nothing": "",
}


@pytest.mark.parametrize("attack", LOCAL)
@pytest.mark.parametrize("known", [False, True], ids=["new run", "known run"])
def test_a_tracking_server_cannot_choose_where_files_are_on_this_machine(
    server: MaliciousServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, attack: str, *, known: bool
) -> None:
    (tmp_path / "project").mkdir()
    (tmp_path / "target").mkdir()
    (tmp_path / "target" / "trial.json").write_text("not to be read or replaced", encoding="utf-8")
    monkeypatch.chdir(tmp_path / "project")
    monkeypatch.setenv("HOME", str(tmp_path))
    folder = finish_trial(make_trial(tmp_path / "project" / "runs" / "smoke" / "bach" / "e2e" / "0"))
    server.artifact_uri = LOCAL[attack].format(root=tmp_path)
    server.run_id = f"{list(LOCAL).index(attack):031}{known:d}"  # MLflow caches places by run
    server.tags = {"trial_id": "id-0", "synced_lines": "0"} if known else None
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(StoreError, match=re.escape(f"it keeps files in {server.artifact_uri}".strip())):
        Store(tmp_path / "project").sync(folder, final=True)
    assert sorted(tmp_path.rglob("*")) == before
    assert (tmp_path / "target" / "trial.json").read_text(encoding="utf-8") == "not to be read or replaced"
    assert server.uploads == []


def test_a_tracking_server_that_keeps_files_itself_gets_those_of_the_trial(
    server: MaliciousServer, tmp_path: Path
) -> None:
    folder = finish_trial(make_trial(tmp_path / "runs" / "smoke" / "bach" / "e2e" / "0"))
    Store(tmp_path).sync(folder, final=True)
    names = {path.partition("/1/a/artifacts/")[2] for path in server.uploads}
    assert names >= {"trial.json", "metrics.jsonl", "scores.json", "roll.png", "midi/0.mid", "environment.json"}
