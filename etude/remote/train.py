"""Train the trials of a bundle on a borrowed machine: `python -m etude.remote.train FILE`.

This needs torch, numpy and safetensors only. It runs the stages fit, sample and likelihood and writes their results to
one file for `etude import`; see `etude.remote.bundle`.
"""

from __future__ import annotations

import argparse
import signal
from pathlib import Path

from etude.remote import bundle
from etude.remote.archive import grid_of, pack, unpack
from etude.runner import executors, scheduler
from etude.runner.worker import is_trained
from replication.util.deadline import UNFINISHED, TimeUpError, time_limit
from replication.util.program import end_with


def run(file: Path, output: Path, *, minutes: float | None = None, workers: int | None = None) -> int:
    """Train the pending trials of a bundle, write `output` even if interrupted, and return the exit code.

    The exit code is 1 if a trial failed, and `UNFINISHED` if the run was interrupted or its time was up. The trials
    live in a folder next to the file, so that the same command resumes them.

    Raises:
        UserError: If the file is not a bundle, or is from another version of Etude.
    """
    root = Path(f"{file}.work").resolve()
    about = unpack(file, root)
    trials, datasets, grid = bundle.trials_of(about, root), bundle.windows_of(about, root), grid_of(about)
    for trial, config in zip(trials, about["trials"].values(), strict=True):
        bundle.check(trial, config, datasets[trial.experiment.encoding], file)
    executor = executors.make_executor("process", workers=workers, address=None)
    code = 1
    try:
        with time_limit(minutes):
            scheduler.run(trials, datasets, grid, executor=executor, bare=True)
    except KeyboardInterrupt as interruption:
        code = UNFINISHED
        why = f"the {minutes:g} minutes are up" if isinstance(interruption, TimeUpError) else "interrupted"
        print(f"{why}; run the same command again to resume from the last checkpoints", flush=True)
    ready = sum(map(is_trained, trials))
    pack(output, about, root, [path for trial in trials if trial.exists() for path in bundle.files_to_move(trial)])
    print(f"{ready} of {len(trials)} trials are ready to be scored: at home, run `etude import {output.name}`")
    return 0 if ready == len(trials) else code


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog="python -m etude.remote.train", description=__doc__)
    parser.add_argument("file", metavar="FILE", type=Path, help="a file written by `etude export`")
    parser.add_argument(
        "--minutes", metavar="N", type=float, help="stop after N minutes; the same command resumes (default: no limit)"
    )
    parser.add_argument(
        "--workers", metavar="N", type=int, help="trials side by side (default: 1 on a GPU, else 1 per core, at most 4)"
    )
    parser.add_argument("--output", metavar="FILE", type=Path, help="file to write (default: FILE.done.zip)")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # job queues send it before they kill
    output = options.output or Path(f"{str(options.file).removesuffix('.zip')}.done.zip")
    end_with(
        lambda: run(options.file, output, minutes=options.minutes, workers=options.workers), name="etude.remote.train"
    )


if __name__ == "__main__":
    main()
