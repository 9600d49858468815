"""Trials on another machine: one file there, one file back.

A bundle is a zip file, whose members have checksums and which shows at once if it was cut off. In it are `plan.json`,
which says what to run, and files of `runs/` under the names that they have at home: the windows, what trials have left
so far, and on the way there the weights that others need. There, `etude.remote.train` runs what needs no more than
torch, numpy and safetensors; scoring, and with it the choice from the grid on which the arms are tuned, happens at
home.
"""

from __future__ import annotations

import json
import re
import shutil
import time
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from etude.remote.archive import opened, pack
from etude.runner import plan as suite
from etude.runner.comparison import at_chosen, choose_points, first_trials, tuning
from etude.runner.tuning import is_tuned
from etude.trial import stages
from eval.results import training_log
from eval.results.schema import check_about
from replication.util.checkpoint import CHECKPOINT
from replication.util.errors import UserError
from replication.util.files import atomic, describe, write_json
from replication.util.locks import lease
from replication.windows.prepared import open_windows

if TYPE_CHECKING:
    import zipfile
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from etude.runner.executors import Engine
    from etude.runner.plan import Plan
    from etude.trial.trial import Trial
    from eval.tracking.logger import Tracker
    from replication.windows.prepared import Dataset

ABOUT, LOG = "trial.json", training_log.FILE
DATA = ("data.json", "card.json", "tuning.json")  # of a comparison
# What a trial leaves before it is scored, in the order of its stages: a part of it is a trial that is less far. The log
# says how far training is, so that it follows what training goes on from.
LEFT = (
    re.escape(ABOUT),
    r"checkpoint/last\.safetensors",
    r"checkpoint/step-\d+\.safetensors",
    re.escape(LOG),
    r"timing\.json",
    r"checkpoint/model\.safetensors",
    r"fit\.sha256",
    r"samples\.txt",
    r"samples\.npz",
    r"sample\.sha256",
    r"likelihood\.json",
    r"likelihood\.sha256",
)
ENDS = ("likelihood.sha256", "sample.sha256", "fit.sha256")  # of stages, the last first
PROGRESS = ("environment", "moves", "status", "error", "started", "ended")  # of trial.json, from where a trial was run


def export(plan: Plan, datasets: Mapping[str, Dataset], tracker: Tracker, path: Path, *, engine: Engine) -> list[Trial]:
    """Write a bundle of the trials of a plan that can be run now; return them.

    As long as the grid on which the arms are tuned has not been run, these are its trials, and those of the comparison
    that do not depend on it. Once it has, it is scored here, which settles the arms, and all of the comparison can be
    run. A trial of the grid that failed counts as the worst.

    Raises:
        UserError: if nothing is left that could be run elsewhere, or if a trial of the grid cannot be scored.
    """
    from etude.runner.scheduler import run

    first = first_trials(plan, datasets)
    grid = [trial for trial in first if trial.kind == "tuning"]
    if all(is_ready(trial) or _has_failed(trial) for trial in grid):
        ready = [trial for trial in grid if is_ready(trial)]
        if failed := run(ready, datasets, plan.corpus.reading.grid, tracker, engine=engine):
            names = ", ".join(trial.name for trial in failed)
            raise UserError(
                f"{names} cannot be scored here, which settles the arms: mend what was said of it, try again"
            )
        plan = choose_points(plan, grid) if grid else plan
        runnable = plan.trials
    else:
        runnable = grid + [trial for trial in plan.trials if not is_tuned(trial.experiment)]
    pending = [trial for trial in runnable if not is_ready(trial)]
    if not pending:
        raise UserError(f"nothing of {plan.comparison} is left to be run elsewhere: `etude run` scores what is there")
    used = {name: datasets[name].folder for name in dict.fromkeys(trial.experiment.encoding for trial in pending)}
    about = {
        "scale": plan.scale.name,
        "seeds": plan.scale.seeds,
        "corpus": plan.corpus.name,
        "grid": describe(plan.corpus.reading.grid),
        "experiments": [row.name for row in plan.experiments],
        "windows": {name: folder.name for name, folder in used.items()},
        "trials": {_name(trial, plan.root): trial.config(datasets[trial.experiment.encoding]) for trial in pending},
        "exported": time.time(),
    }
    needed = [trial.sibling(name) for trial in pending for name in trial.experiment.model.needs]
    files = [file for folder in used.values() for file in sorted(folder.glob("*.*"))]
    files += [plan.comparison / name for name in DATA]
    files += [file for trial in pending for file in left_by(trial)]
    pack(path, about, plan.root, dict.fromkeys(file for file in [*files, *needed] if file.is_file()))
    return pending


def is_ready(trial: Trial) -> bool:
    """Return whether nothing is left to do before the trial is scored."""
    return not stages.of(trial.experiment, bare=True) or (trial.folder / ENDS[0]).exists()


def _has_failed(trial: Trial) -> bool:
    return trial.exists() and trial.about()["status"] == "FAILED"


def _name(trial: Trial, root: Path) -> str:
    return trial.folder.relative_to(root).as_posix()


