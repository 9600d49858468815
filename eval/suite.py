"""The suite: all experiments, and the plan of a comparison."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from baselines import BASELINES
from eval.trial import Trial
from replication.ablations import ABLATIONS, Experiment
from replication.corpora import CORPORA, Corpus, folder_corpus
from replication.errors import UserError
from replication.files import read_json, write_json
from replication.scales import SCALES, Scale

if TYPE_CHECKING:
    from collections.abc import Sequence

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
    def encoding(self) -> str:
        """The encoding that all experiments share."""
        encodings = sorted({experiment.encoding for experiment in self.experiments})
        if len(encodings) > 1:
            raise UserError(f"experiments in different encodings ({', '.join(encodings)}) cannot share a comparison")
        return encodings[0]

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
    return folder_corpus(Path(name).resolve())


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


def windows(plan: Plan) -> Dataset:
    """Return the windows of the plan's corpus, from the cache if they are there."""
    from replication.data import prepare as prepare_windows
    from replication.tokens import ENCODINGS

    return prepare_windows(
        plan.corpus, ENCODINGS[plan.encoding], length=plan.scale.length, cache=plan.root / "runs" / "cache"
    )


def prepare(plan: Plan) -> Dataset:
    """Read the corpus, cut it into windows, and describe it in the comparison's data.json."""
    import numpy as np

    from eval.compare import MIN_SONGS
    from replication.data import SHARES
    from replication.tokens import ENCODINGS, MARKS, SEP

    dataset, encoding = windows(plan), plan.encoding
    vocabulary = ENCODINGS[encoding].vocabulary
    songs = {name: len(set(part.groups.tolist())) for name, part in dataset.splits.items()}
    if songs["test"] < MIN_SONGS:
        raise UserError(
            f"corpus {plan.corpus.name} is too small to compare with: its test split has {songs['test']} songs, and a"
            f" noise floor takes {MIN_SONGS}; about {round(MIN_SONGS / SHARES['test'])} different pieces will do"
        )
    path = plan.comparison / "data.json"
    if path.exists() and read_json(path)["digest"] != dataset.digest:
        raise UserError(
            f"{plan.comparison} holds trials of other data named {plan.corpus.name}: move or delete it, or give the"
            " corpus another name"
        )
    train = dataset.splits["train"].tokens
    counts = np.bincount(train[train >= SEP], minlength=len(vocabulary))
    shares = counts[counts > 0] / counts.sum()
    write_json(
        path,
        {
            "corpus": plan.corpus.name,
            "title": plan.corpus.title,
            "licence": plan.corpus.licence,
            "citation": plan.corpus.citation,
            "counts": dataset.counts,
            "dropped": dataset.dropped,
            "digest": dataset.digest,
            "encoding": encoding,
            "windows": {name: len(part.tokens) for name, part in dataset.splits.items()},
            "songs": songs,
            "vocabulary": len(vocabulary),
            "words_used": [word for word, n in zip(vocabulary, counts, strict=True) if n and word not in MARKS],
            "ln_vocabulary": math.log(len(vocabulary)),
            "unigram_entropy": float(-(shares * np.log(shares)).sum()),
        },
    )
    return dataset
