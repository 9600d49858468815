"""The suite: all experiments, the plan of a comparison, and its execution."""

from __future__ import annotations

import math
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from baselines import BASELINES
from eval.trial import Trial
from replication.ablations import ABLATIONS, Experiment
from replication.corpora import CORPORA, Corpus, folder_corpus
from replication.errors import UserError
from replication.files import write_json
from replication.scales import SCALES, Scale

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    import torch

    from eval.tracking import Store
    from replication.data import Dataset

EXPERIMENTS: dict[str, Experiment] = {row.name: row for row in (*ABLATIONS, *BASELINES)}


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What to run: every experiment with every seed, at one scale, on one corpus.

    Attributes:
        root: the folder that `runs/`, the cache and the tracking store are in.
    """

    scale: Scale
    corpus: Corpus
    experiments: tuple[Experiment, ...]
    root: Path

    @property
    def comparison(self) -> Path:
        """The folder of these trials."""
        return self.root / "runs" / self.scale.name / self.corpus.name

    @property
    def trials(self) -> list[Trial]:
        """All trials, seed by seed, so that a run that was cut short leaves whole comparisons."""
        return [
            Trial(
                experiment=experiment,
                scale=self.scale,
                corpus=self.corpus.name,
                seed=seed,
                comparison=self.comparison,
            )
            for seed in range(self.scale.seeds)
            for experiment in self.experiments
        ]


def plan(
    *, scale: str = "auto", corpus: str | None = None, only: Sequence[str] = (), seeds: int | None = None, root: Path
) -> Plan:
    """Return the plan for the words of a command line.

    Raises:
        UserError: for a word that means nothing, with those that do.
    """
    chosen = find_scale(scale)
    if seeds is not None:
        if seeds < 1:
            raise UserError(f"--seeds {seeds}: at least one seed is needed")
        chosen = replace(chosen, seeds=seeds)
    names = only or chosen.experiments or tuple(EXPERIMENTS)
    return Plan(
        scale=chosen,
        corpus=find_corpus(corpus or chosen.corpus),
        experiments=_in_order(names),
        root=root.resolve(),
    )


def find_scale(name: str) -> Scale:
    """Return a row of `SCALES`; "auto" is gpu where CUDA is there, else cpu."""
    if name == "auto":
        import torch

        name = "gpu" if torch.cuda.is_available() else "cpu"
    if name not in SCALES:
        raise UserError(f"unknown scale {name!r}; choose auto or one of {', '.join(SCALES)}")
    return SCALES[name]


def find_corpus(name: str) -> Corpus:
    """Return a row of `CORPORA`, or the corpus of a folder or archive that the user names."""
    if name in CORPORA:
        return CORPORA[name]
    if not Path(name).exists():
        raise UserError(
            f"unknown corpus {name!r}: neither one of {', '.join(CORPORA)} nor a folder or archive of MIDI files"
        )
    return folder_corpus(Path(name))


def _in_order(names: Sequence[str]) -> tuple[Experiment, ...]:
    """Return the experiments and what they need, each once, what is needed first."""
    ordered: dict[str, Experiment] = {}

    def add(name: str) -> None:
        if name not in EXPERIMENTS:
            raise UserError(f"unknown experiment {name!r}; choose from {', '.join(EXPERIMENTS)}")
        for needed in EXPERIMENTS[name].model.needs:
            add(needed)
        ordered.setdefault(name, EXPERIMENTS[name])

    for name in names:
        add(name)
    return tuple(ordered.values())


def prepare(plan: Plan) -> Dataset:
    """Read the corpus, cut it into windows, and describe it in the comparison's data.json."""
    import numpy as np

    from eval.compare import MIN_SONGS
    from replication.data import SHARES
    from replication.data import prepare as prepare_windows
    from replication.tokens import ENCODINGS, MARKS, SEP

    (encoding,) = {experiment.encoding for experiment in plan.experiments}
    vocabulary = ENCODINGS[encoding].vocabulary
    dataset = prepare_windows(
        plan.corpus, ENCODINGS[encoding], length=plan.scale.length, cache=plan.root / "runs" / "cache"
    )
    songs = {name: len(set(windows.groups.tolist())) for name, windows in dataset.splits.items()}
    if songs["test"] < MIN_SONGS:
        raise UserError(
            f"corpus {plan.corpus.name} is too small to compare with: its test split has {songs['test']} songs, and a"
            f" noise floor takes {MIN_SONGS}; about {round(MIN_SONGS / SHARES['test'])} different pieces will do"
        )
    train = dataset.splits["train"].tokens
    counts = np.bincount(train[train >= SEP], minlength=len(vocabulary))
    shares = counts[counts > 0] / counts.sum()
    write_json(
        plan.comparison / "data.json",
        {
            "corpus": plan.corpus.name,
            "title": plan.corpus.title,
            "licence": plan.corpus.licence,
            "citation": plan.corpus.citation,
            "counts": dataset.counts,
            "digest": dataset.digest,
            "encoding": encoding,
            "windows": {name: len(windows.tokens) for name, windows in dataset.splits.items()},
            "songs": songs,
            "vocabulary": len(vocabulary),
            "words_used": [word for word, n in zip(vocabulary, counts, strict=True) if n and word not in MARKS],
            "ln_vocabulary": math.log(len(vocabulary)),
            "unigram_entropy": float(-(shares * np.log(shares)).sum()),
        },
    )
    return dataset


