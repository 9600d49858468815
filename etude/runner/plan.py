"""The plan of a comparison: which experiments to run, at which scale, on which corpus, and its prepared data."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from etude.trial.trial import Trial
from eval.results.schema import as_written
from eval.scoring.experiments import EXPERIMENTS, default
from replication.corpora.corpus import CORPORA, Corpus, folder_corpus, located
from replication.corpora.sandbox import read_guarded
from replication.corpora.sources import Folder
from replication.training.scales import SCALES, Scale
from replication.util.errors import UserError
from replication.util.files import describe, read_json, sweep, write_json
from replication.util.paths import folder_at

if TYPE_CHECKING:
    from collections.abc import Sequence

    from replication.corpora.sandbox import Batches
    from replication.models.ablations import Experiment
    from replication.tokens.protocol import Encoding
    from replication.windows.prepared import Dataset

PUBLISHED = Path(__file__).parents[2] / "reports" / "published"  # the reports SCALE-CORPUS that come with Etude
PART = 100_000  # windows that are counted at a time


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The experiments to run at one scale on one corpus, each with its own seeds or those of the scale.

    Attributes:
        scale: the budget and everything else that the trials share.
        corpus: the corpus, which may not be on this machine yet.
        experiments: the experiments, each after those whose weights it needs.
        root: the folder that holds `runs/` and the tracking store.
        accepted: names of the licences that the user has agreed to, for corpora that are downloaded only with consent.
    """

    scale: Scale
    corpus: Corpus
    experiments: tuple[Experiment, ...]
    root: Path
    accepted: tuple[str, ...] = ()

    @property
    def comparison(self) -> Path:
        """The folder of the trials."""
        return self.root / "runs" / self.scale.name / self.corpus.name

    @property
    def cache(self) -> Path:
        """The folder of the notes and windows that were prepared."""
        return self.root / "runs" / "cache"

    @property
    def encodings(self) -> tuple[str, ...]:
        """The encodings of the experiments, each once."""
        return tuple(dict.fromkeys(experiment.encoding for experiment in self.experiments))

    @property
    def trials(self) -> list[Trial]:
        """All trials, ordered by seed, so that an interrupted run leaves complete comparisons of fewer seeds."""
        seeds = {experiment.name: experiment.seeds_at(self.scale) for experiment in self.experiments}
        return [
            Trial(
                experiment=experiment,
                scale=self.scale,
                corpus=self.corpus.name,
                seed=seed,
                comparison=self.comparison,
            )
            for seed in sorted({seed for own in seeds.values() for seed in own})
            for experiment in self.experiments
            if seed in seeds[experiment.name]
        ]


def make_plan(
    *,
    scale: str = "auto",
    corpus: str | None = None,
    only: Sequence[str] = (),
    seeds: int | None = None,
    root: Path,
    accepted: Sequence[str] = (),
) -> Plan:
    """Return the plan for the options of a command line.

    Args:
        scale: a row of `SCALES`, or "auto".
        corpus: a row of `CORPORA` or a path; None for the corpus of the scale.
        only: names of experiments; empty for those of the scale.
        seeds: the number of seeds, counted from the first of the scale; None for all of the scale.
        root: the folder that holds `runs/` and the tracking store.
        accepted: names of the licences that the user has agreed to.

    Raises:
        UserError: if a name is unknown or a number is out of range.
    """
    chosen = find_scale(scale)
    if seeds is not None:
        counted = chosen.countable_seeds
        if not 1 <= seeds <= len(counted):
            raise UserError(f"--seeds {seeds}: give a number from 1 to {len(counted):,}")
        chosen = replace(chosen, seeds=counted[:seeds])
    names = only or default(chosen)
    return Plan(
        scale=chosen,
        corpus=find_corpus(chosen.corpus if corpus is None else corpus),
        experiments=_in_order(names),
        root=folder_at(root),
        accepted=tuple(accepted),
    )


def find_scale(name: str) -> Scale:
    """Return a row of `SCALES`; "auto" is gpu if CUDA is available, else cpu.

    Raises:
        UserError: if there is no such row.
    """
    if name == "auto":
        import torch

        name = "gpu" if torch.cuda.is_available() else "cpu"
    if name not in SCALES:
        raise UserError(f"unknown scale {name!r}; choose auto or one of {', '.join(SCALES)}")
    return SCALES[name]


def find_corpus(name: str) -> Corpus:
    """Return a row of `CORPORA`, or the corpus in a folder or an archive.

    Raises:
        UserError: if the name is neither that of a row nor a path.
    """
    if name in CORPORA:
        return CORPORA[name]
    if not os.path.exists(name):  # noqa: PTH110 - a Path would raise for a name that is too long to be one
        raise UserError(
            f"unknown corpus {name!r}: neither one of {', '.join(CORPORA)} nor a folder or archive of MIDI files"
            f" ({os.path.abspath(name)} does not exist)"  # noqa: PTH100 - as above
        )
    return folder_corpus(Path(name).resolve())


def _in_order(names: Sequence[str]) -> tuple[Experiment, ...]:
    """Return the experiments and those whose weights they need, each once and after those that it needs."""
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


