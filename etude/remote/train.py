"""Train the trials of a bundle with torch, numpy and safetensors only: `python -m etude.remote.train FILE`.

See `etude.remote.bundle`. Fit, sample and likelihood are run here, and what they leave goes into one file for `etude
import`.
"""

from __future__ import annotations

import argparse
import signal
import sys
import time
from concurrent.futures import FIRST_COMPLETED, wait
from pathlib import Path
from typing import TYPE_CHECKING

from etude.remote import bundle
from etude.remote.archive import grid_of, pack, unpack
from etude.runner import executors as engines
from etude.runner.threads import threads_of
from etude.runner.worker import Task
from replication.util.deadline import UNFINISHED, TimeUpError, time_limit
from replication.util.errors import UserError
from replication.util.program import end_with

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from concurrent.futures import Future

    from etude.trial.trial import Trial


def run(file: Path, output: Path, *, minutes: float | None = None, workers: int | None = None) -> int:
    """Run what is pending in a bundle and write `output`, also if interrupted; return the exit code.

    The code is 1 if a trial failed, and `UNFINISHED` if there was no time for some. What was done lies in a
    folder beside the file, so that the same command goes on after it was killed.

    Raises:
        UserError: for a file that is no bundle, or one of another version of Etude.
    """
    root = Path(f"{file}.work").resolve()
    about = unpack(file, root)
    trials, datasets, grid = bundle.trials_of(about, root), bundle.windows_of(about, root), grid_of(about)
    for trial, config in zip(trials, about["trials"].values(), strict=True):
        bundle.check(trial, config, datasets[trial.experiment.encoding], file)
    engine = engines.chosen("process", workers=workers, address=None)
    threads = threads_of(engine.workers)

    def task(trial: Trial) -> Task:
        folder = datasets[trial.experiment.encoding].folder
        return Task(trial=trial, windows=folder, grid=grid, threads=threads, bare=True)

    code = 1
    try:
        with engine.open() as pool, time_limit(minutes):
            _run(trials, task, pool)
    except KeyboardInterrupt as interruption:
        code = UNFINISHED
        why = f"the {minutes:g} minutes are over" if isinstance(interruption, TimeUpError) else "interrupted"
        print(f"{why}; the same command goes on from the last checkpoints", flush=True)
    ready = sum(map(bundle.is_ready, trials))
    pack(output, about, root, [path for trial in trials if trial.exists() for path in bundle.left_by(trial)])
    print(f"{ready} of {len(trials)} trials are ready to be scored: at home, `etude import {output.name}`")
    return 0 if ready == len(trials) else code


def _run(trials: Sequence[Trial], task: Callable[[Trial], Task], pool: engines.Pool) -> None:
    """Run the trials that are pending, those first that others need."""
    waiting = [trial for trial in trials if not bundle.is_ready(trial)]
    running: dict[Future[None], tuple[Trial, float]] = {}
    while True:
        for trial in [trial for trial in waiting if not trial.missing][: pool.slots() - len(running)]:
            waiting.remove(trial)
            running[pool.start(task(trial))] = trial, time.perf_counter()
        if not running:  # what is left needs what has failed
            return
        for future in wait(running, return_when=FIRST_COMPLETED).done:
            trial, since = running.pop(future)
            if bundle.is_ready(trial):
                print(f"{trial.name}: {time.perf_counter() - since:.0f} s", flush=True)
                continue
            lost = future.exception()
            said = isinstance(lost, UserError) or not trial.exists()
            if not said and trial.about()["status"] == "RUNNING":  # it could not say so itself
                trial.close(error=str(lost))
            print(f"{trial.name}: failed, {lost if said else trial.about()['error']}", file=sys.stderr)


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog="python -m etude.remote.train", description=__doc__)
    parser.add_argument("file", metavar="FILE", type=Path, help="what `etude export` wrote")
    parser.add_argument("--minutes", metavar="N", type=float, help="stop after so long; the same command goes on")
    parser.add_argument(
        "--workers", metavar="N", type=int, help="trials side by side; one a core, 4 at most, or one on a GPU"
    )
    parser.add_argument("--output", metavar="FILE", type=Path, help="where to; FILE.done.zip if not given")
    words = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # what a queue sends before it kills
    output = words.output or Path(f"{str(words.file).removesuffix('.zip')}.done.zip")
    end_with(lambda: run(words.file, output, minutes=words.minutes, workers=words.workers), name="etude.remote.train")


if __name__ == "__main__":
    main()
