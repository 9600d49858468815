"""What samples are held against: the real music of a split that training has not seen, and the training split."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from baselines import TEACHER
from eval.distances.copying import known_runs, memorisation, nearest
from eval.distances.noise_floor import MEAN, Origin, floor_ratios
from eval.metrics.table import features_on
from eval.metrics.windows import evenly
from eval.scoring.controls import FromTest, Material, changed
from eval.scoring.measures import DISTANCE, scoring_version
from eval.scoring.music import Music, Scored, form_of, notes_of, raw_means, read, table_of, written
from eval.scoring.panel import set_distances
from eval.scoring.teacher import Judgement, teacher_nll, token_entropy
from replication.util.checksums import missing, write_checksums
from replication.util.files import write_json, write_parquet
from replication.util.generators import seed_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import pandas as pd
    import torch
    from numpy.typing import NDArray

    from eval.distances.copying import Known
    from eval.metrics.windows import Windows
    from replication.models.ablations import Experiment
    from replication.tokens.protocol import Encoding
    from replication.training.scales import Scale
    from replication.windows.prepared import Dataset

REFERENCE_WINDOWS = 2048  # real windows, evenly spread, that samples are compared with; more add seconds, not power
SHOWN = 8  # windows that figures may show: the first, unpicked
INK = "#202020"  # the colour of real music


@dataclass(frozen=True, kw_only=True, eq=False)
class Judge:
    """Everything that samples are held against.

    Attributes:
        real: windows of real music.
        known: the training split.
        encoding: how music is written.
        scale: the budget, whose number of samples is the size at which sets are compared.
        teacher: what says how likely (k, L) token ids are, where there is one in this encoding.
        seed: of the halves of the real music, the same for all trials.
    """

    real: Music
    known: Known
    encoding: Encoding
    scale: Scale
    teacher: Callable[[torch.Tensor], Judgement] | None
    seed: int

    @classmethod
    def of(
        cls,
        dataset: Dataset,
        encoding: Encoding,
        scale: Scale,
        *,
        comparison: Path,
        teacher: Path | None = None,
        device: torch.device | None = None,
    ) -> Judge:
        """Return the judge of all trials of a comparison in an encoding; what it takes long to make, it keeps there."""
        real = reference(dataset, encoding, split=scale.held_out)
        path = comparison / "reference" / f"{dataset.digest[:32]}-train.npz"
        known = known_runs(path, dataset.splits["train"].tokens, encoding)
        _keep_reference(real, known, comparison, dataset.digest)
        return cls(
            real=real,
            known=known,
            encoding=encoding,
            scale=scale,
            teacher=None
            if teacher is None
            else partial(_taught, weights=teacher, scale=scale, encoding=encoding, device=device),
            seed=seed_of("halves", dataset.digest),
        )

    def control(self, experiment: Experiment, *, seed: int, sibling: Callable[[str], Path]) -> tuple[Music, float]:
        """Return a control that is made of the real music, and the share of windows that it differs from.

        As tokens its windows may have become longer, and are cut; those that fill less than half a window are left out.
        """
        model = experiment.model
        assert isinstance(model, FromTest)
        material = Material(
            real=self.real.scored.windows,
            encoding=self.encoding,
            scale=self.scale,
            sibling=sibling,
            rng=np.random.default_rng(seed_of("control", experiment.name, seed)),
        )
        windows, sources = model.make(material)
        songs = self.real.scored.songs
        music = Music(
            scored=Scored.of(windows, songs=songs[sources], origin=model.origin),
            kin=songs[sources] + (int(songs.max()) + 1) * _turns(sources),
            tokens=written(windows, self.encoding, length=self.scale.length),
            valid=np.full(len(windows), math.nan),
            repairs=np.full(len(windows), math.nan),
        )
        return music, float(changed(self.real.scored.windows, windows, sources).mean())

    def compare(self, music: Music) -> tuple[pd.DataFrame, pd.DataFrame]:
        """Return the distances of each metric, indexed by it, and everything that is measured of the set as a whole.

        See `floor_ratios`. The second frame has a row per row of `MEASURES`, with columns measure, value, floor,
        floor_p95, ratio, p and n.
        """
        import pandas as pd

        real, sample, most = self.real.scored, music.scored, self.scale.samples
        distances = self._distances(sample)
        mean = distances.loc[MEAN]
        first = {"measure": DISTANCE, "value": mean["distance"], "p": math.nan}
        first |= {name: mean[name] for name in ("floor", "floor_p95", "ratio", "n")}
        undefined = {"measure": "nan_rate", "value": mean["nan_rate"], "n": mean["n"]}
        alone = [
            *_beside(self._copied(music, self.real), self._copied(self.real, music)),
            *_beside(self._said(music, self.real), self._said(self.real, music)),
        ]
        parts = [
            pd.DataFrame([first]),
            set_distances(sample, real, seed=self.seed, most=most),
            pd.DataFrame([*alone, undefined]),
        ]
        measures = pd.concat(parts, ignore_index=True)
        return distances.drop(MEAN), measures[["measure", "value", "floor", "floor_p95", "ratio", "p", "n"]]

    def closest(self, windows: Windows) -> pd.DataFrame:
        """Return the notes of the samples that have most from one training window, and of those windows."""
        import pandas as pd

        frames = [
            notes_of(found.take([index])).assign(pair=number, side=side, share=pair.share)
            for number, pair in enumerate(nearest(windows, self.known.windows))
            for side, found, index in (("sample", windows, pair.window), ("train", self.known.windows, pair.training))
        ]
        return pd.concat([notes_of(windows.take([])).assign(pair=0, side="", share=0.0), *frames], ignore_index=True)

    def distance(self, tokens: torch.Tensor) -> float:
        """Return how many floors the music in (n, L) token ids is from the real one, the mean over features."""
        sample = read(tokens.numpy().astype(np.uint16), self.encoding).scored
        return float(self._distances(sample).loc[MEAN, "ratio"])

    def _distances(self, sample: Scored) -> pd.DataFrame:
        real = self.real.scored
        return floor_ratios(
            sample.scores,
            real.scores,
            real.songs,
            rng=np.random.default_rng(self.seed),
            features=features_on(real.windows.grid),
            origin=sample.origin,
            songs=None if sample.origin is Origin.INDEPENDENT else sample.songs,
            most=self.scale.samples,
        )

    def _copied(self, music: Music, other: Music) -> dict[str, float]:
        """Return what a set copies; most of it depends on n, so that both sets are of one size, evenly spread."""
        n = min(self.scale.samples, len(music.scored.windows), len(other.scored.windows))
        chosen = evenly(len(music.scored.windows), n)
        return {**memorisation(music.scored.windows.take(chosen), self.known, music.kin[chosen]), "n": n}

    def _said(self, music: Music, other: Music) -> dict[str, float]:
        """Return what there is to say of the tokens of a set, of as many windows as of the other."""
        import torch

        n = min(self.scale.samples, len(music.tokens), len(other.tokens))
        tokens = torch.from_numpy(music.tokens[evenly(len(music.tokens), n)].astype(np.int64))
        judgement = None if self.teacher is None else self.teacher(tokens)
        return {
            "teacher_nll": math.nan if judgement is None else judgement.nll,
            "teacher_ruled_out": math.nan if judgement is None else judgement.ruled_out,
            "token_entropy": token_entropy(tokens),
            "n": n,
        }


def _beside(ours: dict[str, float], theirs: dict[str, float]) -> list[dict[str, Any]]:
    """Return rows of the panel for what is measured of sets by themselves; both have "n", the size of the sets."""
    return [
        {
            "measure": name,
            "value": value,
            "floor": theirs[name],
            "floor_p95": math.nan,
            "ratio": value / theirs[name] if theirs[name] else math.inf if value > 0 else math.nan,
            "p": math.nan,
            "n": ours["n"],
        }
        for name, value in ours.items()
        if name != "n"
    ]


def _taught(
    tokens: torch.Tensor, *, weights: Path, scale: Scale, encoding: Encoding, device: torch.device | None
) -> Judgement:
    """Return what the teacher says of windows."""
    import torch

    model = TEACHER.model.build(vocabulary=len(encoding.vocabulary), scale=scale)
    if isinstance(model, torch.nn.Module) and device is not None:
        model.to(device)
    return teacher_nll(tokens, model, weights)


def _turns(numbers: NDArray[np.intp]) -> NDArray[np.intp]:
    """Return how often each number has come before: 0 0 1 0 2 for 4 7 4 5 4."""
    order = np.argsort(numbers, kind="stable")
    _, firsts, counts = np.unique(numbers[order], return_index=True, return_counts=True)
    turns = np.empty(len(numbers), np.intp)
    turns[order] = np.arange(len(numbers)) - np.repeat(firsts, counts)
    return turns


def reference(dataset: Dataset, encoding: Encoding, *, split: str) -> Music:
    """Return the real windows that all trials are compared with: those of a split, `REFERENCE_WINDOWS` at most."""
    part = dataset.splits[split]
    chosen = evenly(len(part.tokens), REFERENCE_WINDOWS)
    return read(np.asarray(part.tokens[chosen]), encoding, part.groups[chosen].astype(np.int64))


def reference_file(comparison: Path, digest: str, name: str) -> Path:
    """Return where something is kept of the real music that trials are compared with, in one encoding."""
    return comparison / "reference" / f"{digest[:32]}-{scoring_version()}-{name}"


def _keep_reference(real: Music, known: Known, comparison: Path, digest: str) -> None:
    """Write the scores of the real windows once, muspy's numbers, their form, and some windows for eyes and ears."""
    from eval.listening.player import save_player

    sums = reference_file(comparison, digest, "files.sha256")
    if sums.exists() and not missing(sums):
        return
    _, firsts = np.unique(real.scored.songs, return_index=True)  # one window a song
    windows = real.scored.windows.take(firsts[:SHOWN])
    notes = notes_of(windows)
    write_parquet(reference_file(comparison, digest, "notes.parquet"), notes)
    save_player(
        notes,
        reference_file(comparison, digest, "samples.html"),
        title="Real music: windows of the test split",
        colour=INK,
        unit="beat" if windows.beats else "second",
        count=len(windows),
    )
    write_parquet(reference_file(comparison, digest, "form.parquet"), form_of(real))
    write_json(reference_file(comparison, digest, "raw.json"), raw_means(real))
    write_parquet(reference_file(comparison, digest, "scores.parquet"), table_of(real, known))
    names = ("notes.parquet", "samples.html", "form.parquet", "raw.json", "scores.parquet")
    write_checksums(sums, [reference_file(comparison, digest, name) for name in names])
