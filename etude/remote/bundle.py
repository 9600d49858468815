"""Move trials to another machine and back: one file there, one file back.

A bundle is a zip file: its members have checksums, and a truncated one is noticed at once. It holds `plan.json`, which
lists what to run, and files of `runs/` under the names that they have at home: the windows, what the trials have left
so far, and on the way there the weights that other trials need. On the other machine `etude.remote.train` runs what
needs only torch, numpy and safetensors. Scoring happens at home, and so does the choice from the arms' tuning grid.
"""

from __future__ import annotations

import json
import re
import shutil
import time
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from etude.remote.archive import open_bundle, pack
from etude.runner.comparison import at_chosen, choose_points, declare_claims, tuning, tuning_trials
from etude.runner.plan import make_plan
from etude.runner.scheduler import run
from etude.runner.tuning import is_tuned
from etude.runner.worker import is_trained
from eval.results import training_log
from eval.results.schema import check_about
from replication.util.checkpoint import CHECKPOINT
from replication.util.errors import UserError, error_text
from replication.util.files import atomic, describe, write_json
from replication.util.locks import lease
from replication.util.program import command
from replication.windows.prepared import open_windows

if TYPE_CHECKING:
    import zipfile
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from etude.runner.executors import Executor
    from etude.runner.plan import Plan
    from etude.trial.trial import Trial
    from eval.tracking.logger import Tracker
    from replication.windows.prepared import Dataset

ABOUT, LOG = "trial.json", training_log.FILE
COMPARISON_FILES = ("data.json", "card.json", "tuning.json", "declaration.json")
# Patterns of the files of a trial that is not scored, in the order of its stages: a prefix of them is a trial that is
# less advanced. The log shows the progress of training, so it comes after the checkpoint that training resumes from.
MOVED = (
    re.escape(ABOUT),
    r"checkpoint/last\.safetensors",
    r"checkpoint/step-\d+\.safetensors",
    re.escape(LOG),
    r"timing\.json",
    r"training\.json",
    r"checkpoint/model\.safetensors",
    r"fit\.sha256",
    r"samples\.txt",
    r"samples\.npz",
    r"sample\.sha256",
    r"likelihood\.json",
    r"likelihood\.sha256",
)
STAGE_ENDS = ("likelihood.sha256", "sample.sha256", "fit.sha256")  # checksum files of the stages, the last first
# Keys of trial.json that come with a bundle.
PROGRESS = ("declaration", "environment", "moves", "status", "error", "started", "ended")


def export(
    plan: Plan, datasets: Mapping[str, Dataset], tracker: Tracker, path: Path, *, executor: Executor
) -> list[Trial]:
    """Write a bundle of the trials of a plan that can be run now, and return them.

    Until the grid on which the arms are tuned has been run, these are the trials of the grid and those trials of the
    comparison that do not depend on it. Afterwards the grid is scored here, which settles the arms, and the whole
    comparison can be run. A grid trial that failed counts as the worst.

    Raises:
        UserError: If nothing is left to run elsewhere, or a trial of the grid cannot be scored.
    """
    declare_claims(plan, datasets)
    grid = tuning_trials(plan, datasets)
    if all(is_trained(trial) or _has_failed(trial) for trial in grid):
        ready = [trial for trial in grid if is_trained(trial)]
        if failed := run(ready, datasets, plan.corpus.reading.grid, tracker, executor=executor):
            names = ", ".join(trial.name for trial in failed)
            raise UserError(
                f"{names} cannot be scored here, which is needed to tune the arms: fix the errors printed above, then"
                " export again"
            )
        choose_points(plan, grid)
        runnable = at_chosen(plan)
    else:
        runnable = grid + [trial for trial in plan.trials if not is_tuned(trial.experiment)]
    pending = [trial for trial in runnable if not is_trained(trial)]
    if not pending:
        raise UserError(
            f"no trial of {plan.comparison} is left to run elsewhere: run `{command('run', root=plan.root)}` to score"
            " the trained ones"
        )
    used = {name: datasets[name].folder for name in dict.fromkeys(trial.experiment.encoding for trial in pending)}
    about = {
        "scale": plan.scale.name,
        "seeds": len(plan.scale.seeds),
        "corpus": plan.corpus.name,
        "grid": describe(plan.corpus.reading.grid),
        "experiments": [row.name for row in plan.experiments],
        "windows": {name: folder.name for name, folder in used.items()},
        "trials": {_name(trial, plan.root): trial.config(datasets[trial.experiment.encoding]) for trial in pending},
        "exported": time.time(),
    }
    needed = [trial.sibling(name) for trial in pending for name in trial.experiment.model.needs]
    files = [file for folder in used.values() for file in sorted(folder.glob("*.*"))]
    files += [plan.comparison / name for name in COMPARISON_FILES]
    files += [file for trial in pending for file in files_to_move(trial)]
    pack(path, about, plan.root, dict.fromkeys(file for file in [*files, *needed] if file.is_file()))
    return pending


