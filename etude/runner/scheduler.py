"""Run trials side by side and watch each one through the folder that it writes."""

from __future__ import annotations

import sys
import time
from concurrent.futures import FIRST_COMPLETED, wait
from typing import TYPE_CHECKING, Protocol

from etude.runner.executors import threads_per_worker
from etude.runner.worker import Task, is_trained
from etude.trial.trial import note_lost_files
from eval.results import training_log
from replication.util.errors import UserError
from replication.util.text import printable

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from concurrent.futures import Future
    from pathlib import Path

    from etude.runner.executors import Executor
    from etude.runner.plan import Plan
    from etude.trial.trial import Trial
    from replication.midi.piece import TimeGrid
    from replication.windows.prepared import Dataset

POLL = 1.0  # seconds between looks at the running trials
LISTED = 5  # dropped files that are named on the terminal


class ProgressListener(Protocol):
    """Receives the folders of trials as they grow."""

    def update(self, folder: Path, *, final: bool = False) -> None:
        """Take note that a trial's folder may have changed, for the last time if `final`; return at once."""


def run(
    trials: Sequence[Trial],
    datasets: Mapping[str, Dataset],
    grid: TimeGrid,
    listener: ProgressListener | None = None,
    *,
    executor: Executor,
    bare: bool = False,
) -> list[Trial]:
    """Run the unfinished trials and return those that failed.

    A trial that fails is marked, and the others continue, except for those that need its weights. Workers only write
    to the folders of their trials; the listener passes on what it finds there.

    Args:
        trials: Trials in their order.
        datasets: Prepared windows by encoding.
        grid: Time grid of the corpus.
        listener: Receiver of progress, such as the MLflow tracker.
        executor: Place where the trials run.
        bare: Whether to stop before scoring, as on a machine that has only what training needs. There a file that a
            trial cannot use ends that trial alone, since the time on such a machine is precious.

    Raises:
        UserError: If a folder was made with another configuration, before anything runs; or, unless `bare`, if a trial
            meets a file that it cannot use. Running the same plan again resumes the interrupted trials.
    """
    waiting = [trial for trial in trials if not (is_trained(trial) if bare else _is_done(trial, datasets, listener))]
    failed: list[Trial] = []
    running: list[_RunningTrial] = []
    if not waiting:
        return []
    with executor.open() as pool:
        while waiting or running:
            ready = [trial for trial in waiting if not trial.missing]
            for trial in ready[: max(0, pool.slots() - len(running))]:
                waiting.remove(trial)
                windows = datasets[trial.experiment.encoding].folder
                task = Task(
                    trial=trial, windows=windows, grid=grid, threads=threads_per_worker(executor.workers), bare=bare
                )
                label = f"[{trials.index(trial) + 1}/{len(trials)}] {trial.name}"
                running.append(_RunningTrial(task, pool.start(task), label, listener))
            if not ready and not running:  # the rest needs trials that failed
                for trial in waiting:
                    print(f"{trial.name}: skipped because it needs {', '.join(trial.missing)}", file=sys.stderr)
                return failed + waiting
            wait([one.future for one in running], timeout=POLL, return_when=FIRST_COMPLETED)
            for one in running:
                one.look()
            for one in running:
                if one.ended and not bare and isinstance(error := one.future.exception(), UserError):
                    raise error
            failed += [one.task.trial for one in running if one.ended and not one.succeeded]
            running = [one for one in running if not one.ended]
    return failed


def announce(plan: Plan, datasets: Mapping[str, Dataset]) -> None:
    """Print how many files of the corpus are used and why the others are not."""
    some = next(iter(datasets.values()))
    name = printable(plan.corpus.name)
    print("{}: {files} files, {dropped} dropped, {duplicates} duplicates".format(name, **some.counts))
    for name, reason in list(some.dropped.items())[:LISTED]:
        print(f"  dropped {printable(name)}: {reason}")
    if len(some.dropped) > LISTED:
        print(f"  and {len(some.dropped) - LISTED} more, listed in {plan.comparison / 'data.json'}")
    for encoding, dataset in datasets.items():
        counts = "{short} pieces too short, {pieces} pieces used, with {notes} notes".format(**dataset.counts)
        sizes = ", ".join(f"{len(part.tokens)} {name}" for name, part in dataset.splits.items())
        copied = f"{dataset.counts['copied']} left out because they are in another split too"
        print(f"  in encoding {encoding}: {counts}; windows: {sizes}, {copied}", flush=True)


def _is_done(trial: Trial, datasets: Mapping[str, Dataset], listener: ProgressListener | None) -> bool:
    """Return whether a trial is complete; tell the listener of those that are, and the user of files that are lost."""
    done = trial.exists() and trial.check(datasets[trial.experiment.encoding])
    if not done:
        note_lost_files(trial.folder)
    elif listener:
        listener.update(trial.folder, final=True)
    return done


class _RunningTrial:
    """A trial that a worker is running."""

    def __init__(self, task: Task, future: Future[None], label: str, listener: ProgressListener | None) -> None:
        self.task, self.future, self.label, self.listener = task, future, label, listener
        self.started = time.perf_counter()
        self.ended = False
        self._bar = _ProgressBar(task.trial, label)

    @property
    def succeeded(self) -> bool:
        """Whether the trial has everything that was asked for."""
        return is_trained(self.task.trial) if self.task.bare else self.task.trial.is_done()

    def look(self) -> None:
        """Update the progress bar and the listener; print the outcome of a trial that has ended."""
        trial = self.task.trial
        self.ended = self.future.done()
        error = self.future.exception() if self.ended else None
        if trial.exists():
            lost = error and not isinstance(error, UserError)
            if lost and trial.about()["status"] == "RUNNING":  # the worker could not write why it ended
                trial.close(error=str(error))
            self._bar.update()
            if self.listener:
                self.listener.update(trial.folder, final=self.ended)
        if self.ended:
            self._bar.close()
            seconds = time.perf_counter() - self.started
            if self.succeeded:
                self._bar.write(f"{self.label}: done in {seconds:.0f} s")
            elif not isinstance(error, UserError) or self.task.bare:  # else the error ends the run with its message
                known = trial.exists() and not isinstance(error, UserError)
                reason = trial.about()["error"] if known else error
                self._bar.write(f"{self.label}: failed, {reason}", error=True)


class _ProgressBar:
    """A progress bar on a terminal; only its messages where tqdm is not installed, as on a borrowed machine."""

    def __init__(self, trial: Trial, label: str) -> None:
        try:
            from tqdm import tqdm
        except ImportError:
            self._bar = None
        else:
            self._bar = tqdm(total=trial.budget.steps, desc=label, unit="step", disable=None, leave=False)
        self._log = trial.folder / training_log.FILE

    def update(self) -> None:
        """Show the last logged step and its loss."""
        if self._bar is not None and not self._bar.disable and (last := training_log.read_last(self._log)):
            self._bar.set_postfix(loss=f"{last.values['train/loss']:.3f}", refresh=False)
            self._bar.update(last.step - self._bar.n)

    def write(self, message: str, *, error: bool = False) -> None:
        """Print a message without breaking the bars."""
        stream = sys.stderr if error else sys.stdout
        if self._bar is not None:
            self._bar.write(message, file=stream)
        else:
            print(message, file=stream, flush=True)

    def close(self) -> None:
        """Remove the bar."""
        if self._bar is not None:
            self._bar.close()