def left_by(trial: Trial) -> list[Path]:
    """Return the files of a trial that go with it, without what only training would go on from once it has ended."""
    found = {file.relative_to(trial.folder).as_posix(): file for file in trial.folder.rglob("*") if file.is_file()}
    if trial.weights.exists():
        found.pop(f"checkpoint/{CHECKPOINT}", None)
    return [found[name] for name in _in_order(found)]


def _in_order(names: Iterable[str]) -> list[str]:
    """Return those names of files that belong to a trial which is not scored, in the order in which it leaves them."""
    ranks = {name: rank for name in names for rank, pattern in enumerate(LEFT) if re.fullmatch(pattern, name)}
    return sorted(ranks, key=lambda name: (ranks[name], name))


def trials_of(about: Mapping[str, Any], root: Path) -> list[Trial]:
    """Return the trials of a bundle below `root`, made of the rows that are here.

    Raises:
        UserError: for a row that is not here, or whose windows are not in the bundle.
    """
    plan = suite.plan(scale=about["scale"], only=about["experiments"], seeds=about["seeds"], root=root)
    plan = replace(plan, corpus=replace(plan.corpus, name=about["corpus"]))
    known = {_name(trial, plan.root): trial for trial in (*tuning(plan).trials, *at_chosen(plan).trials)}
    if unknown := about["trials"].keys() - known:
        raise UserError(f"this version of Etude does not know the trial {min(unknown)}: use the one that exported it")
    trials = [known[name] for name in about["trials"]]
    if missing := {trial.experiment.encoding for trial in trials} - about["windows"].keys():
        raise UserError(f"the bundle has no windows in encoding {min(missing)}: export it again")
    return trials


def windows_of(about: Mapping[str, Any], root: Path) -> dict[str, Dataset]:
    """Return the windows of a bundle by encoding.

    Raises:
        UserError: if they are not below `root`.
    """
    try:
        return {encoding: open_windows(root / "runs" / "cache" / name) for encoding, name in about["windows"].items()}
    except (OSError, ValueError, EOFError) as error:
        raise UserError(
            f"the windows of the bundle are not in {root / 'runs' / 'cache'} ({error}): give the --root of its export"
        ) from None


def check(trial: Trial, config: object, dataset: Dataset, path: Path) -> None:
    """Raise a `UserError` unless a trial is here what a bundle says that it is."""
    if difference := trial.difference(config, dataset):
        raise UserError(f"{path}: {trial.name} was made with another configuration ({difference}); export it again")


def take(path: Path, root: Path) -> Counter[str]:
    """Put the trials of a bundle that came back below `root`; return how many were "taken" and "kept" as they are here.

    A trial is taken if it is further there than here.

    Raises:
        UserError: before anything is changed if the file is damaged, or of other trials or data than those here.
    """
    counts: Counter[str] = Counter(taken=0, kept=0)
    with opened(path) as (archive, about):
        if about["corpus"] not in {folder.name for folder in (root / "runs" / about["scale"]).glob("*")}:
            raise UserError(f"{path} has trials of {about['corpus']}, which {root} has none of: give another --root")
        datasets, found = windows_of(about, root), []
        for trial in trials_of(about, root):
            prefix = f"{_name(trial, root.resolve())}/"
            names = [name.removeprefix(prefix) for name in archive.namelist() if name.startswith(prefix)]
            if ABOUT in names:
                there, dataset = json.loads(archive.read(f"{prefix}{ABOUT}")), datasets[trial.experiment.encoding]
                check(trial, there["config"], dataset, path)
                merged = trial.identity(dataset) | {key: there[key] for key in PROGRESS}
                check_about(merged)
                found.append((trial, prefix, _in_order(names), merged))
        for trial, prefix, names, merged in found:
            try:
                with lease(trial.folder / ".lock", wait=False):
                    counts["taken" if _take(archive, trial, prefix, names, merged) else "kept"] += 1
            except BlockingIOError:
                raise UserError(f"{trial.name} is being run here: interrupt that or wait, then import again") from None
    return counts


def _take(archive: zipfile.ZipFile, trial: Trial, prefix: str, names: list[str], about: dict[str, Any]) -> bool:
    """Write what a trial has left elsewhere, with this trial.json, unless the one here is as far."""
    log = archive.read(f"{prefix}{LOG}") if LOG in names else b""
    if trial.exists() and _here(trial) >= _progress(names, log, about):
        return False
    for name in ENDS:  # first: what is written now need not match them
        (trial.folder / name).unlink(missing_ok=True)
    for name in names:
        target = trial.folder / name
        if name == ABOUT:
            write_json(target, about)
            continue
        with atomic(target) as draft, archive.open(prefix + name) as source, draft.open("wb") as copy:
            shutil.copyfileobj(source, copy)
    return True


def _here(trial: Trial) -> tuple[int, ...]:
    log = trial.folder / LOG
    names = [name for name in ENDS if (trial.folder / name).exists()]
    return _progress(names, log.read_bytes() if log.exists() else b"", trial.about())


def _progress(names: Sequence[str], log: bytes, about: Mapping[str, Any]) -> tuple[int, ...]:
    """Return how far a trial is, as numbers to be compared.

    Which stages have ended, how much training has said, and whether it is known that it goes no further.
    """
    return (*(name in names for name in ENDS), len(training_log.whole_lines(log)), about["status"] == "FAILED")
