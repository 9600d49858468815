"""Running trials side by side on an engine, each watched through the folder that it writes."""

from __future__ import annotations

import sys
import time
from concurrent.futures import FIRST_COMPLETED, wait
from typing import TYPE_CHECKING

from etude.runner.threads import threads_of
from etude.runner.worker import Task
from eval.results import training_log
from replication.util.errors import UserError
from replication.util.text import printable

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from concurrent.futures import Future

    from etude.runner.executors import Engine
    from etude.runner.plan import Plan
    from etude.trial.trial import Trial
    from eval.tracking.logger import Tracker
    from replication.midi.piece import TimeGrid
    from replication.windows.prepared import Dataset

POLL = 1.0  # seconds between looks at the running trials
LISTED = 5  # dropped files that are named on the terminal


def run(
    trials: Sequence[Trial], datasets: Mapping[str, Dataset], grid: TimeGrid, tracker: Tracker, *, engine: Engine
) -> list[Trial]:
    """Run the trials that are not done, on windows by encoding; return those that failed.

    A trial that fails is marked and the others go on, but for those that need it. Workers never touch the tracking
    store: the tracker brings there what they write to their folders, and nobody waits for it.

    Raises:
        UserError: if a folder was made with another configuration, before anything is run; or if a trial meets a file
            that it cannot use. The trials that were running go on with the next call.
    """
    waiting = [trial for trial in trials if not _was_done(trial, datasets[trial.experiment.encoding], tracker)]
    failed: list[Trial] = []
    running: list[_Running] = []
    if not waiting:
        return []
    with engine.open() as pool:
        while waiting or running:
            ready = [trial for trial in waiting if not trial.missing]
            for trial in ready[: max(0, pool.slots() - len(running))]:
                waiting.remove(trial)
                folder = datasets[trial.experiment.encoding].folder
                future = pool.start(Task(trial=trial, windows=folder, grid=grid, threads=threads_of(engine.workers)))
                label = f"[{trials.index(trial) + 1}/{len(trials)}] {trial.name}"
                running.append(_Running(trial, future, tracker, label))
            if not ready and not running:  # what is left needs what has failed
                for trial in waiting:
                    print(f"{trial.name}: skipped, for it needs {', '.join(trial.missing)}", file=sys.stderr)
                return failed + waiting
            wait([one.future for one in running], timeout=POLL, return_when=FIRST_COMPLETED)
            for one in running:
                one.look()
            for one in running:
                if one.ended and isinstance(error := one.future.exception(), UserError):
                    raise error
            failed += [one.trial for one in running if one.ended and not one.trial.is_done()]
            running = [one for one in running if not one.ended]
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


def _was_done(trial: Trial, dataset: Dataset, tracker: Tracker) -> bool:
    """Return whether nothing is left to do; then the tracking store is to be level with what there is."""
    done = trial.exists() and trial.check(dataset)
    if done:
        tracker.update(trial.folder, final=True)
    return done


class _Running:
    """A trial that a worker is at."""

    def __init__(self, trial: Trial, future: Future[None], tracker: Tracker, label: str) -> None:
        from tqdm import tqdm

        self.trial, self.future, self.tracker, self.label = trial, future, tracker, label
        self.started = time.perf_counter()
        self.ended = False
        # Shown on a terminal only.
        self._bar = tqdm(total=trial.budget.steps, desc=label, unit="step", disable=None, leave=False)

    def look(self) -> None:
        """Bring the bar and the tracking store to where the trial is; at its end, say how it ended."""
        self.ended = self.future.done()
        error = self.future.exception() if self.ended else None
        if self.trial.exists():
            lost = error and not isinstance(error, UserError)
            if lost and self.trial.about()["status"] == "RUNNING":  # it could not say so itself
                self.trial.close(error=str(error))
            self._show_progress()
            self.tracker.update(self.trial.folder, final=self.ended)
        if self.ended:
            self._bar.close()
            seconds = time.perf_counter() - self.started
            if self.trial.is_done():
                self._bar.write(f"{self.label}: done in {seconds:.0f} s")
            elif not isinstance(error, UserError):  # which ends the run and is said then
                reason = self.trial.about()["error"] if self.trial.exists() else error
                self._bar.write(f"{self.label}: failed, {reason}", file=sys.stderr)

    def _show_progress(self) -> None:
        if not self._bar.disable and (last := training_log.read_last(self.trial.folder / training_log.FILE)):
            self._bar.set_postfix(loss=f"{last.values['train/loss']:.3f}", refresh=False)
            self._bar.update(last.step - self._bar.n)
