"""What a worker does: a pure function of a trial and its windows that leaves the trial's folder, on any machine."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from etude.trial.workbench import Workbench
from replication.util.errors import UserError
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
        windows: the folder of its prepared windows.
        grid: the length of a time step of the corpus.
        threads: to compute with; the bits of the result depend on it.
        bare: leave out what needs more than torch, numpy and safetensors: the trial is scored elsewhere.
    """

    trial: Trial
    windows: Path
    grid: TimeGrid
    threads: int
    bare: bool = False


def work(task: Task) -> None:
    """Run the stages of a trial that are not done. Why it failed is in its trial.json.

    Raises:
        UserError: if it meets a file that it cannot use, or a disk that it cannot write to.
    """
    try:
        _work(task)
    except Exception as error:
        if (said := disk_message(error)) is None:
            raise
        raise UserError(said) from None


def _work(task: Task) -> None:
    import torch

    from etude.trial import stages
    from replication.training.loop import DivergedError

    trial = task.trial
    torch.set_num_threads(task.threads)
    with lease(trial.folder / ".lock"):  # whoever else is at this trial finishes first
        if trial.open(dataset := _windows(task.windows)):  # a mistake here says nothing of the trial that is there
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
            if said := disk_message(error):
                with suppress(OSError):  # there may be no room for saying so
                    trial.close(error=said)
                raise
            said = memory_message(error)  # there may be enough for others
            trial.close(error=said or f"{type(error).__name__}: {error}")
            if not said:  # a defect: its traceback goes to the terminal
                raise
        else:
            if not task.bare:
                trial.close()


def _windows(folder: Path) -> Dataset:
    from replication.windows.prepared import open_windows

    try:
        return open_windows(folder)
    except (OSError, ValueError, EOFError) as error:
        raise UserError(f"the windows in {folder} are missing or damaged ({error}); run `etude run` again") from None
