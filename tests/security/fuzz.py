"""Fuzz everything that reads hostile input: `python -m tests.security.fuzz [TARGET [SECONDS]]`, or all targets in turn.

Atheris looks for inputs that lead to code which none has led to before. It ends at the first that breaks a law.
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

with atheris.instrument_imports(include=["replication", "eval", "tarfile", "zipfile"]):
    from tests.security.laws import Sandbox, laws

from hypothesis import HealthCheck, given, settings

from tests.conftest import compared
from tests.security.packed import SUFFIXES

QUIETLY = ("-len_control=0", "-rss_limit_mb=8192", "-verbosity=0")
SEEDS, LENGTH = 64, 8192  # inputs to begin with, and the bytes of an input


TARGETS = ("midi", "tokens", *(suffix[1:] for suffix in SUFFIXES), "bundle", "json", "log", "parquet", "store", "words")
SECONDS = 75.0


def main() -> None:
    """Try inputs of one target, or of each in a process of its own."""
    if target := sys.argv[1:2]:
        fuzz(target[0], float(sys.argv[2]) if len(sys.argv) > 2 else SECONDS)
    codes = {name: subprocess.run([sys.executable, __file__, name], check=False).returncode for name in TARGETS}
    sys.exit(any(codes.values()))


def fuzz(target: str, seconds: float) -> None:
    """Try inputs of one target, print how many there were, and end the process."""
    logging.disable()
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "box").mkdir()
        law = laws(Sandbox.of(compared(Path(folder) / "shown"), Path(folder) / "box"))[target]
        tried, began = 0, time.monotonic()

        @given(law.inputs)
        @settings(deadline=None, database=None, suppress_health_check=list(HealthCheck))
        def holds(case: object) -> None:
            nonlocal tried
            tried += 1
            law.holds(case)

        def try_one(content: bytes) -> None:
            holds.hypothesis.fuzz_one_input(content)  # type: ignore[attr-defined]  # which hypothesis adds
            if time.monotonic() - began > seconds:
                print(f"{target}: {tried} inputs in {seconds:.0f} s, no law was broken", flush=True)
                shutil.rmtree(folder, ignore_errors=True)
                os._exit(0)  # the fuzzer ends in no other way without a complaint

        corpus = Path(folder) / "corpus"
        corpus.mkdir()
        for number in range(SEEDS):
            (corpus / str(number)).write_bytes(np.random.default_rng(number).bytes(LENGTH))
        atheris.Setup([sys.argv[0], f"-max_len={LENGTH}", *QUIETLY, str(corpus)], try_one)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
