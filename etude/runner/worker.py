"""Run one trial, on any machine, from its task and the prepared windows; the results are the trial's folder."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from etude.trial.workbench import Workbench
from replication.util.errors import UserError, error_text
from replication.util.locks import lease
from replication.util.system_errors import disk_message, memory_message

if TYPE_CHECKING:
    from pathlib import Path

    from etude.trial.trial import Trial
    from replication.midi.piece import TimeGrid
    from replication.windows.prepared import Dataset


@dataclass(frozen=True, kw_only=True)
class Task:
    """A trial to run.

    Attributes:
        trial: Trial to run.
        windows: Folder of its prepared windows.
        grid: Time grid of the corpus.
        threads: Number of threads to compute with; the bits of the result depend on it.
        bare: Whether to run only the stages that need no more than torch, numpy and safetensors; the trial is then
            scored elsewhere.
    """

    trial: Trial
    windows: Path
    grid: TimeGrid
    threads: int
    bare: bool = False


def is_trained(trial: Trial) -> bool:
    """Return whether a trial has finished the stages of a `bare` task, so that only scoring is left."""
    from etude.trial import stages

    before_scores = stages.of(trial.experiment, bare=True)
    return not before_scores or stages.checksums(trial.folder, before_scores[-1].name).exists()


def work(task: Task) -> None:
    """Run the unfinished stages of a trial. If it fails, the reason is in its trial.json.

    Raises:
        UserError: If the trial meets a file that it cannot use, or a disk that it cannot write to.
    """
    try:
        _work(task)
    except Exception as error:
        if (message := disk_message(error)) is None:
            raise
        raise UserError(message) from None


def _work(task: Task) -> None:
    import torch

    from etude.trial import stages
    from replication.training.loop import DivergedError

    trial = task.trial
    torch.set_num_threads(task.threads)
    with lease(trial.folder / ".lock"):  # another worker at this trial finishes first
        if trial.open(dataset := _open_windows(task.windows)):  # an error here does not concern the trial that exists
            return
        try:
            device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
            bench = Workbench(trial=trial, dataset=dataset, grid=task.grid, device=device)
            for stage in stages.of(trial.experiment, bare=task.bare):
                stage(bench)
        except DivergedError as error:
            trial.close(error=str(error))
        except UserError as error:
            trial.close(error=str(error))
            raise
        except Exception as error:
            if message := disk_message(error):
                with suppress(OSError):  # the disk may be too full for this too
                    trial.close(error=message)
                raise
            message = memory_message(error)  # not raised: the memory may be enough for other trials
            trial.close(error=message or f"{type(error).__name__}: {error}")
            if not message:  # a defect, whose traceback is printed
                raise
        else:
            if not task.bare:
                trial.close()


def _open_windows(folder: Path) -> Dataset:
    from replication.windows.prepared import open_windows

    try:
        return open_windows(folder)
    except (OSError, ValueError, EOFError) as error:
        raise UserError(
            f"the windows in {folder} are missing or damaged ({error_text(error)}); run the same command again"
        ) from None