def run(plan: Plan, store: Store) -> list[Trial]:
    """Run the trials that are not done, one after another; return those that failed.

    A trial that diverges is marked and the others go on; so are those skipped that need it.
    """
    import torch

    dataset = prepare(plan)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    failed: list[Trial] = []
    trials = plan.trials
    for number, trial in enumerate(trials, 1):
        label = f"[{number}/{len(trials)}] {trial.name}"
        missing = [name for name in trial.experiment.model.needs if not trial.sibling(name).exists()]
        if missing:
            print(f"{label}: skipped, for it needs {', '.join(missing)}, which failed", file=sys.stderr)
            failed.append(trial)
        elif not run_trial(trial, dataset, store, device=device, label=label):
            failed.append(trial)
    return failed


def run_trial(trial: Trial, dataset: Dataset, store: Store, *, device: torch.device, label: str) -> bool:
    """Run the stages of a trial that are not done; return whether it finished."""
    from eval import stages
    from eval.tracking import Tracker
    from replication.train import DivergedError

    tracker = Tracker(store, trial.folder)
    if trial.open(dataset):
        tracker.update(final=True)
        return True
    started = time.perf_counter()
    with _progress(label, trial.scale.budget.steps) as bar:

        def progress(step: int, values: Mapping[str, float]) -> None:
            bar(step, values)
            tracker.update()

        bench = stages.Workbench(trial=trial, dataset=dataset, device=device, progress=progress)
        try:
            for stage in (stages.fit, stages.sample, stages.likelihood, stages.score):
                stage(bench)
        except (DivergedError, UserError) as error:
            trial.close(finished=False)
            tracker.update(final=True)
            if isinstance(error, UserError):
                raise
            print(f"{label}: failed, {error}", file=sys.stderr)
            return False
    trial.close(finished=True)
    tracker.update(final=True)
    print(f"{label}: done in {time.perf_counter() - started:.0f} s", flush=True)
    return True


@contextmanager
def _progress(label: str, steps: int) -> Iterator[Callable[[int, Mapping[str, float]], None]]:
    """Yield what shows the training's progress: a bar with the time left on a terminal, nothing elsewhere."""
    from tqdm import tqdm

    with tqdm(total=steps, desc=label, unit="step", disable=None, leave=False) as bar:

        def show(step: int, values: Mapping[str, float]) -> None:
            bar.set_postfix(loss=f"{values['train/loss']:.3f}", refresh=False)
            bar.update(step - bar.n)

        yield show
