"""Run the program in a folder of its own, kill it at chosen moments, and find what a kill damaged or lost."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

import psutil

from replication.util.checksums import SUFFIX
from tests.support.damage_check import damaged, drafts
from tests.support.program import PATHS

if TYPE_CHECKING:
    from pathlib import Path
    from random import Random

# The stages of the program in order. The four in the middle are stages of a trial.
STAGES = ("prepare", "connect", "fit", "sample", "likelihood", "score", "log", "report")
TRIAL_STAGES = STAGES[2:6]
# Outputs of trial stages that do not contain times.
OUTPUTS = ("checkpoint/model.safetensors", "samples.npz", "samples.txt", "likelihood.json")
# Longest delay in seconds of a random kill after the start of its stage: what the stage takes on two idle cores.
LENGTHS = {
    "prepare": 2.0,
    "connect": 3.0,
    "fit": 1.0,
    "sample": 0.3,
    "likelihood": 0.3,
    "score": 2.0,
    "log": 1.0,
    "report": 5.0,
}
WRITTEN = {"fit": "last.safetensors"}  # the file whose writing a kill "while writing" waits for; any file if absent
PLOTTING = "matplotlib"  # a library that only the report loads, as its first step
POLL = 0.002  # seconds
TRIALS = ("e2e/0", "ngram/0")
VICTIMS = ("group", "program", "worker")


@dataclass(frozen=True, kw_only=True)
class Workspace:
    """A folder in which one `etude run` command is repeated.

    Attributes:
        folder: Folder that holds nothing else.
        corpus: Folder of the user's music.
    """

    folder: Path
    corpus: Path

    @cached_property
    def words(self) -> tuple[str, ...]:
        """The arguments of `etude run`."""
        only = [trial.partition("/")[0] for trial in TRIALS]
        return ("run", "--scale", "smoke", "--corpus", str(self.corpus), "--seeds", "1", "--only", *only)

    @cached_property
    def comparison(self) -> Path:
        """The folder of the comparison's trials."""
        return self.folder / "runs" / "smoke" / self.corpus.name

    @cached_property
    def log(self) -> Path:
        """The file that collects the program's output."""
        return self.folder.with_name(f"{self.folder.name}.log")

    def start(self, *words: str) -> subprocess.Popen[bytes]:
        """Start the program in a process group of its own."""
        self.folder.mkdir(parents=True, exist_ok=True)
        settings = {"PYTHONPATH": PATHS, "ETUDE_DATA": "", "ETUDE_CACHE": str(self.folder / "cache")}
        with self.log.open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-m", "etude", *(words or self.words)],
                cwd=self.folder,
                env=os.environ | settings,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def finish(self, *words: str) -> None:
        """Rerun the command until it succeeds. A worker that was killed alone makes it fail at most twice."""
        codes: list[int] = []
        while 0 not in codes:
            codes.append(self.start(*words).wait())
            assert len(codes) < 3, (codes, self.log.read_text(encoding="utf-8")[-3000:])

    def stage(self, process: subprocess.Popen[bytes], since: float) -> str:
        """Return the stage of the program that started at `since`. Of trials side by side the slower one counts."""
        card, trials = self.comparison / "card.json", [self.comparison / name for name in TRIALS]
        if not card.exists() or card.stat().st_mtime < since:
            return "prepare"
        if not any((trial / "trial.json").exists() for trial in trials):
            return "connect"
        for stage in TRIAL_STAGES:
            if not all((trial / f"{stage}{SUFFIX}").exists() for trial in trials):
                return stage
        return "report" if _has_loaded(process, PLOTTING) else "log"

    def kept(self) -> dict[str, bytes]:
        """Return what no later kill may lose: outputs of finished stages and complete lines of training logs."""
        found = {}
        for trial in TRIALS:
            for name in OUTPUTS:
                path = self.comparison / trial / name
                if path.exists():
                    found[f"{trial}/{name}"] = path.read_bytes()
            log = self.comparison / trial / "metrics.jsonl"
            content = log.read_bytes() if log.exists() else b""
            found[f"{trial}/metrics.jsonl"] = content[: content.rfind(b"\n") + 1]
        return found

    def lost(self, kept: dict[str, bytes]) -> int:
        """Return the number of bytes of `kept` in files that no longer begin with them."""
        now = self.kept()
        return sum(len(content) for name, content in kept.items() if not now.get(name, b"").startswith(content))