def _has_failed(trial: Trial) -> bool:
    return trial.exists() and trial.about()["status"] == "FAILED"


def _name(trial: Trial, root: Path) -> str:
    return trial.folder.relative_to(root).as_posix()


def files_to_move(trial: Trial) -> list[Path]:
    """Return the files of a trial that belong in a bundle; once it is trained, without its training checkpoint."""
    found = {file.relative_to(trial.folder).as_posix(): file for file in trial.folder.rglob("*") if file.is_file()}
    if trial.weights.exists():
        found.pop(f"checkpoint/{CHECKPOINT}", None)
    return [found[name] for name in _in_order(found)]


def _in_order(names: Iterable[str]) -> list[str]:
    """Return the names that files of an unscored trial can have, in the order in which the stages write them."""
    ranks = {name: rank for name in names for rank, pattern in enumerate(MOVED) if re.fullmatch(pattern, name)}
    return sorted(ranks, key=lambda name: (ranks[name], name))


def trials_of(about: Mapping[str, Any], root: Path) -> list[Trial]:
    """Return the trials of a bundle below `root`, built from the experiments of this version of Etude.

    Raises:
        UserError: If a trial is unknown here, or its windows are not in the bundle.
    """
    plan = make_plan(scale=about["scale"], only=about["experiments"], seeds=about["seeds"], root=root)
    plan = replace(plan, corpus=replace(plan.corpus, name=about["corpus"]))
    known = {_name(trial, plan.root): trial for trial in (*tuning(plan).trials, *at_chosen(plan))}
    if unknown := about["trials"].keys() - known:
        raise UserError(
            f"this version of Etude does not know the trial {min(unknown)}: use the version that exported it"
        )
    trials = [known[name] for name in about["trials"]]
    if missing := {trial.experiment.encoding for trial in trials} - about["windows"].keys():
        raise UserError(f"the bundle has no windows in encoding {min(missing)}: export it again")
    return trials


def windows_of(about: Mapping[str, Any], root: Path) -> dict[str, Dataset]:
    """Return the windows of a bundle by encoding.

    Raises:
        UserError: If they are not below `root`.
    """
    try:
        return {encoding: open_windows(root / "runs" / "cache" / name) for encoding, name in about["windows"].items()}
    except (OSError, ValueError, EOFError) as error:
        raise UserError(
            f"the bundle's windows are not in {root / 'runs' / 'cache'} ({error_text(error)}): give the --root that"
            " it was exported from"
        ) from None


def check(trial: Trial, config: object, dataset: Dataset, path: Path) -> None:
    """Raise a `UserError` unless a trial has the same configuration here as in a bundle."""
    if difference := trial.difference(config, dataset):
        raise UserError(f"{path}: {trial.name} was made with another configuration ({difference}); export it again")


def import_trials(path: Path, root: Path) -> Counter[str]:
    """Put the trials of a bundle that came back below `root`; return how many were "taken" and how many were "kept".

    A trial is taken if it is more advanced in the bundle than here, and otherwise kept as it is here.

    Raises:
        UserError: Before anything changes, if the file is damaged or has other trials or data than `root`.
    """
    counts: Counter[str] = Counter(taken=0, kept=0)
    with open_bundle(path) as (archive, about):
        if about["corpus"] not in {folder.name for folder in (root / "runs" / about["scale"]).glob("*")}:
            raise UserError(
                f"{path} has trials of {about['corpus']}, and {root} has none of that corpus: give another --root"
            )
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
                raise UserError(
                    f"{trial.name} is running here: interrupt that run or wait for its end, then import again"
                ) from None
    return counts


def _take(archive: zipfile.ZipFile, trial: Trial, prefix: str, names: list[str], about: dict[str, Any]) -> bool:
    """Write a trial's files from a bundle, with this trial.json, unless the trial here is as advanced."""
    log = archive.read(f"{prefix}{LOG}") if LOG in names else b""
    if trial.exists() and _progress_here(trial) >= _progress(names, log, about):
        return False
    for name in STAGE_ENDS:  # first, because the files written now may not match them
        (trial.folder / name).unlink(missing_ok=True)
    for name in names:
        target = trial.folder / name
        if name == ABOUT:
            write_json(target, about)
            continue
        with atomic(target) as draft, archive.open(prefix + name) as source, draft.open("wb") as copy:
            shutil.copyfileobj(source, copy)
    return True


def _progress_here(trial: Trial) -> tuple[int, ...]:
    log = trial.folder / LOG
    names = [name for name in STAGE_ENDS if (trial.folder / name).exists()]
    return _progress(names, log.read_bytes() if log.exists() else b"", trial.about())


def _progress(names: Sequence[str], log: bytes, about: Mapping[str, Any]) -> tuple[int, ...]:
    """Return how advanced a trial is, as a tuple to compare.

    It counts which stages have ended, then the length of the training log, then whether the trial is known to fail.
    """
    return (*(name in names for name in STAGE_ENDS), len(training_log.whole_lines(log)), about["status"] == "FAILED")
