from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from replication.models.embeddings import Gaussian, Learned
from replication.util.files import atomic, describe, digest, read_json, sweep, write_json
from tests.support.program import ROOT

if TYPE_CHECKING:
    from pathlib import Path


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "file.json"
    write_json(path, {"a": 1})

    def fail_half_way() -> None:
        with atomic(path) as draft:
            draft.write_text("half")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail_half_way()
    assert read_json(path) == {"a": 1}
    assert list(path.parent.iterdir()) == [path]


def test_a_description_keeps_class_names() -> None:
    assert describe(Learned(scale=2.0)) == {"type": "Learned", "scale": 2.0, "trainable": True}
    assert digest(Learned()) != digest(Gaussian())
    assert digest({"b": 1, "a": (2,)}) == digest({"a": [2], "b": 1})


HALF = """
import sys, time
from pathlib import Path
from replication.util.files import atomic
with atomic(Path(sys.argv[1])) as draft:
    draft.write_text("half")
    print(flush=True)
    time.sleep(600)
"""


def half_written(path: Path) -> subprocess.Popen[bytes]:
    """Start a process that has written half of a file."""
    process = subprocess.Popen(
        [sys.executable, "-c", HALF, str(path)], env=os.environ | {"PYTHONPATH": str(ROOT)}, stdout=subprocess.PIPE
    )
    assert process.stdout
    process.stdout.readline()
    return process


def test_the_next_writer_removes_a_draft_unless_its_process_is_alive(tmp_path: Path) -> None:
    path = tmp_path / "file.json"
    killed, living = half_written(path), half_written(path)
    killed.kill()
    killed.communicate()
    hidden = tmp_path / ".file.json-notes"
    hidden.mkdir()  # not a draft
    assert len(list(tmp_path.iterdir())) == 3
    write_json(path, {"a": 1})
    assert read_json(path) == {"a": 1}
    assert len(list(tmp_path.iterdir())) == 3
    living.kill()
    living.communicate()
    write_json(path, {"a": 2})
    assert sorted(tmp_path.iterdir()) == [hidden, path]


def test_sweep_removes_the_drafts_of_dead_processes_below_a_folder(tmp_path: Path) -> None:
    (tmp_path / "deep" / ".git-of-others").mkdir(parents=True)
    path = tmp_path / "deep" / "file.json"
    killed, living = half_written(path), half_written(path)
    killed.kill()
    killed.communicate()
    sweep(tmp_path)
    assert len(list((tmp_path / "deep").iterdir())) == 2
    living.kill()
    living.communicate()
    sweep(tmp_path)
    assert [item.name for item in (tmp_path / "deep").iterdir()] == [".git-of-others"]
