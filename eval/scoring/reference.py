"""The reference set that samples are compared with: real music of a held-out split, and the training split."""

from __future__ import annotations

import math
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from baselines import TEACHER
from eval.distances.copying import memorisation, nearest, training_index
from eval.distances.noise_floor import MEAN, SampleOrigin, floor_ratios
from eval.metrics.table import features_on
from eval.metrics.windows import evenly
from eval.scoring.controls import ControlInputs, changed_windows
from eval.scoring.floors import FloorFiles
from eval.scoring.measures import SECOND_SAMPLER, WASSERSTEIN, scoring_version
from eval.scoring.sample_set import (
    SampleSet,
    ScoredWindows,
    encode_windows,
    form_of,
    notes_of,
    raw_means,
    read,
    table_of,
)
from eval.scoring.set_distances import endpoint_of, endpoint_row, set_distances, without_songs
from eval.scoring.teacher import TeacherScore, teacher_nll, token_entropy
from replication.util.checksums import missing, write_checksums
from replication.util.files import write_json, write_parquet
from replication.util.generators import seed_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager
    from pathlib import Path

    import pandas as pd
    import torch
    from numpy.typing import NDArray

    from eval.distances.copying import TrainingIndex
    from eval.distances.endpoint import Endpoint
    from eval.metrics.windows import Windows
    from eval.scoring.controls import FromTest
    from eval.scoring.floors import Floors
    from replication.models.ablations import Experiment
    from replication.tokens.protocol import Encoding
    from replication.training.scales import Scale
    from replication.windows.prepared import Dataset

REFERENCE_WINDOWS = 2048  # real windows, evenly spread; more of them cost seconds and add no power
SHOWN = 8  # first windows, which figures may show; not selected
INK = "#202020"  # the colour of real music


@dataclass(frozen=True, kw_only=True, eq=False)
class ReferenceSet:
    """The real music that samples are compared with.

    Attributes:
        real: Windows of real music.
        training: Index of the training split.
        encoding: Encoding of the tokens.
        scale: Scale of the trials; its number of samples is the size at which sets are compared.
        teacher: Function from (k, L) token ids to their score, or None if there is no teacher in this encoding.
        seed: Seed of the halves of the real music, the same for all trials.
        floors: Where the noise floors of this music are kept; None to compute them for every set.
    """

    real: SampleSet
    training: TrainingIndex
    encoding: Encoding
    scale: Scale
    teacher: Callable[[torch.Tensor], TeacherScore] | None
    seed: int
    floors: FloorFiles | None = None

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
    ) -> ReferenceSet:
        """Return the reference set of a comparison in an encoding; what takes long to compute is kept in its folder."""
        real = reference_windows(dataset, encoding, split=scale.held_out)
        path = comparison / "reference" / f"{dataset.digest[:32]}-train.npz"
        training = training_index(path, dataset.splits["train"].tokens, encoding)
        _keep_reference(real, training, comparison, dataset.digest)
        return cls(
            real=real,
            training=training,
            encoding=encoding,
            scale=scale,
            teacher=None
            if teacher is None
            else partial(_teacher_score, weights=teacher, scale=scale, encoding=encoding, device=device),
            seed=seed_of("halves", dataset.digest),
            floors=FloorFiles(comparison / "reference" / "floors" / f"{dataset.digest[:32]}-{scoring_version()}"),
        )

    def control(self, experiment: Experiment, *, seed: int, sibling: Callable[[str], Path]) -> tuple[SampleSet, float]:
        """Make a control from the real windows; return it and the share of windows that differ from their source.

        A changed window may need more tokens than before and is cut; one that fills less than half of L is left out.
        """
        model = cast("FromTest", experiment.model)
        inputs = ControlInputs(
            real=self.real.scored.windows,
            encoding=self.encoding,
            scale=self.scale,
            sibling=sibling,
            rng=np.random.default_rng(seed_of("control", experiment.name, seed)),
        )
        windows, sources = model.make(inputs)
        songs = self.real.scored.songs
        music = SampleSet(
            scored=ScoredWindows.of(windows, songs=songs[sources], origin=model.origin),
            groups=songs[sources] + (int(songs.max()) + 1) * _repeat_numbers(sources),
            tokens=encode_windows(windows, self.encoding, length=self.scale.length),
            valid=np.full(len(windows), math.nan),
            repairs=np.full(len(windows), math.nan),
        )
        return music, float(changed_windows(self.real.scored.windows, windows, sources).mean())

    def compare(self, music: SampleSet) -> tuple[pd.DataFrame, pd.DataFrame]:
        """Return the distances of single metrics and the measures of the set as a whole.

        The first frame is indexed by metric; see `floor_ratios`. The second has one row per row of `MEASURES`, with
        columns measure, value, floor, floor_p95, ratio, p and n.
        """
        import pandas as pd

        real, sample, most = self.real.scored, music.scored, self.scale.samples
        distances = self._distances(sample)
        mean = distances.loc[MEAN]
        wasserstein = {"measure": WASSERSTEIN, "value": mean["distance"], "p": math.nan}
        wasserstein |= {name: mean[name] for name in ("floor", "floor_p95", "ratio", "n")}
        undefined = {"measure": "nan_rate", "value": mean["nan_rate"], "n": mean["n"]}
        alone = [
            *_reference_rows(self._copying_measures(music, self.real), self._copying_measures(self.real, music)),
            *_reference_rows(self._token_measures(music, self.real), self._token_measures(self.real, music)),
        ]
        with self._known_floors(sample) as floors:
            distant = set_distances(sample, real, seed=self.seed, most=most, floors=floors)
        measures = pd.concat([distant, pd.DataFrame([wasserstein, *alone, undefined])], ignore_index=True)
        return distances.drop(MEAN), measures[["measure", "value", "floor", "floor_p95", "ratio", "p", "n"]]

    def second_sampler(self, tokens: torch.Tensor) -> pd.DataFrame:
        """Return the row of measures for (n, L) token ids that another sampler drew from the same weights."""
        import pandas as pd

        sample = read(tokens.numpy().astype(np.uint16), self.encoding).scored
        found = self._endpoint(sample)
        row = endpoint_row(SECOND_SAMPLER, found, n=min(len(sample.windows), self.scale.samples))
        return pd.DataFrame([row | {"p": math.nan}])

    def without_songs(self, music: SampleSet, distance: float) -> pd.DataFrame:
        """Return the endpoint, given its value, without each song family of the real music: columns song and distance.

        Like the endpoint it is at least 1.
        """
        import pandas as pd

        found = without_songs(music.scored, self.real.scored, seed=self.seed, most=self.scale.samples)
        return pd.DataFrame({"song": list(found), "distance": [max(1.0, distance * one) for one in found.values()]})

    def closest(self, windows: Windows) -> pd.DataFrame:
        """Return the notes of the samples that share most runs with one training window, and of those windows."""
        import pandas as pd

        frames = [
            notes_of(found.take([index])).assign(pair=number, side=side, share=pair.share)
            for number, pair in enumerate(nearest(windows, self.training.windows))
            for side, found, index in (
                ("sample", windows, pair.window),
                ("train", self.training.windows, pair.training),
            )
        ]
        return pd.concat([notes_of(windows.take([])).assign(pair=0, side="", share=0.0), *frames], ignore_index=True)

    def distance(self, tokens: torch.Tensor) -> float:
        """Return the endpoint of (n, L) token ids, in noise floors."""
        return self._endpoint(read(tokens.numpy().astype(np.uint16), self.encoding).scored).value

    def _endpoint(self, sample: ScoredWindows) -> Endpoint:
        with self._known_floors(sample) as floors:
            return endpoint_of(sample, self.real.scored, seed=self.seed, most=self.scale.samples, floors=floors)

    def _known_floors(self, sample: ScoredWindows) -> AbstractContextManager[Floors]:
        """Return the floors at the size at which a set is compared; those that are added to them are kept."""
        return self.floors.at(min(len(sample.windows), self.scale.samples)) if self.floors else nullcontext({})

    def _distances(self, sample: ScoredWindows) -> pd.DataFrame:
        real = self.real.scored
        return floor_ratios(
            sample.scores,
            real.scores,
            real.songs,
            rng=np.random.default_rng(self.seed),
            features=features_on(real.windows.grid),
            origin=sample.origin,
            songs=None if sample.origin is SampleOrigin.INDEPENDENT else sample.songs,
            most=self.scale.samples,
        )

    def _copying_measures(self, music: SampleSet, other: SampleSet) -> dict[str, float]:
        """Return the copying measures of a set; most depend on n, so n windows of each set are taken, evenly."""
        n = min(self.scale.samples, len(music.scored.windows), len(other.scored.windows))
        chosen = evenly(len(music.scored.windows), n)
        return {**memorisation(music.scored.windows.take(chosen), self.training, music.groups[chosen]), "n": n}

    def _token_measures(self, music: SampleSet, other: SampleSet) -> dict[str, float]:
        """Return the token measures of a set, on as many windows as of the other set."""
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