def windows(plan: Plan, encoding: str, *, batches: Batches = read_guarded) -> Dataset:
    """Return the windows of the plan's corpus in an encoding; from the cache if they were prepared before."""
    from replication.windows.prepared import prepare as prepare_windows

    return prepare_windows(
        _located(plan), _encoding(plan, encoding), plan.scale.cutting, cache=plan.cache, batches=batches
    )


def _encoding(plan: Plan, name: str) -> Encoding:
    from replication.tokens.encodings import encoding_on

    return encoding_on(name, plan.corpus.reading.grid)


def _located(plan: Plan) -> Corpus:
    return located(plan.corpus, accepted=plan.accepted)


def prepare(plan: Plan, *, batches: Batches = read_guarded) -> dict[str, Dataset]:
    """Read the corpus and cut it into windows in each encoding of the plan.

    Writes the comparison's data.json, and card.json for the data card of the report.

    Args:
        plan: the plan.
        batches: the function that reads batches of files.

    Returns:
        The windows by encoding.

    Raises:
        UserError: if the corpus cannot be read, is too small, or differs from that of the trials in the folder.
    """
    from replication.corpora.reading import load
    from replication.tokens.encodings import ENCODINGS
    from replication.windows.data_card import facts

    sweep(plan.root / "runs")
    path = plan.comparison / "data.json"
    with as_written(path):
        known = (
            {name: facts["digest"] for name, facts in read_json(path).get("encodings", {}).items()}
            if path.exists()
            else {}
        )
    # Includes the encodings of earlier runs, because all encodings must be of the same music.
    datasets = {name: windows(plan, name, batches=batches) for name in dict.fromkeys((*known, *plan.encodings))}
    for name, dataset in datasets.items():
        _check_size(plan, dataset)
        if name in known and known[name] != dataset.digest:
            raise UserError(
                f"{plan.comparison} holds trials of other data named {plan.corpus.name}: move or delete it, or rename"
                " the corpus"
            )
    corpus = plan.corpus
    write_json(
        path,
        {
            "corpus": corpus.name,
            "given": str(corpus.source.path) if isinstance(corpus.source, Folder) else corpus.name,
            "title": corpus.title,
            "licence": describe(corpus.licence),
            "citation": corpus.citation,
            "grid": describe(corpus.reading.grid),
            "dropped": next(iter(datasets.values())).dropped,
            "encodings": {
                name: _encoding_facts(_encoding(plan, name).vocabulary, dataset) for name, dataset in datasets.items()
            },
        },
    )
    first, corpus = next(name for name in ENCODINGS if name in datasets), _located(plan)
    loaded, cutting = load(corpus, plan.cache), plan.scale.cutting
    card = facts(corpus, loaded, datasets[first], encoding=first, cutting=cutting, cache=plan.cache)
    write_json(plan.comparison / "card.json", card)
    return {name: datasets[name] for name in plan.encodings}


def _check_size(plan: Plan, dataset: Dataset) -> None:
    from eval.distances.noise_floor import LEAST_WINDOWS, MIN_SONGS
    from replication.windows.splits import SHARES

    if dataset.songs["test"] < MIN_SONGS:
        raise UserError(
            f"corpus {plan.corpus.name} is too small to compare with: its test split has {dataset.songs['test']} songs,"
            f" and a noise floor takes {MIN_SONGS}: about {round(MIN_SONGS / SHARES['test'])} different pieces suffice"
        )
    windows = len(dataset.splits["test"].tokens)
    if windows < LEAST_WINDOWS:
        raise UserError(
            f"corpus {plan.corpus.name} is too small to compare with: its test split has {windows} windows, and a noise"
            f" floor takes {LEAST_WINDOWS}; choose a scale with shorter windows or a corpus with longer pieces"
        )


def _encoding_facts(vocabulary: tuple[str, ...], dataset: Dataset) -> dict[str, Any]:
    """Return the entry of data.json for the encoding with this vocabulary."""
    import numpy as np

    from replication.tokens.protocol import SEP, SPECIAL_TOKENS

    train = dataset.splits["train"].tokens
    # In parts, because counting takes eight bytes per token.
    parts = (train[start : start + PART] for start in range(0, len(train), PART))
    counts = np.sum([np.bincount(part.ravel(), minlength=len(vocabulary)) for part in parts], axis=0)
    counted = counts[SEP:][counts[SEP:] > 0]  # the tokens that a likelihood counts: see `token_counts`
    shares = counted / counted.sum()
    return {
        "digest": dataset.digest,
        "counts": dataset.counts,
        "windows": {name: len(part.tokens) for name, part in dataset.splits.items()},
        "songs": dataset.songs,
        "vocabulary": len(vocabulary),
        "words_used": [word for word, n in zip(vocabulary, counts, strict=True) if n and word not in SPECIAL_TOKENS],
        "words_in_test": len(np.unique(dataset.splits["test"].tokens)),
        "ln_vocabulary": math.log(len(vocabulary)),
        "unigram_entropy": float(-(shares * np.log(shares)).sum()),
    }