def _has_loaded(process: subprocess.Popen[bytes], library: str) -> bool:
    """Return whether a running program has loaded a shared object of a library."""
    with suppress(psutil.Error):
        return any(f"/{library}/" in region.path for region in psutil.Process(process.pid).memory_maps())
    return False


def family_of(process: subprocess.Popen[bytes]) -> list[psutil.Process]:
    """Return the living descendants of a program that are Python processes."""
    with suppress(psutil.NoSuchProcess):
        family = psutil.Process(process.pid).children(recursive=True)
        return [one for one in family if "python" in " ".join(_words(one))]
    return []


def _words(process: psutil.Process) -> list[str]:
    with suppress(psutil.Error):
        return list(process.cmdline())
    return []


@dataclass(frozen=True, kw_only=True)
class Aim:
    """The moment and the victim of a planned kill.

    Attributes:
        stage: Stage to kill in, or the next one if that stage is over.
        writing: Whether to kill while a file is being written instead of at any time.
        victim: "group" (the program and all its children), "program" (alone) or "worker" (one child).
    """

    stage: str
    writing: bool
    victim: str


@dataclass(frozen=True, kw_only=True)
class Kill:
    """What a kill found.

    Attributes:
        stage: Stage that was really in progress.
        victim: Victim, as in `Aim`.
        drafts: Temporary files that were being written.
        damaged: Damaged files. There must be none.
        kept: Content that must still be there at the end.
    """

    stage: str
    victim: str
    drafts: list[str]
    damaged: list[str]
    kept: dict[str, bytes] = field(repr=False)


def _signal(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, number)


class Chain:
    """Repeated kills of the program in one workspace.

    Attributes:
        kills: Kills so far.
    """

    def __init__(self, workspace: Workspace, random: Random) -> None:
        self.workspace, self.random = workspace, random
        self.kills: list[Kill] = []
        self._process: subprocess.Popen[bytes] | None = None
        self._since = 0.0
        self._started: list[psutil.Process] = []

    def kill(self, aim: Aim) -> None:
        """Start the program if it is not running, wait for the moment and kill."""
        while True:
            if self._process is None or self._process.poll() is not None:
                self._since = time.time()
                self._process = self.workspace.start()
            process = self._process
            while process.poll() is None and not self._reached(aim):
                time.sleep(POLL)
            if not aim.writing:
                time.sleep(self.random.uniform(0, LENGTHS[aim.stage]))
            if process.poll() is not None:  # it ended before the moment
                continue
            self._kill(process, aim.victim)
            return

    def _kill(self, process: subprocess.Popen[bytes], victim: str) -> None:
        """Kill the victim and record what it leaves. The program is stopped while its files are listed."""
        _signal(process, signal.SIGSTOP)
        stage, writing, family = (
            self.workspace.stage(process, self._since),
            drafts(self.workspace.folder),
            family_of(process),
        )
        self._started += family
        chosen = [one for one in family if victim == "worker"]
        if victim == "group":
            _signal(process, signal.SIGKILL)
        else:
            (self.random.choice(chosen) if chosen else psutil.Process(process.pid)).kill()
        _signal(process, signal.SIGCONT)
        if not chosen:
            process.wait()
        found, kept = damaged(self.workspace.folder), self.workspace.kept()
        self.kills.append(Kill(stage=stage, victim=victim, drafts=writing, damaged=found, kept=kept))

    def _reached(self, aim: Aim) -> bool:
        assert self._process
        now = STAGES.index(self.workspace.stage(self._process, self._since)) - STAGES.index(aim.stage)
        return now > 0 or (now == 0 and (not aim.writing or self._writes(aim.stage)))

    def _writes(self, stage: str) -> bool:
        return any(WRITTEN.get(stage, "") in draft for draft in drafts(self.workspace.folder))

    def finish(self) -> list[str]:
        """Rerun the command until it succeeds; return what is wrong with its files and processes."""
        if self._process:
            self._process.wait()
        self.workspace.finish()
        left = psutil.wait_procs(self._started, timeout=60)[1]
        wrong = [f"still running: {_words(process)}" for process in left]
        wrong += [f"left: {draft}" for draft in drafts(self.workspace.folder)]
        for kill in self.kills:
            wrong += kill.damaged
            if lost := self.workspace.lost(kill.kept):
                wrong.append(f"{lost} bytes lost after a kill at {kill.stage}")
        return wrong
