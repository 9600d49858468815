"""Run the program as a user does."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from replication.corpora.corpus import CORPORA
from replication.corpora.reading import load
from replication.midi.smf import write_midi

ROOT = Path(__file__).parents[2]
# The first folder holds a sitecustomize module that logs network connections if CONNECTIONS is set.
PATHS = os.pathsep.join([str(ROOT / "tests" / "support" / "connection_log"), str(ROOT)])


def etude(*words: str, folder: Path, **settings: str) -> subprocess.CompletedProcess[str]:
    """Run `etude` in a folder with additional environment variables."""
    return python("etude", *words, folder=folder, **settings)


def python(module: str, *words: str, folder: Path, **settings: str) -> subprocess.CompletedProcess[str]:
    """Run a module in a folder. It finds no data outside the folder unless `settings` name it."""
    return subprocess.run(
        [sys.executable, "-m", module, *words],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": PATHS, "ETUDE_DATA": "", "ETUDE_CACHE": str(folder / "cache")} | settings,
        text=True,
        capture_output=True,
        check=False,
    )


def music(folder: Path, count: int) -> Path:
    """Write `count` synthetic pieces as MIDI files below `folder`."""
    for piece in load(CORPORA["synthetic"], folder / "cache").pieces[:count]:
        write_midi(piece, folder / "music" / f"{piece.id}.mid")
    return folder / "music"


def remote_hosts(log: Path) -> set[str]:
    """Return the logged hosts that are not this machine; see `connection_log/sitecustomize.py`."""
    hosts = set(log.read_text(encoding="utf-8").split()) if log.exists() else set()
    return {host for host in hosts if host not in {"localhost", "None", "::1"} and not host.startswith("127.")}


def assert_user_error(done: subprocess.CompletedProcess[str], message: str) -> None:
    """Assert that the program ended with exit code 2 and one line on stderr that contains a message."""
    assert done.returncode == 2, done.stderr
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
