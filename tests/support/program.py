"""Run the program as a user does: its command line in this process, which is fast, or as a process of its own."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from contextlib import ExitStack, chdir, redirect_stderr, redirect_stdout
from pathlib import Path
from unittest.mock import patch

from etude.cli.main import main
from replication.corpora.corpus import CORPORA
from replication.corpora.reading import load
from replication.midi.smf import write_midi

ROOT = Path(__file__).parents[2]
# The first folder holds a sitecustomize module that logs network connections if CONNECTIONS is set.
PATHS = os.pathsep.join([str(ROOT / "tests" / "support" / "connection_log"), str(ROOT)])


def etude(*words: str, folder: Path, **settings: str) -> subprocess.CompletedProcess[str]:
    """Run `etude` in a folder with additional environment variables, in this process.

    Processes that it starts write to the stderr of this process. Use `python("etude", ...)` where that matters, or the
    environment of a starting interpreter.
    """
    out, error, code = io.StringIO(), io.StringIO(), None
    with ExitStack() as stack:
        stack.enter_context(patch.dict(os.environ, _environment(folder, settings)))
        stack.enter_context(patch.object(sys, "argv", ["etude", *words]))
        stack.enter_context(chdir(folder))
        stack.enter_context(redirect_stdout(out))
        stack.enter_context(redirect_stderr(error))
        try:
            main()
        except SystemExit as end:
            code = end.code
    assert code is None or isinstance(code, int), code
    return subprocess.CompletedProcess(["etude", *words], code or 0, out.getvalue(), error.getvalue())


def python(module: str, *words: str, folder: Path, **settings: str) -> subprocess.CompletedProcess[str]:
    """Run a module in a folder, as a process of its own, with additional environment variables."""
    return subprocess.run(
        [sys.executable, "-m", module, *words],
        cwd=folder,
        env=os.environ | _environment(folder, settings),
        text=True,
        capture_output=True,
        check=False,
    )


def _environment(folder: Path, settings: dict[str, str]) -> dict[str, str]:
    """Return environment variables with which a program finds no data outside a folder unless `settings` name it."""
    return {"PYTHONPATH": PATHS, "ETUDE_DATA": "", "ETUDE_CACHE": str(folder / "cache")} | settings


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