def _reference_rows(ours: dict[str, float], theirs: dict[str, float]) -> list[dict[str, Any]]:
    """Return rows for measures of single sets, with real music's value as the floor; both have "n", their size."""
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


def _teacher_score(
    tokens: torch.Tensor, *, weights: Path, scale: Scale, encoding: Encoding, device: torch.device | None
) -> TeacherScore:
    """Return the score of windows under the teacher."""
    import torch

    model = TEACHER.model.build(vocabulary=len(encoding.vocabulary), scale=scale)
    if isinstance(model, torch.nn.Module) and device is not None:
        model.to(device)
    return teacher_nll(tokens, model, weights)


def _repeat_numbers(numbers: NDArray[np.intp]) -> NDArray[np.intp]:
    """Return how often each number occurred before: 0 0 1 0 2 for 4 7 4 5 4."""
    order = np.argsort(numbers, kind="stable")
    _, firsts, counts = np.unique(numbers[order], return_index=True, return_counts=True)
    turns = np.empty(len(numbers), np.intp)
    turns[order] = np.arange(len(numbers)) - np.repeat(firsts, counts)
    return turns


def reference_windows(dataset: Dataset, encoding: Encoding, *, split: str) -> SampleSet:
    """Return the real windows of a split that all trials are compared with, at most `REFERENCE_WINDOWS`."""
    part = dataset.splits[split]
    chosen = evenly(len(part.tokens), REFERENCE_WINDOWS)
    return read(np.asarray(part.tokens[chosen]), encoding, part.groups[chosen].astype(np.int64))


def reference_file(comparison: Path, digest: str, name: str) -> Path:
    """Return the path of a file about the real music of a comparison in one encoding."""
    return comparison / "reference" / f"{digest[:32]}-{scoring_version()}-{name}"


def _keep_reference(real: SampleSet, training: TrainingIndex, comparison: Path, digest: str) -> None:
    """Write the scores of the real windows, muspy's numbers, their form and some windows to show, if missing."""
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
    write_parquet(reference_file(comparison, digest, "scores.parquet"), table_of(real, training))
    names = ("notes.parquet", "samples.html", "form.parquet", "raw.json", "scores.parquet")
    write_checksums(sums, [reference_file(comparison, digest, name) for name in names])
