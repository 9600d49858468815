"""The program in a folder of its own, killed at chosen moments: how far it is, and what is lost."""

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
from tests.support.program import PATHS
from tests.support.wholeness import damaged, drafts

if TYPE_CHECKING:
    from pathlib import Path
    from random import Random

# In the order of the program's work, of which trials go through the four in the middle.
STAGES = ("prepare", "connect", "fit", "sample", "likelihood", "score", "log", "report")
OF_TRIALS = STAGES[2:6]
# What the stages of a trial leave that says nothing of times.
LEFT = ("checkpoint/model.safetensors", "samples.npz", "samples.txt", "likelihood.json")
# Random moments within a stage are at most so many seconds after its beginning, on two cores that nobody else uses.
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
WRITTEN = {"fit": "last.safetensors"}  # what is waited for in a stage if it is to be killed while it writes, else all
POLL = 0.002  # seconds
TRIALS = ("e2e/0", "ngram/0")
VICTIMS = ("group", "program", "worker")


@dataclass(frozen=True, kw_only=True)
class Place:
    """A folder, and the words of the command that is given there again and again.

    Attributes:
        folder: holds nothing else.
        corpus: a folder of music.
    """

    folder: Path
    corpus: Path

    @cached_property
    def words(self) -> tuple[str, ...]:
        """The words of `etude run`."""
        only = [trial.partition("/")[0] for trial in TRIALS]
        return ("run", "--scale", "smoke", "--corpus", str(self.corpus), "--seeds", "1", "--only", *only)

    @cached_property
    def comparison(self) -> Path:
        """The folder of the trials."""
        return self.folder / "runs" / "smoke" / self.corpus.name

    @cached_property
    def log(self) -> Path:
        """What the program says."""
        return self.folder.with_name(f"{self.folder.name}.log")

    def start(self, *words: str) -> subprocess.Popen[bytes]:
        """Start the program, in a process group of its own."""
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
        """Give the command again until it is done; once more after a worker's death that it had to tell."""
        codes: list[int] = []
        while 0 not in codes:
            codes.append(self.start(*words).wait())
            assert len(codes) < 3, (codes, self.log.read_text(encoding="utf-8")[-3000:])

    def stage(self, process: subprocess.Popen[bytes], since: float) -> str:
        """Return what the program, started then, is at: of trials side by side the one that is less far decides."""
        card, trials = self.comparison / "card.json", [self.comparison / name for name in TRIALS]
        if not card.exists() or card.stat().st_mtime < since:
            return "prepare"
        if not any((trial / "trial.json").exists() for trial in trials):
            return "connect"
        for stage in OF_TRIALS:
            if not all((trial / f"{stage}{SUFFIX}").exists() for trial in trials):
                return stage
        return "report" if any("reports" in words for words in map(_words, family_of(process))) else "log"

    def kept(self) -> dict[str, bytes]:
        """Return what must never be lost again: what ended stages have left, and the whole lines of the logs."""
        found = {}
        for trial in TRIALS:
            for name in LEFT:
                path = self.comparison / trial / name
                if path.exists():
                    found[f"{trial}/{name}"] = path.read_bytes()
            log = self.comparison / trial / "metrics.jsonl"
            content = log.read_bytes() if log.exists() else b""
            found[f"{trial}/metrics.jsonl"] = content[: content.rfind(b"\n") + 1]
        return found

    def lost(self, kept: dict[str, bytes]) -> int:
        """Return how many bytes of what was there at a kill are not there now."""
        now = self.kept()
        return sum(len(content) for name, content in kept.items() if not now.get(name, b"").startswith(content))


def family_of(process: subprocess.Popen[bytes]) -> list[psutil.Process]:
    """Return the living descendants of a program that are Python's too."""
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
    """A moment to kill at.

    Attributes:
        stage: in which it is, or after which, if that is over.
        writing: just when a file is being written, instead of any time.
        victim: the program with all it has started, the program alone, or one of those it has started.
    """

    stage: str
    writing: bool
    victim: str


@dataclass(frozen=True, kw_only=True)
class Kill:
    """What was found at a kill.

    Attributes:
        stage: that was really in progress.
        victim: what was killed.
        drafts: files that were being written, as they lie there after it.
        damaged: files that are not whole, of which there must be none.
        kept: what must be there at the end.
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
    """A program that is killed again and again in one place.

    Attributes:
        kills: so far.
    """

    def __init__(self, place: Place, random: Random) -> None:
        self.place, self.random = place, random
        self.kills: list[Kill] = []
        self._process: subprocess.Popen[bytes] | None = None
        self._since = 0.0
        self._started: list[psutil.Process] = []

    def kill(self, aim: Aim) -> None:
        """Wait for the moment, starting the program if it is not running, and kill."""
        while True:
            if self._process is None or self._process.poll() is not None:
                self._since = time.time()
                self._process = self.place.start()
            process = self._process
            while process.poll() is None and not self._reached(aim):
                time.sleep(POLL)
            if not aim.writing:
                time.sleep(self.random.uniform(0, LENGTHS[aim.stage]))
            if process.poll() is not None:  # it was done before
                continue
            self._kill(process, aim.victim)
            return

    def _kill(self, process: subprocess.Popen[bytes], victim: str) -> None:
        """Kill, and note what is there: everything is halted while it is looked at."""
        _signal(process, signal.SIGSTOP)
        stage, writing, family = self.place.stage(process, self._since), drafts(self.place.folder), family_of(process)
        self._started += family
        chosen = [one for one in family if victim == "worker"]
        if victim == "group":
            _signal(process, signal.SIGKILL)
        else:
            (self.random.choice(chosen) if chosen else psutil.Process(process.pid)).kill()
        _signal(process, signal.SIGCONT)
        if not chosen:
            process.wait()
        found, kept = damaged(self.place.folder), self.place.kept()
        self.kills.append(Kill(stage=stage, victim=victim, drafts=writing, damaged=found, kept=kept))

    def _reached(self, aim: Aim) -> bool:
        assert self._process
        now = STAGES.index(self.place.stage(self._process, self._since)) - STAGES.index(aim.stage)
        return now > 0 or (now == 0 and (not aim.writing or self._writes(aim.stage)))

    def _writes(self, stage: str) -> bool:
        return any(WRITTEN.get(stage, "") in draft for draft in drafts(self.place.folder))

    def finish(self) -> list[str]:
        """Give the command until it is done; return what is wrong then with files, and with processes that are left."""
        if self._process:
            self._process.wait()
        self.place.finish()
        left = psutil.wait_procs(self._started, timeout=60)[1]
        wrong = [f"still running: {_words(process)}" for process in left]
        wrong += [f"left: {draft}" for draft in drafts(self.place.folder)]
        for kill in self.kills:
            wrong += kill.damaged
            if lost := self.place.lost(kill.kept):
                wrong.append(f"{lost} bytes lost after a kill at {kill.stage}")
        return wrong
