"""The stages of a trial: fit, sample, likelihood, score. Each is skipped if its file is there.

The first three need nothing but torch, numpy and safetensors.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from eval.metrics import METRICS, scoring
from eval.trial import History, Trial
from replication.encodings import encoding_on
from replication.errors import UserError
from replication.files import atomic, read_json, write_json
from replication.model import Job, token_counts
from replication.piece import Beats, Piece, Seconds
from replication.randomness import seed_of, seeded
from replication.tokens import to_text

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd
    from numpy.typing import NDArray

    from replication.data import Dataset
    from replication.model import Model
    from replication.piece import Grid
    from replication.tokens import Encoding

MIDI_FILES = 16  # with the first indices, unpicked; samples.npz and samples.txt have them all
LIKELIHOOD_WINDOWS = 256  # of the test split at most, evenly spread


@dataclass(frozen=True, kw_only=True)
class Workbench:
    """A trial with what its stages share.

    Attributes:
        dataset: the corpus in the encoding of the trial.
        grid: the length of a time step of the corpus.
        device: where to compute.
    """

    trial: Trial
    dataset: Dataset
    grid: Grid
    device: torch.device

    @property
    def encoding(self) -> Encoding:
        """The encoding of the trial."""
        return encoding_on(self.trial.experiment.encoding, self.grid)

    @property
    def folder(self) -> Path:
        """The folder of the trial."""
        return self.trial.folder

    def tokens(self, split: str) -> torch.Tensor:
        """Return a split as (n, L) int16, in the file that it lies in: it is read where it is looked at."""
        return torch.from_numpy(self.dataset.splits[split].tokens.view(np.int16))  # no vocabulary has 32,768 words

    def untrained(self) -> Model:
        """Return the model as its seed initialises it."""
        with seeded("model", self.trial.seed):
            return self.trial.experiment.model.build(vocabulary=len(self.encoding.vocabulary), scale=self.trial.scale)

    def trained(self) -> Model:
        """Return the fitted model on the device."""
        model = self.untrained()
        model.load(self.trial.weights)
        if isinstance(model, torch.nn.Module):
            model.to(self.device)
        return model

    def time(self, stage: str, seconds: float) -> None:
        """Note how long a stage took."""
        path = self.folder / "timing.json"
        known = read_json(path) if path.exists() else {}
        write_json(path, {**known, stage: round(seconds, 3)})


def fit(bench: Workbench) -> None:
    """Train, from the last checkpoint if there is one: checkpoint/model.safetensors."""
    trial = bench.trial
    if trial.weights.exists():
        return
    since = time.perf_counter()
    history = History(trial.folder / "metrics.jsonl")
    model = bench.untrained()
    model.fit(
        Job(
            train=bench.tokens("train"),
            validation=bench.tokens("validation"),
            scale=trial.scale,
            seed=trial.seed,
            folder=trial.weights.parent,
            sibling=trial.sibling,
            log=history,
            device=bench.device,
        )
    )
    # The training loop counts the time before an interruption too.
    bench.time("fit", time.perf_counter() - since if history.seconds is None else history.seconds)
    model.save(trial.weights)


def sample(bench: Workbench) -> None:
    """Draw the samples: samples.npz, samples.txt."""
    path = bench.folder / "samples.npz"
    if path.exists():
        return
    since = time.perf_counter()
    tokens = bench.trained().sample(range(bench.trial.scale.samples), seed=bench.trial.seed).numpy().astype(np.uint16)
    bench.time("sample", time.perf_counter() - since)
    with atomic(bench.folder / "samples.txt") as draft:
        draft.write_text("".join(to_text(bench.encoding, row) + "\n" for row in tokens.tolist()), encoding="utf-8")
    with atomic(path) as draft:
        np.savez_compressed(draft, tokens=tokens)


def likelihood(bench: Workbench) -> None:
    """Measure the likelihood of test windows: likelihood.json, in nats per token, per note, and per beat or second.

    Its terms are per token. Tokens of different encodings say different amounts; notes and time can be compared.
    """
    path = bench.folder / "likelihood.json"
    if path.exists():
        return
    since = time.perf_counter()
    test = bench.tokens("test")
    test = test[np.linspace(0, len(test) - 1, min(len(test), LIKELIHOOD_WINDOWS)).astype(int)].long()
    model = bench.trained()
    result = model.nll(test.to(bench.device), seed=bench.trial.seed)
    bench.time("likelihood", time.perf_counter() - since)
    nats, tokens = result.total.cpu().sum().item(), int(token_counts(test).sum())
    amounts = {"token": tokens, **_music([bench.encoding.decode(row).notes for row in test.tolist()], bench.grid)}
    write_json(
        path,
        {
            "exact": result.exact,
            "terms": {name: term.cpu().sum().item() / tokens for name, term in result.terms.items()},
            "windows": len(test),
            **{f"{unit}s": amount for unit, amount in amounts.items()},
            **{f"nats_per_{unit}": None if amount is None else nats / amount for unit, amount in amounts.items()},
            "parameters": model.parameters_count(),
        },
    )


def _music(windows: list[NDArray[Any]], grid: Grid) -> dict[str, float | None]:
    """Return how much there is in windows: notes, and beats or seconds from each one's first onset to its last end."""
    steps = sum(int((notes["onset"] + notes["duration"]).max() - notes["onset"].min()) for notes in windows)
    return {
        "note": sum(len(notes) for notes in windows),
        "beat": steps / grid.steps_per_beat if isinstance(grid, Beats) else None,
        "second": steps / grid.steps_per_second if isinstance(grid, Seconds) else None,
    }


