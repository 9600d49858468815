"""The program as a user starts it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from replication.corpora.corpus import CORPORA
from replication.corpora.reading import load
from replication.midi.smf import write_midi

ROOT = Path(__file__).parents[2]
PATHS = os.pathsep.join(
    [str(ROOT / "tests" / "support" / "observed"), str(ROOT)]
)  # the first notes what is connected to, if asked


def etude(*words: str, folder: Path, **settings: str) -> subprocess.CompletedProcess[str]:
    """Run `etude` in a folder of its own, with these settings of the environment."""
    return python("etude", *words, folder=folder, **settings)


def python(module: str, *words: str, folder: Path, **settings: str) -> subprocess.CompletedProcess[str]:
    """Run a module; nothing but what `settings` names is found outside of the folder."""
    return subprocess.run(
        [sys.executable, "-m", module, *words],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": PATHS, "ETUDE_DATA": "", "ETUDE_CACHE": str(folder / "cache")} | settings,
        text=True,
        capture_output=True,
        check=False,
    )


def music(folder: Path, count: int) -> Path:
    """Write `count` pieces as MIDI files below `folder`."""
    for piece in load(CORPORA["synthetic"], folder / "cache").pieces[:count]:
        write_midi(piece, folder / "music" / f"{piece.id}.mid")
    return folder / "music"


def elsewhere(observed: Path) -> set[str]:
    """Return the places off this machine that were looked up or connected to; see `observed/sitecustomize.py`."""
    found = set(observed.read_text(encoding="utf-8").split()) if observed.exists() else set()
    return {place for place in found if place not in {"localhost", "None", "::1"} and not place.startswith("127.")}


def assert_a_mistake(done: subprocess.CompletedProcess[str], message: str) -> None:
    """Assert that the program told a user's mistake in one sentence."""
    assert done.returncode == 2, done.stderr
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
