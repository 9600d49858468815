"""Running trials side by side: each in a process of its own, watched through the folder that it writes."""

from __future__ import annotations

import fcntl
import json
import multiprocessing
import os
import signal
import sys
import threading
import time
from multiprocessing.connection import wait
from typing import TYPE_CHECKING

from eval.corpus import printable
from eval.tracking import Store, Tracker
from replication.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from multiprocessing.context import ForkServerProcess
    from pathlib import Path

    from eval.suite import Plan
    from eval.trial import Trial
    from replication.data import Dataset
    from replication.piece import Grid

POLL = 1.0  # seconds between looks at the running trials
LISTED = 5  # dropped files that are named on the terminal
MISTAKE = 2  # the exit code of a worker that met a user's mistake, as of the command line


def default_workers() -> int:
    """Return how many trials to run side by side: one on a GPU; else one a core, for small models use no more."""
    import torch

    return 1 if torch.cuda.is_available() else min(4, os.cpu_count() or 1)


def threads_of(workers: int) -> int:
    """Return the threads of each of `workers` workers; the bits of a result depend on it."""
    return max(1, (os.cpu_count() or 1) // workers)


def run(
    trials: Sequence[Trial], datasets: Mapping[str, Dataset], grid: Grid, store: Store, *, workers: int
) -> list[Trial]:
    """Run the trials that are not done, `workers` at a time, on windows by encoding; return those that failed.

    A trial that fails is marked and the others go on, but for those that need it. Workers never touch the tracking
    store: what they write to their folders is brought there from here.

    Raises:
        UserError: if a folder was made with another configuration, before anything is run; or if a trial meets a file
            that it cannot use. The trials that were running go on with the next call.
    """
    waiting = [trial for trial in trials if not _was_done(trial, datasets[trial.experiment.encoding], store)]
    failed: list[Trial] = []
    # Forked from a clean process that has imported everything once, a worker starts in no time.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(
        ["eval.stages", "eval.judge", "pandas", "scipy.stats", "sklearn.linear_model", "muspy"]
    )
    running: list[_Running] = []
    try:
        while waiting or running:
            ready = [trial for trial in waiting if not _missing(trial)]
            for trial in ready[: workers - len(running)]:
                waiting.remove(trial)
                folder = datasets[trial.experiment.encoding].folder
                arguments = (trial, folder, grid, threads_of(workers))
                process = context.Process(target=work, args=arguments, daemon=True)
                process.start()
                label = f"[{trials.index(trial) + 1}/{len(trials)}] {trial.name}"
                running.append(_Running(trial, process, Tracker(store, trial.folder), label))
            if not running:  # what is left needs what has failed
                for trial in waiting:
                    print(f"{trial.name}: skipped, for it needs {', '.join(_missing(trial))}", file=sys.stderr)
                return failed + waiting
            wait([one.process.sentinel for one in running], timeout=POLL)
            for one in running:
                one.look()
            for one in running:
                if one.ended and one.process.exitcode == MISTAKE:
                    raise UserError(one.trial.about()["error"])
            failed += [one.trial for one in running if one.ended and not one.trial.is_done()]
            running = [one for one in running if not one.ended]
    finally:
        for one in running:
            one.process.kill()
    return failed


def announce(plan: Plan, datasets: Mapping[str, Dataset]) -> None:
    """Say what became of every file of the corpus."""
    some = next(iter(datasets.values()))
    name = printable(plan.corpus.name)
    print("{}: {files} files, {dropped} dropped, {duplicates} duplicates".format(name, **some.counts))
    for name, reason in list(some.dropped.items())[:LISTED]:
        print(f"  dropped {printable(name)}: {reason}")
    if len(some.dropped) > LISTED:
        print(f"  and {len(some.dropped) - LISTED} more, in {plan.comparison / 'data.json'}")
    for encoding, dataset in datasets.items():
        counts = "{short} pieces too short, {pieces} left with {notes} notes".format(**dataset.counts)
        sizes = ", ".join(f"{len(part.tokens)} {name}" for name, part in dataset.splits.items())
        copied = f"{dataset.counts['copied']} left out, for they are in another split too"
        print(f"  in encoding {encoding}: {counts}; windows: {sizes}, {copied}", flush=True)


def _was_done(trial: Trial, dataset: Dataset, store: Store) -> bool:
    """Return whether nothing is left to do, after bringing the tracking store level with what there is."""
    done = trial.exists() and trial.check(dataset)
    if done:
        Tracker(store, trial.folder).update(final=True)
    return done


def _missing(trial: Trial) -> list[str]:
    return [name for name in trial.experiment.model.needs if not trial.sibling(name).exists()]


class _Running:
    """A trial that a worker is at."""

    def __init__(self, trial: Trial, process: ForkServerProcess, tracker: Tracker, label: str) -> None:
        from tqdm import tqdm

        self.trial, self.process, self.tracker, self.label = trial, process, tracker, label
        self.started = time.perf_counter()
        self.ended = False
        # Shown on a terminal only.
        self._bar = tqdm(total=trial.budget.steps, desc=label, unit="step", disable=None, leave=False)

    def look(self) -> None:
        """Bring the bar and the tracking store to where the trial is; at its end, say how it ended."""
        self.ended = self.process.exitcode is not None
        if self.trial.exists():
            if self.ended and self.trial.about()["status"] == "RUNNING":  # it could not say so itself
                why = "; memory may have run out" if self.process.exitcode == -signal.SIGKILL else ""
                self.trial.close(error=f"its process ended with code {self.process.exitcode}{why}")
            self._show_progress()
            self.tracker.update(final=self.ended)
        if self.ended:
            self._bar.close()
            seconds = time.perf_counter() - self.started
            if self.trial.is_done():
                self._bar.write(f"{self.label}: done in {seconds:.0f} s")
            elif self.process.exitcode != MISTAKE:  # which ends the run and is said then
                reason = self.trial.about()["error"] if self.trial.exists() else "it did not start"
                self._bar.write(f"{self.label}: failed, {reason}", file=sys.stderr)

    def _show_progress(self) -> None:
        path = self.trial.folder / "metrics.jsonl"
        if self._bar.disable or not path.exists():
            return
        lines = path.read_bytes().rpartition(b"\n")[0].rpartition(b"\n")
        if lines[2]:
            last = json.loads(lines[2])
            self._bar.set_postfix(loss=f"{last['train/loss']:.3f}", refresh=False)
            self._bar.update(last["step"] - self._bar.n)


def work(trial: Trial, folder: Path, grid: Grid, threads: int) -> None:
    """Run the stages of a trial that are not done, on the windows in a folder; called in a worker process."""
    import torch

    from eval import stages
    from replication.data import open_windows
    from replication.train import DivergedError

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent hears it too, and ends its workers
    threading.Thread(target=_end_with_parent, daemon=True).start()
    torch.set_num_threads(threads)
    trial.folder.mkdir(parents=True, exist_ok=True)
    with (trial.folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # whoever else is at this trial finishes first
        try:
            if trial.open(dataset := open_windows(folder)):
                return
            device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
            bench = stages.Workbench(trial=trial, dataset=dataset, grid=grid, device=device)
            for stage in stages.of(trial.experiment):
                stage(bench)
        except DivergedError as error:
            trial.close(error=str(error))
        except UserError as error:
            trial.close(error=str(error))
            sys.exit(MISTAKE)
        except Exception as error:  # a defect: its traceback goes to the terminal
            trial.close(error=f"{type(error).__name__}: {error}")
            raise
        else:
            trial.close()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