def score(bench: Workbench) -> None:
    """Decode, score and compare the samples: midi/, scores.parquet, distances.parquet, scores.json."""
    from eval.compare import MEAN
    from eval.rolls import save_rolls

    done = bench.folder / "scores.json"
    if done.exists() and read_json(done)["scoring"] == scoring():
        return
    since = time.perf_counter()
    table, pieces = scored(read_samples(bench.folder), bench.encoding)
    real = reference(bench.trial.comparison, bench.dataset, bench.encoding)
    distances = distances_to(real, table, bench.dataset)
    write_midi_files(pieces[:MIDI_FILES], bench.folder / "midi")
    save_rolls(pieces[:8], bench.folder / "roll.png", colour=bench.trial.experiment.colour)
    write_parquet(bench.folder / "scores.parquet", table)
    write_parquet(bench.folder / "distances.parquet", distances.reset_index())
    bench.time("score", time.perf_counter() - since)
    nll = read_json(bench.folder / "likelihood.json")
    timing = read_json(bench.folder / "timing.json")
    write_json(
        done,
        {
            "scoring": scoring(),
            "eval/floor_ratio": distances.loc[MEAN, "ratio"],
            "eval/validity": float(table["valid"].mean()),
            "eval/nan_rate": distances.loc[MEAN, "nan_rate"],
            **{f"metrics/{name}": float(table[name].mean()) for name in METRICS},
            **{f"floors/{name}": distances.loc[name, "ratio"] for name in METRICS},
            **{f"nll/{key}": value for key, value in nll.items() if key.startswith("nats_per_") and value is not None},
            **({} if nll["exact"] else {f"nll/{name}": value for name, value in nll["terms"].items()}),
            "cost/parameters": nll["parameters"],
            **{f"cost/{name}_seconds": value for name, value in timing.items()},
        },
    )


def scored(tokens: NDArray[np.uint16], encoding: Encoding) -> tuple[pd.DataFrame, list[Piece]]:
    """Return one row of scores per window of (n, L) token ids, and the pieces that they were read as."""
    from eval.metrics import score as score_pieces

    decoded = [encoding.decode(row) for row in tokens.tolist()]
    pieces = [
        Piece(notes=item.notes, id=str(index), group=str(index), grid=encoding.grid)
        for index, item in enumerate(decoded)
    ]
    table = score_pieces(pieces)
    table.insert(0, "sample", range(len(pieces)))
    table.insert(1, "valid", [item.valid for item in decoded])
    table.insert(2, "repairs", [item.repairs for item in decoded])
    return table, pieces


def test_scores(comparison: Path, digest: str) -> Path:
    """Return where the scores of the test split are, those of some of its windows beside them with suffix .npy."""
    return comparison / "test" / f"{digest[:32]}-{scoring()}.parquet"


def reference(comparison: Path, dataset: Dataset, encoding: Encoding) -> pd.DataFrame:
    """Return the scores of the test split with the song of each window in column "group", made once."""
    import pandas as pd

    path = test_scores(comparison, dataset.digest)
    if not path.exists():
        windows = dataset.splits["test"]
        table, _ = scored(windows.tokens, encoding)
        _, firsts = np.unique(windows.groups, return_index=True)  # one window a song, for figures
        with atomic(path.with_suffix(".npy")) as draft:
            np.save(draft, windows.tokens[firsts[:5]])
        write_parquet(path, table.assign(group=windows.groups))
    return pd.read_parquet(path)


def distances_to(real: pd.DataFrame, table: pd.DataFrame, dataset: Dataset) -> pd.DataFrame:
    """Return how far scores are from those of the test split; see `floor_ratios`.

    With the same halves of the test split at every call, so that all are compared with the same music.
    """
    from eval.compare import floor_ratios

    metrics, rng = list(METRICS), np.random.default_rng(seed_of("halves", dataset.digest))
    return floor_ratios(table[metrics], real[metrics], real["group"].tolist(), rng=rng)


def read_samples(folder: Path) -> NDArray[np.uint16]:
    """Return the (n, L) token ids of a trial's samples.

    Raises:
        UserError: if the file is damaged.
    """
    path = folder / "samples.npz"
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            tokens: NDArray[np.uint16] = arrays["tokens"]
    except Exception as error:  # noqa: BLE001 - flipped bits surface anywhere between zip, zlib and npy
        raise UserError(f"{path} is damaged ({error}); delete it to draw the samples again") from None
    return tokens


def write_midi_files(pieces: list[Piece], folder: Path) -> None:
    """Write pieces as 000.mid, 001.mid and so on."""
    from replication.midi import write_midi

    for index, piece in enumerate(pieces):
        write_midi(piece, folder / f"{index:03d}.mid")


def write_parquet(path: Path, table: pd.DataFrame) -> None:
    """Write a table atomically."""
    with atomic(path) as draft:
        table.to_parquet(draft, index=False)
