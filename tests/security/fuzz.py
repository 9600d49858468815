"""Fuzz the laws of hostile input: `python -m tests.security.fuzz [LAW [SECONDS]]`, or all laws in turn.

Atheris looks for inputs that reach code which no input has reached before. It stops at the first that breaks a law.
"""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import atheris
import numpy as np

with atheris.instrument_imports(include=["replication", "eval", "etude", "tarfile", "zipfile"]):
    from tests.security.laws import Sandbox, laws

from hypothesis import HealthCheck, given, settings

from tests.conftest import run_comparison
from tests.security.test_laws import NAMES

# An input that takes more than 60 seconds or 8 GB breaks a law too.
OPTIONS = ("-len_control=0", "-timeout=60", "-rss_limit_mb=8192", "-verbosity=0")
SEEDS, LENGTH = 64, 8192  # number of first inputs, and bytes of an input
SECONDS = 75.0


def main() -> None:
    """Fuzz one law, or each in a process of its own."""
    if name := sys.argv[1:2]:
        fuzz(name[0], float(sys.argv[2]) if len(sys.argv) > 2 else SECONDS)
    words = [sys.executable, "-m", "tests.security.fuzz"]
    codes = {name: subprocess.run([*words, name], check=False).returncode for name in NAMES}
    sys.exit(any(codes.values()))


def fuzz(name: str, seconds: float) -> None:
    """Try inputs of one law, print their number, and end the process."""
    logging.disable()
    with tempfile.TemporaryDirectory() as folder:
        for part in ("finished", "box"):
            (Path(folder) / part).mkdir()
        law = laws(Sandbox.of(run_comparison(Path(folder) / "finished"), Path(folder) / "box"))[name]
        tried, began = 0, time.monotonic()

        @given(law.inputs)
        @settings(deadline=None, database=None, suppress_health_check=list(HealthCheck))
        def holds(case: object) -> None:
            nonlocal tried
            tried += 1
            law.holds(case)

        def try_one(content: bytes) -> None:
            holds.hypothesis.fuzz_one_input(content)  # type: ignore[attr-defined]  # hypothesis adds it
            if (spent := time.monotonic() - began) > seconds and tried >= law.least:
                print(f"{name}: {tried} inputs in {spent:.0f} s, no law was broken", flush=True)
                shutil.rmtree(folder, ignore_errors=True)
                os._exit(0)  # any other way out is reported as a crash

        corpus = Path(folder) / "corpus"
        corpus.mkdir()
        for number in range(SEEDS):
            (corpus / str(number)).write_bytes(np.random.default_rng(number).bytes(LENGTH))
        atheris.Setup([sys.argv[0], f"-max_len={LENGTH}", *OPTIONS, str(corpus)], try_one)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
